"""Exact nearest-neighbour search over document vectors with faiss."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.baselines.baseline import document_hit
from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.logging import progress_bar

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class DocumentVectors:
    """Document vectors in a flat inner-product index of faiss.

    Documents are encoded as they are read; at most one batch of texts is in memory.

    Args:
        documents: records with ``id`` and ``text``.
        encode: n texts -> float32 ``(n, d)``.
        batch_size: documents encoded together.

    Raises:
        ValueError: There are no documents.
    """

    def __init__(
        self, documents: Iterable[Mapping[str, Any]], encode: Encode, batch_size: int
    ) -> None:
        import faiss

        self._ids: list[Any] = []
        self._index: Any = None
        total = len(documents) if isinstance(documents, Sized) else None
        remaining = iter(documents)
        with progress_bar(total, "encode documents", "doc") as bar:
            while batch := list(islice(remaining, batch_size)):
                vectors = encode([document["text"] for document in batch])
                if self._index is None:
                    self._index = faiss.IndexFlatIP(vectors.shape[1])
                self._ids += [document["id"] for document in batch]
                self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
                bar.update(len(batch))
        if self._index is None:
            raise ValueError("There are no documents to index")

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Return the ``k`` nearest documents of each query, best first.

        Args:
            queries: float32 ``(n, d)``.
            k: documents per query.
        """
        scores, rows = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self._ids))
        )
        return [
            [document_hit(self._ids[row], score) for row, score in zip(*result, strict=True)]
            for result in zip(rows, scores, strict=True)
        ]


__all__ = ["DocumentVectors"]
