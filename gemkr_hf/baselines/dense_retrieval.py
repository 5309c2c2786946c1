"""Dense retrieval: DPR, LXMERT, ViLT (ReViz), and any model of sentence-transformers."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.baselines.baseline import Images, QueryTextBaseline, batches, document_hit
from gemkr_hf.baselines.image_inputs import ImageReader
from gemkr_hf.baselines.two_towers import TwoTowers
from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.logging import progress, progress_bar

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


class DenseRetriever(QueryTextBaseline):
    """The documents whose vectors have the largest inner product with the query's.

    Args:
        towers: the encoders.
        reader: reads images; required by encoders that read images or objects.
        captions: add the captions to the query texts.
        name: name of the system, for messages.
        batch_size: queries encoded together.

    Raises:
        ValueError: The encoders read images and ``reader`` is None.
    """

    def __init__(
        self,
        towers: TwoTowers,
        reader: ImageReader | None = None,
        captions: bool = False,
        name: str = "DPR",
        batch_size: int = 32,
    ) -> None:
        super().__init__(name, captions, reads_images=towers.kind != "text")
        if towers.kind != "text" and reader is None:
            raise ValueError(f"{name} reads images: give an ImageReader")
        self.towers = towers
        self._reader = reader
        self._batch_size = batch_size

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents, see `Retriever.index`."""
        self._indexed = DocumentVectors(
            documents, self.towers.encode_documents, 2 * self._batch_size
        )

    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        hits: list[list[Hit]] = []
        for rows in progress(batches(len(texts), self._batch_size), self.name):
            inputs = None
            if images is not None and self._reader is not None:
                inputs = self._reader.read(images[rows])
            hits += self._indexed.search(self.towers.encode_queries(texts[rows], inputs), k)
        return hits


class SentenceRetriever(QueryTextBaseline):
    """Any model of sentence-transformers, on the question or on question and caption.

    Args:
        model: folder or Hub id, or a ``SentenceTransformer``.
        captions: add the captions to the query texts.

    Raises:
        MissingExtraError: The extra ``encoders`` is not installed.
    """

    def __init__(self, model: Any, captions: bool = False) -> None:
        super().__init__("The sentence encoder", captions)
        if isinstance(model, (str, Path)):
            require_extra("encoders", f"'{model}' needs")
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(model))
        self._model = model

    def _encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        encode = getattr(self._model, f"encode_{prompt}", self._model.encode)
        return np.asarray(encode(list(texts), normalize_embeddings=True), dtype=np.float32)

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents, see `Retriever.index`."""
        self._indexed = DocumentVectors(
            documents, lambda texts: self._encode(texts, "document"), 1024
        )

    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        return self._indexed.search(self._encode(texts, "query"), k)


__all__ = ["DenseRetriever", "DocumentVectors", "SentenceRetriever"]
