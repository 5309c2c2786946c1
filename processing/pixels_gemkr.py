"""Pixels of pictures and of their objects, all through one call of the image processor."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from .detection_gemkr import Object, crop_object
from .pictures_gemkr import within_ratio


def encode_pixels(
    image_processor: Any,
    pictures: Sequence[Image.Image | None],
    objects: Sequence[Sequence[Object]],
    max_objects: int,
    margin: float,
    settings: dict[str, Any],
) -> dict[str, torch.Tensor]:
    """Make the tensors of B pictures; nothing if there is none among them.

    Returns ``pixel_values`` float32 (B, 3, H, W), ``object_pixel_values`` float32
    (B, max_objects, 3, H, W) and ``object_mask`` bool (B, max_objects); zeros where there is no
    picture or object.
    """
    rows, whole, places, crops = [], [], [], []
    for row, picture in enumerate(pictures):
        if picture is None:
            continue
        rows.append(row)
        whole.append(picture)
        for number, found in enumerate(objects[row]):
            places.append((row, number))
            crops.append(crop_object(picture, found.box, margin))
    if not rows:
        return {}
    # Only where the shorter edge is resized and the centre cut out may the ends of a strip go.
    by_edge = "shortest_edge" in dict(getattr(image_processor, "size", None) or {})
    ratio = 8.0 if by_edge else float("inf")
    batch = [within_ratio(picture, ratio) for picture in whole + crops]
    encoded = image_processor(images=batch, **{**settings, "return_tensors": "pt"})
    pixels = torch.as_tensor(encoded["pixel_values"])

    shape = pixels.shape[1:]
    pixel_values = pixels.new_zeros(len(pictures), *shape)
    pixel_values[rows] = pixels[: len(rows)]
    object_pixel_values = pixels.new_zeros(len(pictures), max_objects, *shape)
    object_mask = torch.zeros(len(pictures), max_objects, dtype=torch.bool)
    if places:
        index = tuple(torch.tensor(places).T)
        object_pixel_values[index] = pixels[len(rows) :]
        object_mask[index] = True
    return {
        "pixel_values": pixel_values,
        "object_pixel_values": object_pixel_values,
        "object_mask": object_mask,
    }


__all__ = ["encode_pixels"]
