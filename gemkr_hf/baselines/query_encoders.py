"""Query encoders, all built from transformers: text (DPR), text and objects (LXMERT, in VRR), text
and the whole image (ViLT, in ReViz)."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import CLIPVisionModel, DPRQuestionEncoder, LxmertModel, ViltModel

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


__all__ = ["ImageEncoder", "ObjectsEncoder", "Tensors", "TextEncoder"]
