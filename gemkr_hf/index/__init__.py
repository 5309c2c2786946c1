"""Documents and the FM-index over their tokens."""

from gemkr_hf.index.fm_index import FMIndex, Intervals
from gemkr_hf.index.knowledge_base import KnowledgeBase
from gemkr_hf.index.tokens import encode_documents, tokenizer_fingerprint

__all__ = ["FMIndex", "Intervals", "KnowledgeBase", "encode_documents", "tokenizer_fingerprint"]
