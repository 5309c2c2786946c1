"""Pixels of images and of their objects, all through one call of the image processor."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from .detection_gemkr import Object, crop_object
from .images_gemkr import fit_for_resizing


def encode_pixels(
    image_processor: Any,
    images: Sequence[Image.Image | None],
    objects: Sequence[Sequence[Object]],
    max_objects: int,
    margin: float,
    settings: dict[str, Any],
) -> dict[str, torch.Tensor]:
    """Make the tensors of the P images among B queries; nothing if there is none.

    Returns ``pixel_values`` float32 (P, 3, H, W), ``object_pixel_values`` float32
    (P, max_objects, 3, H, W), zeros where there is no object, and ``object_mask`` bool
    (P, max_objects).
    """
    whole: list[Image.Image] = []
    crops: list[Image.Image] = []
    places: list[tuple[int, int]] = []
    for image, parts in zip(images, objects, strict=True):
        if image is None:
            continue
        for number, found in enumerate(parts):
            places.append((len(whole), number))
            crops.append(crop_object(image, found.box, margin))
        whole.append(image)
    if not whole:
        return {}
    # Only where the shorter edge is resized and the centre cut out may the ends of a strip go.
    by_edge = "shortest_edge" in dict(getattr(image_processor, "size", None) or {})
    ratio = 64.0 if by_edge else float("inf")
    batch = [fit_for_resizing(image, ratio) for image in whole + crops]
    encoded = image_processor(images=batch, **{**settings, "return_tensors": "pt"})
    pixels = torch.as_tensor(encoded["pixel_values"])

    object_pixel_values = pixels.new_zeros(len(whole), max_objects, *pixels.shape[1:])
    object_mask = torch.zeros(len(whole), max_objects, dtype=torch.bool)
    if places:
        index = tuple(torch.tensor(places).T)
        object_pixel_values[index] = pixels[len(whole) :]
        object_mask[index] = True
    return {
        "pixel_values": pixels[: len(whole)],
        "object_pixel_values": object_pixel_values,
        "object_mask": object_mask,
    }


__all__ = ["encode_pixels"]
