"""Retrieval: an image and a question in, documents out."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from gemkr_hf.retrieval.protocol import Retriever
    from gemkr_hf.retrieval.retriever import STRATEGIES, GeMKRRetriever
    from gemkr_hf.retrieval.types import Clue, Hit, Run

__getattr__ = lazy_exports(
    __name__,
    {
        "protocol": ["Retriever"],
        "retriever": ["GeMKRRetriever", "STRATEGIES"],
        "types": ["Clue", "Hit", "Run"],
    },
)

__all__ = ["STRATEGIES", "Clue", "GeMKRRetriever", "Hit", "Retriever", "Run"]
