"""Exact nearest-neighbour search over document vectors with faiss."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.logging import progress_bar


class DocumentVectors:
    """Document vectors in a faiss index, searched exactly by inner product.

    Args:
        dimension: length of a vector.
    """

    def __init__(self, dimension: int) -> None:
        import faiss

        self._ids: list[str] = []
        self._index = faiss.IndexFlatIP(dimension)

    @classmethod
    def of(
        cls,
        documents: Iterable[Mapping[str, Any]],
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
        batch_size: int,
    ) -> "DocumentVectors":
        """Encode documents while they are read; at most one batch of texts is in memory.

        Args:
            documents: records with ``id`` and ``text``.
            encode: n texts -> float32 ``(n, dimension)``.
            batch_size: documents encoded together.

        Raises:
            ValueError: there are no documents.
        """
        vectors: DocumentVectors | None = None
        number = len(documents) if isinstance(documents, Sized) else None
        remaining = iter(documents)
        with progress_bar(number, "encode documents", "doc") as bar:
            while batch := list(islice(remaining, batch_size)):
                encoded = encode([document["text"] for document in batch])
                vectors = vectors or cls(encoded.shape[1])
                vectors.add([str(document["id"]) for document in batch], encoded)
                bar.update(len(batch))
        if vectors is None:
            raise ValueError("There are no documents to index")
        return vectors

    def add(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Add n documents.

        Args:
            ids: their ids.
            vectors: float32 ``(n, dimension)``.
        """
        self._ids += ids
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """The ``k`` nearest documents of each query, float32 ``(queries, dimension)``."""
        scores, rows = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self._ids))
        )
        return [
            [
                Hit(float(score), int(row), {"id": self._ids[row]})
                for row, score in zip(of_rows, of_scores, strict=True)
            ]
            for of_rows, of_scores in zip(rows, scores, strict=True)
        ]


__all__ = ["DocumentVectors"]
