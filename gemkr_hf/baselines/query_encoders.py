"""Encoders of queries, all classes of transformers: of words (DPR), of words and objects (LXMERT,
in VRR), of words and the whole image (ViLT, in ReViz)."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import CLIPVisionModel, DPRQuestionEncoder, LxmertModel, ViltModel

from gemkr_hf.baselines.image_inputs import SeenImages

Tensors = Mapping[str, torch.Tensor]


class WordsEncoder(nn.Module):
    """DPR's encoder of questions; the image stands in the words, if at all."""

    kind = "words"

    def __init__(self, text: DPRQuestionEncoder) -> None:
        super().__init__()
        self.text = text

    def forward(self, words: Tensors, images: Tensors | None = None) -> torch.Tensor:
        return self.text(**words).pooler_output


class ObjectsEncoder(nn.Module):
    """LXMERT: words and objects, each with its box, attend to each other (Tan and Bansal 2019)."""

    kind = "objects"

    def __init__(self, model: LxmertModel) -> None:
        super().__init__()
        self.text = model

    def forward(self, words: Tensors, images: Tensors | None = None) -> torch.Tensor:
        assert images is not None
        return self.text(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            visual_feats=images["object_features"],
            visual_pos=images["object_places"],
            visual_attention_mask=images["object_mask"].float(),
        ).pooled_output


class ImageEncoder(nn.Module):
    """ViLT: one stream of words and patches of the whole image (Kim et al. 2021).

    The patches are embedded by a CLIP vision tower in the place of ViLT's linear layer: it is what
    the other systems see with.
    """

    kind = "image"

    def __init__(self, model: ViltModel, vision: CLIPVisionModel) -> None:
        super().__init__()
        self.text = model
        self.vision = vision
        self.projection = nn.Linear(vision.config.hidden_size, model.config.hidden_size)

    def forward(self, words: Tensors, images: Tensors | None = None) -> torch.Tensor:
        assert images is not None
        patches = self.vision(pixel_values=images["pixel_values"]).last_hidden_state
        embeds = self.projection(patches)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return self.text(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            image_embeds=embeds,
            pixel_mask=mask,
        ).pooler_output


def tensors_of(
    images: SeenImages | None, kind: str, device: torch.device
) -> dict[str, torch.Tensor] | None:
    """What an encoder of this kind reads of the images."""
    if kind == "words" or images is None:
        return None
    names = (
        ("pixel_values",)
        if kind == "image"
        else ("object_features", "object_places", "object_mask")
    )
    return {name: getattr(images, name).to(device) for name in names}


__all__ = ["ImageEncoder", "ObjectsEncoder", "Tensors", "WordsEncoder", "tensors_of"]
