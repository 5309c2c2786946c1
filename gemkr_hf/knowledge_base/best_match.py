"""BM25 search, for texts that are not clues."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.utils.extras import require_extra


class BestMatch:
    """BM25 over documents' texts (bm25s with its defaults and English stop words).

    Args:
        texts: the texts of n documents.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        require_extra("eval", "BM25 needs", "bm25s")
        import bm25s

        self._tokenize = bm25s.tokenize
        tokens = self._tokenize(list(texts), stopwords="en", show_progress=False)
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
        tokens = self._tokenize(known, stopwords="en", show_progress=False)
        rows, scores = self._index.retrieve(
            tokens, k=min(k, self.num_documents), show_progress=False
        )
        return np.asarray(rows, dtype=np.int64), np.asarray(scores, dtype=np.float32)


__all__ = ["BestMatch"]
