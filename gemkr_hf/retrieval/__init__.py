"""Retrieval: an image and a question in, documents out."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from gemkr_hf.retrieval.protocol import Retriever
    from gemkr_hf.retrieval.retriever import STRATEGIES, Clue, GeMKRRetriever, Hit

__getattr__ = lazy_exports(
    __name__,
    {
        "Clue": "retriever",
        "GeMKRRetriever": "retriever",
        "Hit": "retriever",
        "Retriever": "protocol",
        "STRATEGIES": "retriever",
    },
)

__all__ = ["STRATEGIES", "Clue", "GeMKRRetriever", "Hit", "Retriever"]
