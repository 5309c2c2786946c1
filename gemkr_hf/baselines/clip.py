"""CLIP: the image, or image and question, against the documents' texts (paper, Table 1)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from gemkr_hf.processing import load_image
from gemkr_hf.retrieval.protocol import (
    Captions,
    DocumentVectors,
    Found,
    Images,
    batches,
    check_query,
)
from gemkr_hf.utils.io import atomic_folder
from gemkr_hf.utils.logging import progress


class CLIPTowers(nn.Module):
    """A dual encoder of images and texts, and what a query's vector is made of.

    A query lies at ``(1 - question) * image + question * words``, both of unit length.

    Args:
        model: a ``CLIPModel``, or another class of transformers with ``get_image_features`` and
            ``get_text_features``.
        tokenizer: of texts, padded on the right; it ends them with an end token.
        question: share of the question's vector in the query's, 0 for the image alone (image to
            text) to 1.
    """

    kind = "image"

    def __init__(self, model: Any, tokenizer: Any, question: float = 0.0) -> None:
        super().__init__()
        if not 0 <= question <= 1:
            raise ValueError(
                f"question is the share of the question's vector, 0..1, got {question}"
            )
        is_clip = getattr(model.config, "model_type", "") == "clip"
        if is_clip and tokenizer("a")["input_ids"][-1] != tokenizer.eos_token_id:
            raise ValueError(
                "CLIP reads a text's vector at its end token, and the tokenizer writes none: take "
                "the tokenizer of the CLIP checkpoint"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.question = question

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask, int64 ``(n, length)``, on the CPU; what a text has beyond the text
        tower's positions is cut."""
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    def encode_words(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask, int64 ``(n, length)``, where the weights are."""
        device = self.model.device
        return {name: ids.to(device) for name, ids in self.tokenize(texts).items()}

    def texts(self, words: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Unit vectors ``(n, d)`` of texts."""
        return _unit(self.model.get_text_features(**words))

    def queries(
        self, pixel_values: torch.Tensor, words: Mapping[str, torch.Tensor] | None
    ) -> torch.Tensor:
        """Vectors ``(n, d)`` of queries."""
        found = _unit(self.model.get_image_features(pixel_values=pixel_values))
        if self.question == 0 or words is None:
            return found
        return (1 - self.question) * found + self.question * self.texts(words)

    def forward(
        self,
        words: Mapping[str, torch.Tensor],
        documents: Mapping[str, torch.Tensor],
        excluded: torch.Tensor,
        images: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """CLIP's loss of queries against documents, see `TwoTowers.forward`."""
        queries = nn.functional.normalize(self.queries(images["pixel_values"], words), dim=-1)
        scores = queries @ self.texts(documents).T * self.model.logit_scale.exp()
        scores = scores.float().masked_fill(excluded, -1e4)
        labels = torch.arange(len(queries), device=scores.device)
        return {"loss": nn.functional.cross_entropy(scores, labels)}


def _unit(features: Any) -> torch.Tensor:
    features = getattr(features, "pooler_output", features)
    return nn.functional.normalize(features.float(), dim=-1)


class CLIPRetriever:
    """Documents whose texts lie nearest to the image, or to image and question.

    Args:
        towers: the encoders.
        image_processor: of images.
        batch_size: texts or images encoded together.
    """

    def __init__(self, towers: CLIPTowers, image_processor: Any, batch_size: int = 64) -> None:
        self.towers = towers.eval()
        self.image_processor = image_processor
        self._batch_size = batch_size
        self._vectors: DocumentVectors | None = None

    @classmethod
    def from_pretrained(cls, name: str | Path, question: float = 0.0) -> "CLIPRetriever":
        """A folder or Hub id of a ``CLIPModel`` with its processors."""
        tokenizer = AutoTokenizer.from_pretrained(name)
        tokenizer.padding_side = "right"
        model = AutoModel.from_pretrained(name, dtype=torch.float32)
        return cls(CLIPTowers(model, tokenizer, question), AutoImageProcessor.from_pretrained(name))

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder of transformers' own files; there whole or not at all."""
        with atomic_folder(folder) as target:
            self.towers.model.save_pretrained(target)
            self.towers.tokenizer.save_pretrained(target)
            self.image_processor.save_pretrained(target)

    @torch.no_grad()
    def _texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.towers.texts(self.towers.encode_words(texts)).cpu().numpy()

    @torch.no_grad()
    def _queries(self, images: Sequence[Any], questions: Sequence[str]) -> NDArray[np.float32]:
        pixels = self.image_processor([load_image(image) for image in images], return_tensors="pt")[
            "pixel_values"
        ]
        model = self.towers.model
        words = self.towers.encode_words(questions)
        return self.towers.queries(pixels.to(model.device, model.dtype), words).cpu().numpy()

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``; what a text has beyond the text tower's positions is cut."""
        self._vectors = DocumentVectors.of(documents, self._texts, self._batch_size)

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``."""
        check_query("CLIP", self._vectors, images, questions, k, captions, "images")
        assert self._vectors is not None and images is not None
        found: list[list[Found]] = []
        for rows in progress(batches(len(questions), self._batch_size), "CLIP"):
            found += self._vectors.search(self._queries(images[rows], questions[rows]), k)
        return found


__all__ = ["CLIPRetriever", "CLIPTowers"]
