"""Documents, the FM-index over their tokens, and the identity of their tokenizer."""

from gemkr_hf.knowledge_base.knowledge_base import CONSTRAINED, KnowledgeBase
from gemkr_hf.knowledge_base.tokenization import (
    encode_documents,
    load_tokenizer,
    tokenizer_fingerprint,
)

__all__ = [
    "CONSTRAINED",
    "KnowledgeBase",
    "encode_documents",
    "load_tokenizer",
    "tokenizer_fingerprint",
]
