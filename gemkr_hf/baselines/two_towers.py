"""Dual encoders: one encoder for queries, one for documents, trained contrastively.

Queries are text (DPR), text and objects (LXMERT, in VRR), or text and the whole image (ViLT, in
ReViz); all encoders are built from transformers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    DPRContextEncoder,
    DPRQuestionEncoder,
    LxmertModel,
    PreTrainedTokenizerBase,
    ViltModel,
)

from gemkr_hf.baselines.baseline import batches
from gemkr_hf.baselines.image_inputs import ImageInputs
from gemkr_hf.utils.io import atomic_folder

SETTINGS_FILE = "two_towers.json"
MAX_LENGTH = 256
"""Longer texts are truncated to this number of tokens."""
EARLIER_KINDS = {"words": "text", "picture": "image"}
"""Names of kinds in settings files of version 0.1."""
Tensors = Mapping[str, torch.Tensor]


class TextEncoder(nn.Module):
    """DPR's question encoder; the image reaches it only through a caption."""

    kind = "text"

    def __init__(self, text: DPRQuestionEncoder) -> None:
        super().__init__()
        self.text = text

    def forward(self, texts: Tensors, images: Tensors | None = None) -> torch.Tensor:
        """Return vectors ``(n, d)`` of n tokenized texts."""
        return self.text(**texts).pooler_output


class ObjectsEncoder(nn.Module):
    """LXMERT: cross-attention between text and objects with their boxes (Tan and Bansal 2019)."""

    kind = "objects"

    def __init__(self, model: LxmertModel) -> None:
        super().__init__()
        self.text = model

    def forward(self, texts: Tensors, images: Tensors | None = None) -> torch.Tensor:
        """Return vectors ``(n, d)`` of n tokenized texts and the objects of n images."""
        assert images is not None
        return self.text(
            input_ids=texts["input_ids"],
            attention_mask=texts["attention_mask"],
            visual_feats=images["object_features"],
            visual_pos=images["object_boxes"],
            visual_attention_mask=images["object_mask"].float(),
        ).pooled_output


class ImageEncoder(nn.Module):
    """ViLT: one transformer over text and patches of the whole image (Kim et al. 2021).

    A CLIP vision tower embeds the patches instead of ViLT's linear layer, so that all systems read
    images through the same features.
    """

    kind = "image"

    def __init__(self, model: ViltModel, vision: CLIPVisionModel) -> None:
        super().__init__()
        self.text = model
        self.vision = vision
        self.projection = nn.Linear(vision.config.hidden_size, model.config.hidden_size)

    def forward(self, texts: Tensors, images: Tensors | None = None) -> torch.Tensor:
        """Return vectors ``(n, d)`` of n tokenized texts and n images."""
        assert images is not None
        patches = self.vision(pixel_values=images["pixel_values"]).last_hidden_state
        embeds = self.projection(patches)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return self.text(
            input_ids=texts["input_ids"],
            attention_mask=texts["attention_mask"],
            image_embeds=embeds,
            pixel_mask=mask,
        ).pooler_output


