"""BM25 on the question, or on the question and the image's caption (paper, Table 1)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemkr_hf.knowledge_base.best_match import BestMatch
from gemkr_hf.retrieval.protocol import Captions, Found, Images, check_query, with_caption


class BM25Retriever:
    """BM25 over the documents' texts (bm25s with its defaults and English stop words).

    Args:
        captions: read the captions as well.
    """

    def __init__(self, captions: bool = False) -> None:
        self._captions = captions
        self._match: BestMatch | None = None
        self._ids: list[str] = []

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``."""
        ids, texts = [], []
        for document in documents:
            ids.append(str(document["id"]))
            texts.append(document["text"])
        self._ids, self._match = ids, BestMatch(texts)

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``; a document that shares no word with the query does not come back."""
        needs = "captions" if self._captions else None
        check_query("BM25", self._match, images, questions, k, captions, needs)
        assert self._match is not None
        texts = list(questions)
        if self._captions and captions is not None:
            texts = [with_caption(*pair) for pair in zip(questions, captions, strict=True)]
        rows, scores = self._match(texts, k)
        return [
            [
                Found(self._ids[row], float(score))
                for row, score in zip(of_rows, of_scores, strict=True)
                if score > 0
            ]
            for of_rows, of_scores in zip(rows, scores, strict=True)
        ]


__all__ = ["BM25Retriever"]
