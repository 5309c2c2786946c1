"""The `<image>` and `<object>` slots of a prompt and what is put into them."""

import torch
from torch import nn

from .configuration_gemkr import GeMKRConfig


def find_slots(
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    embeddings: nn.Module,
    config: GeMKRConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the `<image>` and the `<object>` tokens are, each bool (batch_size, sequence_length).

    Without `input_ids` a slot is where `inputs_embeds` holds that token's own embedding.
    """
    tokens = (config.image_token_id, config.object_token_id)
    if input_ids is not None:
        return input_ids == tokens[0], input_ids == tokens[1]
    assert inputs_embeds is not None
    rows = embeddings(torch.tensor(tokens, device=inputs_embeds.device))
    return (inputs_embeds == rows[0]).all(-1), (inputs_embeds == rows[1]).all(-1)


def fill_slots(
    inputs_embeds: torch.Tensor,
    slots: tuple[torch.Tensor, torch.Tensor],
    image_features: torch.Tensor,
    object_mask: torch.Tensor | None,
) -> torch.Tensor:
    """Put the rows of H'_v (Eq. 7) into the slots of the prompts.

    Args:
        inputs_embeds: float tensor (batch_size, sequence_length, D).
        slots: two bool tensors (batch_size, sequence_length), see `find_slots`.
        image_features: float tensor (images, 1 + objects, D). H'_v; row 0 goes to `<image>`, the
            others to the `<object>` tokens in their order.
        object_mask: bool tensor (images, at least objects). Which of the objects there are; all by
            default.

    Returns:
        float tensor (batch_size, sequence_length, D).
    """
    image_slots, object_slots = slots
    features = image_features.to(inputs_embeds.device, inputs_embeds.dtype)
    if object_mask is not None and features.shape[1] > 1:
        features = _pack(features, object_mask.to(features.device))
    # By indexing alone: no shape depends on the content, so that it compiles and waits for nothing.
    image = (image_slots.any(1).cumsum(0) - 1).clamp_min(0)
    place = torch.where(object_slots, object_slots.cumsum(1), 0).clamp_max(features.shape[1] - 1)
    values = features[image[:, None], place]
    return torch.where((image_slots | object_slots)[..., None], values, inputs_embeds)


def _pack(features: torch.Tensor, object_mask: torch.Tensor) -> torch.Tensor:
    """The rows of H'_v with those of the objects that there are first."""
    there = object_mask[:, : features.shape[1] - 1].bool()
    order = torch.argsort(~there, dim=1, stable=True)[..., None].expand(-1, -1, features.shape[2])
    return torch.cat([features[:, :1], features[:, 1:].gather(1, order)], dim=1)


def check_slots(
    image_slots: torch.Tensor,
    object_slots: torch.Tensor,
    image_features: torch.Tensor | None,
    object_mask: torch.Tensor | None,
) -> None:
    """Raise a ValueError unless every slot has its feature and every feature its slot.

    Args:
        image_slots, object_slots: bool tensor (batch_size, sequence_length).
        image_features: float tensor (images, 1 + objects, D).
        object_mask: bool tensor (images, at least objects).
    """
    # One transfer from the device for all counts.
    slots_per_row, objects = torch.stack([image_slots.sum(1), object_slots.sum(1)]).tolist()
    images = 0 if image_features is None else len(image_features)
    if max(slots_per_row, default=0) > 1:
        raise ValueError(
            f"A prompt holds {max(slots_per_row)} <image> tokens, but a query has one at most."
        )
    if sum(slots_per_row) != images:
        raise ValueError(
            f"The prompts hold {sum(slots_per_row)} <image> tokens for {images} images; "
            "let the processor make prompts and pixel_values together."
        )
    found: list[int] = []
    if image_features is not None:
        width = image_features.shape[1] - 1
        if object_mask is None or width == 0:
            found = [width] * images
        elif len(object_mask) != images or object_mask.shape[1] < width:
            raise ValueError(
                f"object_mask has shape {tuple(object_mask.shape)}, but there are {images} "
                f"images with {width} objects each."
            )
        else:
            found = object_mask[:, :width].bool().sum(1).tolist()
    expected = iter(found)
    for row, (has_image, slots) in enumerate(zip(slots_per_row, objects, strict=True)):
        number = next(expected) if has_image else 0
        if slots != number:
            raise ValueError(
                f"Prompt {row} holds {slots} <object> tokens for {number} objects that the model "
                "puts there; let the processor make prompts and objects together, with the "
                "max_objects and max_object_slots of the model's configuration (max_objects=0 "
                "with use_object_features=False)."
            )


__all__ = ["check_slots", "fill_slots", "find_slots"]
