"""The interface that all retrievers of a comparison implement."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.logging import progress_bar

Images = Sequence[Any] | None
Captions = Sequence[str] | None


class Retriever(Protocol):
    """Retrieve documents for questions about images.

    `GeMKRRetriever` and all baselines implement it.
    """

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents to retrieve from.

        Args:
            documents: records with ``id``, ``text`` and optionally ``title``.
        """
        ...

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Hit]]:
        """Retrieve documents for each question.

        Args:
            images: one image per question (PIL, path...); text-only retrievers ignore them.
            questions: n questions.
            k: documents to retrieve; fewer are returned if there are fewer.
            captions: one caption per image, for retrievers that read captions; others ignore them.

        Returns:
            n lists of at most ``k`` hits, best first.

        Raises:
            ValueError: no documents were indexed, lists have different lengths, or images or
                captions that the retriever needs are missing.
        """
        ...


@dataclass(frozen=True)
class Found:
    """A retrieved document.

    Attributes:
        id: of the document.
        score: larger is better; of one system's documents for one question alone.
        clue: what was written to find it, where something was.
    """

    id: str
    score: float
    clue: str = ""


class DocumentVectors:
    """Vectors of documents in a faiss index, found by inner product, exactly.

    Args:
        size: d, numbers of a vector.
    """

    def __init__(self, size: int) -> None:
        import faiss

        self._ids: list[str] = []
        self._index = faiss.IndexFlatIP(size)

    @classmethod
    def of(
        cls,
        documents: Iterable[Mapping[str, Any]],
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
        batch_size: int,
    ) -> "DocumentVectors":
        """Encode documents as they are read; no more than a batch of texts is held.

        Args:
            documents: records with ``id`` and ``text``.
            encode: texts -> float32 ``(n, d)``.
            batch_size: documents encoded together.

        Raises:
            ValueError: there is no document.
        """
        found: DocumentVectors | None = None
        number = len(documents) if isinstance(documents, Sized) else None
        waiting = iter(documents)
        with progress_bar(number, "encode documents", "doc") as bar:
            while batch := list(islice(waiting, batch_size)):
                vectors = encode([document["text"] for document in batch])
                found = found or cls(vectors.shape[1])
                found.add([str(document["id"]) for document in batch], vectors)
                bar.update(len(batch))
        if found is None:
            raise ValueError("There are no documents to index")
        return found

    def add(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Take some documents in.

        Args:
            ids: of n documents.
            vectors: float32 ``(n, d)``.
        """
        self._ids += ids
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Found]]:
        """The ``k`` nearest documents of each query, ``(queries, d)``."""
        scores, rows = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self._ids))
        )
        return [
            [
                Found(self._ids[row], float(score))
                for row, score in zip(of_rows, of_scores, strict=True)
            ]
            for of_rows, of_scores in zip(rows, scores, strict=True)
        ]


def check_query(
    system: str,
    indexed: Any,
    images: Images,
    questions: Sequence[str],
    k: int,
    captions: Captions = None,
    needs: str | None = None,
) -> None:
    """Raise ValueError for a query that the system cannot answer.

    Args:
        system: its name.
        indexed: what `index` left, None before it.
        images, questions, k, captions: of the query.
        needs: ``images`` or ``captions``, if one of them must be given.
    """
    if indexed is None:
        raise ValueError(f"{system} has no documents yet: call index(documents) first")
    if k < 1:
        raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
    for name, given in (("images", images), ("captions", captions)):
        if needs == name and given is None:
            raise ValueError(f"{system} needs {name}: give one for each question")
        if given is not None and len(given) != len(questions):
            raise ValueError(f"There are {len(given)} {name} for {len(questions)} questions")


def with_caption(question: str, caption: str | None) -> str:
    """Question and caption as systems of words alone read them."""
    return f"{question} {caption}" if caption else question


def batches(number: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that cover ``number`` items."""
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


__all__ = [
    "Captions", "DocumentVectors", "Found", "Images", "Retriever", "batches", "check_query",
    "with_caption",
]  # fmt: skip
