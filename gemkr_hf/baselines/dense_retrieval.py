"""Dense retrieval: DPR, LXMERT, ViLT (ReViz), and any model of sentence-transformers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.baselines.baseline import Baseline, Images, batches
from gemkr_hf.baselines.document_vectors import DocumentVectors
from gemkr_hf.baselines.image_inputs import ImageReader
from gemkr_hf.baselines.two_towers import TwoTowers
from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.logging import progress


class DenseRetriever(Baseline):
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


class SentenceRetriever(Baseline):
    """Any model of sentence-transformers, on the question or on question and caption.

    Args:
        model: folder or Hub id, or a ``SentenceTransformer``.
        captions: add the captions to the query texts.

    Raises:
        ValueError: The extra ``encoders`` is not installed.
    """

    def __init__(self, model: Any, captions: bool = False) -> None:
        super().__init__("The sentence encoder", captions)
        if isinstance(model, (str, Path)):
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError:
                raise ValueError(
                    f"'{model}' needs sentence-transformers: pip install 'gemkr-hf[encoders]'"
                ) from None
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


__all__ = ["DenseRetriever", "SentenceRetriever"]
