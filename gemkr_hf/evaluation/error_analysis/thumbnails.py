"""Thumbnails with boxes, as data URIs that are embedded in an HTML file."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

from PIL import Image, ImageDraw, ImageOps

from gemkr_hf.processing import Object, draw_objects

_LARGEST_SIDE = 440  # of a thumbnail, in pixels
_QUALITY = 82
_ENLARGED = 400  # shortest side of a small image before boxes are drawn, in pixels
_SYMBOL = 48  # side of a symbol's thumbnail, in pixels


def thumbnail(
    image: Image.Image,
    objects: Sequence[Object] = (),
    target: Sequence[float] | None = None,
) -> str:
    """Return an image with boxes as a data URI.

    Args:
        image: RGB image.
        objects: Drawn as numbered boxes with label and confidence.
        target: Box ``(left, top, right, bottom)`` that is drawn dashed, just outside the object,
            in black and white so that it is visible on any background.
    """
    drawn = image.copy()
    if target is not None:
        # Enlarged and drawn first, so that the labels of the other boxes stay legible.
        factor = max(1, min(-(-_ENLARGED // min(image.size)), 8 * _ENLARGED // max(image.size)))
        size = (image.width * factor, image.height * factor)
        drawn = image.resize(size, Image.Resampling.BICUBIC)
        objects = [replace(o, box=tuple(edge * factor for edge in o.box)) for o in objects]  # type: ignore[arg-type]
        _draw_dashed(drawn, [edge * factor for edge in target])
    if objects:
        drawn = draw_objects(drawn, objects)
    drawn.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    return _data_uri(drawn, "JPEG")


def _draw_dashed(image: Image.Image, box: Sequence[float]) -> None:
    pen = ImageDraw.Draw(image)
    width = max(3, min(image.size) // 110)
    gap, dash = 2 * width, 4 * width
    left, top = max(0, box[0] - gap), max(0, box[1] - gap)
    right = min(image.width - 1, box[2] + gap)
    bottom = min(image.height - 1, box[3] + gap)
    pen.rectangle((left, top, right, bottom), outline="white", width=width)
    for at in range(int(left), int(right), 2 * dash):
        end = min(at + dash, right)
        pen.rectangle((at, top, end, top + width - 1), fill="black")
        pen.rectangle((at, bottom - width + 1, end, bottom), fill="black")
    for at in range(int(top), int(bottom), 2 * dash):
        end = min(at + dash, bottom)
        pen.rectangle((left, at, left + width - 1, end), fill="black")
        pen.rectangle((right - width + 1, at, right, end), fill="black")


def symbol_thumbnail(mask: Image.Image) -> str:
    """Return a symbol's mask (mode L), drawn black on white, as a data URI."""
    mask = ImageOps.contain(mask, (_SYMBOL - 8, _SYMBOL - 8), Image.Resampling.LANCZOS)
    tile = Image.new("L", (_SYMBOL, _SYMBOL), 255)
    tile.paste(0, ((_SYMBOL - mask.width) // 2, (_SYMBOL - mask.height) // 2), mask)
    return _data_uri(tile, "PNG")


def _data_uri(image: Image.Image, format_name: str) -> str:
    file = BytesIO()
    image.save(file, format=format_name, quality=_QUALITY, optimize=True)
    content = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{format_name.lower()};base64,{content}"


__all__ = ["symbol_thumbnail", "thumbnail"]
