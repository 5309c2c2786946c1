"""The `<image>` and `<object>` slots of a prompt and what is put into them."""

import torch
from torch import nn

from .configuration_gemkr import GeMKRConfig


def fill_slots(
    input_ids: torch.LongTensor,
    embeddings: nn.Module,
    config: GeMKRConfig,
    image_features: torch.Tensor | None,
    object_mask: torch.Tensor | None,
    check: bool = True,
) -> torch.Tensor:
    """Embed prompts and put the rows of H'_v (Eq. 7) into their slots.

    Parameters
    ----------
    input_ids : int64 tensor (batch_size, sequence_length)
    embeddings : nn.Module
        The language model's input embeddings; ids of slots are never looked up in them.
    config : GeMKRConfig
    image_features : float tensor (pictures, 1 + objects, D), optional
        H'_v; row 0 goes to `<image>`, the others to the `<object>` tokens in their order.
    object_mask : bool tensor (pictures, objects), optional
        Which of the objects there are; all by default.
    check : bool
        Whether to compare slots and features; False for tokens that follow a prompt.

    Returns
    -------
    float tensor (batch_size, sequence_length, D)

    Raises
    ------
    ValueError
        If slots and features do not match.
    """
    image_slots = input_ids == config.image_token_id
    object_slots = input_ids == config.object_token_id
    if check:
        check_slots(image_slots, object_slots, image_features, object_mask)
    if image_features is None and not check:
        return embeddings(input_ids)
    # A slot's own id may lie beyond the vocabulary.
    embedded = embeddings(input_ids.masked_fill(image_slots | object_slots, 0))
    if image_features is None:
        return embedded
    image_features = image_features.to(embedded.device, embedded.dtype)
    embedded = embedded.masked_scatter(image_slots[..., None], image_features[:, 0])
    if image_features.shape[1] > 1:
        objects = image_features[:, 1:]
        if object_mask is not None:
            objects = objects[object_mask.to(objects.device).bool()]
        embedded = embedded.masked_scatter(object_slots[..., None], objects)
    return embedded


def check_slots(
    image_slots: torch.Tensor,
    object_slots: torch.Tensor,
    image_features: torch.Tensor | None,
    object_mask: torch.Tensor | None,
) -> None:
    """Raise a ValueError unless every slot has its feature and every feature its slot.

    Parameters
    ----------
    image_slots, object_slots : bool tensor (batch_size, sequence_length)
    image_features : float tensor (pictures, 1 + objects, D), optional
    object_mask : bool tensor (pictures, objects), optional
    """
    # One transfer from the device for all counts.
    images, objects = torch.stack([image_slots.sum(1), object_slots.sum(1)]).tolist()
    pictures = 0 if image_features is None else len(image_features)
    if max(images, default=0) > 1:
        raise ValueError(
            f"A prompt holds {max(images)} <image> tokens, but a query has at most one picture."
        )
    if sum(images) != pictures:
        raise ValueError(
            f"The prompts hold {sum(images)} <image> tokens for {pictures} pictures; "
            "let the processor make prompts and pixel_values together."
        )
    found: list[int] = []
    if image_features is not None:
        width = image_features.shape[1] - 1
        if object_mask is None or width == 0:
            found = [width] * pictures
        elif tuple(object_mask.shape) != (pictures, width):
            raise ValueError(
                f"object_mask has shape {tuple(object_mask.shape)}, but there are {pictures} "
                f"pictures with {width} objects each."
            )
        else:
            found = object_mask.bool().sum(1).tolist()
    expected = iter(found)
    for row, (has_picture, slots) in enumerate(zip(images, objects, strict=True)):
        number = next(expected) if has_picture else 0
        if slots != number:
            raise ValueError(
                f"Prompt {row} holds {slots} <object> tokens for {number} objects; let the "
                "processor make prompts and objects together, with max_objects=0 for a model "
                "with use_object_features=False."
            )


__all__ = ["check_slots", "fill_slots"]
