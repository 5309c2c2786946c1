"""Documents, the FM-index over their tokens, and the identity of their tokenizer."""

from gemkr_hf.knowledge_base.knowledge_base import CONSTRAINT_STRATEGIES, KnowledgeBase
from gemkr_hf.knowledge_base.tokenization import (
    encode_documents,
    load_tokenizer,
    tokenizer_fingerprint,
)
from gemkr_hf.utils.deprecation import renamed_attributes

__getattr__ = renamed_attributes(__name__, {"CONSTRAINED": "CONSTRAINT_STRATEGIES"})

__all__ = [
    "CONSTRAINT_STRATEGIES",
    "KnowledgeBase",
    "encode_documents",
    "load_tokenizer",
    "tokenizer_fingerprint",
]
