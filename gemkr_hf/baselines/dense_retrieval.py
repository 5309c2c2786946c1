"""Retrieval by vectors in faiss: DPR, LXMERT, ViLT (ReViz), any of sentence-transformers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.baselines.image_inputs import ImageReader
from gemkr_hf.baselines.two_towers import TwoTowers
from gemkr_hf.retrieval.protocol import (
    Captions,
    DocumentVectors,
    Found,
    Images,
    batches,
    check_query,
    with_caption,
)
from gemkr_hf.utils.logging import progress


class DenseRetriever:
    """Documents whose vectors lie nearest to the query's.

    Args:
        towers: the encoders.
        reader: looks at images, for encoders that see.
        captions: read the captions as well.
        name: for messages.
        batch_size: queries encoded together.
    """

    def __init__(
        self,
        towers: TwoTowers,
        reader: ImageReader | None = None,
        captions: bool = False,
        name: str = "DPR",
        batch_size: int = 32,
    ) -> None:
        if towers.kind != "words" and reader is None:
            raise ValueError(f"{name} looks at images: give an ImageReader")
        self.towers = towers
        self._reader = reader
        self._captions = captions
        self._name = name
        self._batch_size = batch_size
        self._vectors: DocumentVectors | None = None

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``."""
        self._vectors = DocumentVectors.of(
            documents, self.towers.encode_documents, 2 * self._batch_size
        )

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``."""
        sees = self.towers.kind != "words"
        needs = "images" if sees else "captions" if self._captions else None
        check_query(self._name, self._vectors, images, questions, k, captions, needs)
        assert self._vectors is not None
        texts = list(questions)
        if self._captions and captions is not None:
            texts = [with_caption(*pair) for pair in zip(questions, captions, strict=True)]
        found: list[list[Found]] = []
        for rows in progress(batches(len(texts), self._batch_size), self._name):
            seen = None
            if sees and images is not None and self._reader is not None:
                seen = self._reader.read(images[rows])
            found += self._vectors.search(self.towers.encode_queries(texts[rows], seen), k)
        return found


class SentenceRetriever:
    """Any model of sentence-transformers, on the question or on question and caption.

    Args:
        model: folder or Hub id, or a ``SentenceTransformer``.
        captions: read the captions as well.
    """

    def __init__(self, model: Any, captions: bool = False) -> None:
        if isinstance(model, (str, Path)):
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError:
                raise ValueError(
                    f"'{model}' needs sentence-transformers: pip install 'gemkr-hf[encoders]'"
                ) from None
            model = SentenceTransformer(str(model))
        self._model = model
        self._captions = captions
        self._vectors: DocumentVectors | None = None

    def _encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        encode = getattr(self._model, f"encode_{prompt}", self._model.encode)
        return np.asarray(encode(list(texts), normalize_embeddings=True), dtype=np.float32)

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``."""
        self._vectors = DocumentVectors.of(
            documents, lambda texts: self._encode(texts, "document"), 1024
        )

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``."""
        needs = "captions" if self._captions else None
        check_query("A sentence encoder", self._vectors, images, questions, k, captions, needs)
        assert self._vectors is not None
        texts = list(questions)
        if self._captions and captions is not None:
            texts = [with_caption(*pair) for pair in zip(questions, captions, strict=True)]
        return self._vectors.search(self._encode(texts, "query"), k)


__all__ = ["DenseRetriever", "SentenceRetriever"]
