"""BM25 on the question, or on question and caption (paper, Table 1)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemkr_hf.baselines.baseline import Images, QueryTextBaseline, document_hit
from gemkr_hf.knowledge_base.best_match import BestMatch
from gemkr_hf.retrieval.types import Hit


class BM25Retriever(QueryTextBaseline):
    """BM25 over the documents' texts (bm25s with its defaults and English stop words).

    A document that shares no word with the query is not returned.

    Args:
        captions: add the captions to the queries.
    """

    def __init__(self, captions: bool = False) -> None:
        super().__init__("BM25", captions)
        self._ids: list[Any] = []

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents, see `Retriever.index`."""
        ids, texts = [], []
        for document in documents:
            ids.append(document["id"])
            texts.append(document["text"])
        self._ids, self._indexed = ids, BestMatch(texts)

    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        return [
            [
                document_hit(self._ids[row], score)
                for row, score in zip(*result, strict=True)
                if score > 0
            ]
            for result in zip(*self._indexed(texts, k), strict=True)
        ]


__all__ = ["BM25Retriever"]
