"""BM25 search, for texts that are not clues."""

from collections.abc import Iterable, Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray


class BestMatch:
    """BM25 over documents' texts (bm25s with its defaults and English stop words).

    Args:
        texts: the texts of n documents.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        tokens = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
        self._index = bm25s.BM25()
        self._index.index(tokens, show_progress=False)
        self.num_documents = int(self._index.scores["num_docs"])

    def __call__(
        self, texts: Sequence[str], k: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best documents for each text.

        Returns:
            numbers: int64 (texts, min(k, n)), best first.
            scores: float32 of that shape; 0 if a document shares no word with the text.
        """
        known = [text or " " for text in texts]
        tokens = bm25s.tokenize(known, stopwords="en", show_progress=False)
        rows, scores = self._index.retrieve(
            tokens, k=min(k, self.num_documents), show_progress=False
        )
        return np.asarray(rows, dtype=np.int64), np.asarray(scores, dtype=np.float32)


__all__ = ["BestMatch"]