class DualEncoder(nn.Module):
    """Tokenization and contrastive loss of the dual encoders.

    Attributes:
        kind: what queries consist of besides text: ``text`` (nothing), ``objects`` or ``image``.
        tokenizer: pads on the right.
    """

    kind: str
    tokenizer: Any

    @property
    def max_length(self) -> int:
        """Longer texts are truncated to this number of tokens."""
        return MAX_LENGTH

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def tokenize(
        self, texts: Sequence[str], device: torch.device | str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask``, int64 ``(n, length)``."""
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {name: encoded[name].to(device) for name in ("input_ids", "attention_mask")}

    def contrastive_loss(
        self, scores: torch.Tensor, excluded: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the loss of each query's document against the other documents of the batch.

        Args:
            scores: ``(b, documents)``; document i answers query i.
            excluded: bool ``(b, documents)``, True where another document also answers the query.
        """
        scores = scores.float().masked_fill(excluded, -1e4)
        labels = torch.arange(len(scores), device=scores.device)
        return {"loss": nn.functional.cross_entropy(scores, labels)}


class TwoTowers(DualEncoder):
    """A query encoder, a document encoder, and their tokenizer.

    Args:
        query: ``TextEncoder``, ``ObjectsEncoder`` or ``ImageEncoder``.
        document: DPR's context encoder.
        tokenizer: pads on the right; the first token's state is the vector of a text.
    """

    def __init__(
        self, query: nn.Module, document: DPRContextEncoder, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        self.query: Any = query
        self.document = document
        self.tokenizer = tokenizer
        self.kind = str(query.kind)

    def forward(
        self,
        texts: Tensors,
        documents: Tensors,
        excluded: torch.Tensor,
        images: Tensors | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return DPR's contrastive loss, see `contrastive_loss`.

        Args:
            texts: ``input_ids`` and ``attention_mask`` of b queries.
            documents: the same of at least b documents; document i answers query i.
            excluded: bool ``(b, documents)``, see `contrastive_loss`.
            images: tensors of `ImageInputs` for the queries.
        """
        queries = self.query(texts, images)
        vectors = self.document(**documents).pooler_output
        # Scaling keeps the first losses small and does not change any order.
        scores = (queries @ vectors.T).float() / math.sqrt(queries.shape[-1])
        return self.contrastive_loss(scores, excluded)

    @torch.no_grad()
    def encode_documents(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Return vectors ``(n, d)`` of documents."""
        self.eval()
        parts = []
        for rows in batches(len(texts), batch_size):
            tokens = self.tokenize(texts[rows], self.device)
            parts.append(self.document(**tokens).pooler_output.float().cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def encode_queries(
        self, texts: Sequence[str], images: ImageInputs | None = None
    ) -> NDArray[np.float32]:
        """Return vectors ``(n, d)`` of one batch of queries."""
        self.eval()
        tensors = None
        if images is not None and self.kind != "text":
            tensors = images.tensors(self.kind, self.device)
        return self.query(self.tokenize(texts, self.device), tensors).float().cpu().numpy()

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the encoders as transformers checkpoints; the folder is written atomically."""
        with atomic_folder(folder) as target:
            self.query.text.save_pretrained(target / "query")
            self.document.save_pretrained(target / "document")
            self.tokenizer.save_pretrained(target / "tokenizer")
            if isinstance(self.query, ImageEncoder):
                self.query.vision.save_pretrained(target / "vision")
                save_file(self.query.projection.state_dict(), target / "projection.safetensors")
            (target / SETTINGS_FILE).write_text(json.dumps({"kind": self.kind}), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TwoTowers":
        """Load what `save_pretrained` wrote, in this version or an earlier one.

        Raises:
            FileNotFoundError: The folder contains no encoders.
        """
        folder = Path(folder)
        if not (folder / SETTINGS_FILE).is_file():
            raise FileNotFoundError(f"No encoders in '{folder}': {SETTINGS_FILE} not found")
        kind = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))["kind"]
        kind = EARLIER_KINDS.get(kind, kind)
        query: nn.Module
        if kind == "text":
            query = TextEncoder(DPRQuestionEncoder.from_pretrained(folder / "query"))
        elif kind == "objects":
            query = ObjectsEncoder(LxmertModel.from_pretrained(folder / "query"))
        else:
            vision = CLIPVisionModel.from_pretrained(folder / "vision", dtype=torch.float32)
            query = ImageEncoder(ViltModel.from_pretrained(folder / "query"), vision)
            query.projection.load_state_dict(load_file(folder / "projection.safetensors"))
        document = DPRContextEncoder.from_pretrained(folder / "document")
        return cls(query, document, AutoTokenizer.from_pretrained(folder / "tokenizer"))


__all__ = [
    "EARLIER_KINDS",
    "MAX_LENGTH",
    "SETTINGS_FILE",
    "DualEncoder",
    "ImageEncoder",
    "ObjectsEncoder",
    "Tensors",
    "TextEncoder",
    "TwoTowers",
]
