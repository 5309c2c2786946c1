"""CLIP: the image, or image and question, against the documents' texts (paper, Table 1)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from gemkr_hf.baselines.baseline import Images, QueryTextBaseline, batches
from gemkr_hf.baselines.dense_retrieval import DocumentVectors
from gemkr_hf.baselines.two_towers import DualEncoder, Tensors
from gemkr_hf.processing import load_image
from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.io import atomic_folder
from gemkr_hf.utils.logging import progress


class CLIPTowers(DualEncoder):
    """A dual encoder of images and texts, and the weight of the question in a query.

    A query's vector is ``(1 - question) * image + question * text``, both of unit length.

    Args:
        model: a ``CLIPModel``, or another class of transformers with ``get_image_features`` and
            ``get_text_features``.
        tokenizer: pads on the right and ends each text with an end token.
        question: weight of the question, from 0 (the image alone) to 1.

    Raises:
        ValueError: ``question`` is out of range, or the tokenizer writes no end token.
    """

    kind = "image"

    def __init__(self, model: Any, tokenizer: Any, question: float = 0.0) -> None:
        super().__init__()
        if not 0 <= question <= 1:
            raise ValueError(f"question is the weight of the question, 0 to 1, got {question}")
        is_clip = getattr(model.config, "model_type", "") == "clip"
        if is_clip and tokenizer("a")["input_ids"][-1] != tokenizer.eos_token_id:
            raise ValueError(
                "CLIP reads a text's vector at its end token, and the tokenizer writes none: use "
                "the tokenizer of the CLIP checkpoint"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.question = question

    @property
    def max_length(self) -> int:
        """The positions of the text tower."""
        return self.model.config.text_config.max_position_embeddings

    def encode_texts(self, texts: Tensors) -> torch.Tensor:
        """Return unit vectors ``(n, d)`` of n tokenized texts."""
        return _unit(self.model.get_text_features(**texts))

    def encode_queries(self, pixel_values: torch.Tensor, texts: Tensors) -> torch.Tensor:
        """Return vectors ``(n, d)`` of n images and tokenized questions."""
        vectors = _unit(self.model.get_image_features(pixel_values=pixel_values))
        if self.question == 0:
            return vectors
        return (1 - self.question) * vectors + self.question * self.encode_texts(texts)

    def forward(
        self, texts: Tensors, documents: Tensors, excluded: torch.Tensor, images: Tensors
    ) -> dict[str, torch.Tensor]:
        """Return CLIP's loss of queries against documents, see `TwoTowers.forward`."""
        queries = self.encode_queries(images["pixel_values"], texts)
        queries = nn.functional.normalize(queries, dim=-1)
        scores = queries @ self.encode_texts(documents).T * self.model.logit_scale.exp()
        return self.contrastive_loss(scores, excluded)


def _unit(features: Any) -> torch.Tensor:
    features = getattr(features, "pooler_output", features)
    return nn.functional.normalize(features.float(), dim=-1)


class CLIPRetriever(QueryTextBaseline):
    """The documents whose texts are nearest to the image, or to image and question.

    Args:
        towers: the encoders.
        image_processor: image processor for the images.
        batch_size: texts or images encoded together.
    """

    def __init__(self, towers: CLIPTowers, image_processor: Any, batch_size: int = 64) -> None:
        super().__init__("CLIP", reads_images=True)
        self.towers = towers.eval()
        self.image_processor = image_processor
        self._batch_size = batch_size

    @classmethod
    def from_pretrained(cls, name: str | Path, question: float = 0.0) -> "CLIPRetriever":
        """Load a ``CLIPModel`` and its processors from a folder or the Hub."""
        tokenizer = AutoTokenizer.from_pretrained(name)
        tokenizer.padding_side = "right"
        model = AutoModel.from_pretrained(name, dtype=torch.float32)
        return cls(CLIPTowers(model, tokenizer, question), AutoImageProcessor.from_pretrained(name))

    def save_pretrained(self, folder: str | Path) -> None:
        """Save a transformers checkpoint; the folder is written atomically."""
        with atomic_folder(folder) as target:
            self.towers.model.save_pretrained(target)
            self.towers.tokenizer.save_pretrained(target)
            self.image_processor.save_pretrained(target)

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents; texts longer than the text tower's positions are truncated."""
        self._indexed = DocumentVectors(documents, self._encode_documents, self._batch_size)

    @torch.no_grad()
    def _encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        towers = self.towers
        return towers.encode_texts(towers.tokenize(texts, towers.device)).cpu().numpy()

    @torch.no_grad()
    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        assert images is not None
        towers, model = self.towers, self.towers.model
        hits: list[list[Hit]] = []
        for rows in progress(batches(len(texts), self._batch_size), "CLIP"):
            loaded = [load_image(image) for image in images[rows]]
            pixels = self.image_processor(loaded, return_tensors="pt")["pixel_values"]
            queries = towers.encode_queries(
                pixels.to(model.device, model.dtype), towers.tokenize(texts[rows], towers.device)
            )
            hits += self._indexed.search(queries.cpu().numpy(), k)
        return hits


__all__ = ["CLIPRetriever", "CLIPTowers"]
