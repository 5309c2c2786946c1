"""Images of a report: boxes drawn on them, small, and as text that an HTML file holds."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageOps

from gemkr_hf.processing import Object, draw_objects
from gemkr_hf.toy.symbols.glyphs import glyph_mask

LARGEST_SIDE = 440  # pixels of a thumbnail
_QUALITY = 82
_ENLARGED = 400  # shortest side of a small image, before boxes are drawn
_GLYPH = 48  # pixels


def thumbnail(
    image: Image.Image,
    objects: Sequence[Object] = (),
    target: Sequence[float] | None = None,
) -> str:
    """An image as the address of an ``<img>``.

    Args:
        image: RGB.
        objects: drawn as numbered boxes with label and confidence.
        target: a box ``(left, top, right, bottom)`` that is drawn dashed, in black and white so
            that it is seen on any ground, just outside of what it encloses.
    """
    drawn = image.copy()
    if target is not None:
        # Enlarged as the other boxes will be, and before them: their labels stay legible.
        factor = max(1, min(-(-_ENLARGED // min(image.size)), 8 * _ENLARGED // max(image.size)))
        size = (image.width * factor, image.height * factor)
        drawn = image.resize(size, Image.Resampling.BICUBIC)
        objects = [_enlarged(found, factor) for found in objects]
        _dashed(drawn, [edge * factor for edge in target])
    if objects:
        drawn = draw_objects(drawn, objects)
    drawn.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    return data_uri(drawn, "JPEG")


def _enlarged(found: Object, factor: int) -> Object:
    left, top, right, bottom = (edge * factor for edge in found.box)
    return replace(found, box=(left, top, right, bottom))


def _dashed(image: Image.Image, box: Sequence[float]) -> None:
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


@cache
def glyph(char: str) -> str:
    """A character of the symbols benchmark as the address of an ``<img>``, black on white."""
    mask = ImageOps.contain(glyph_mask(char), (_GLYPH - 8, _GLYPH - 8), Image.Resampling.LANCZOS)
    tile = Image.new("L", (_GLYPH, _GLYPH), 255)
    tile.paste(0, ((_GLYPH - mask.width) // 2, (_GLYPH - mask.height) // 2), mask)
    return data_uri(tile, "PNG")


def data_uri(image: Image.Image, format_name: str) -> str:
    """The image's file, within its address."""
    file = BytesIO()
    image.save(file, format=format_name, quality=_QUALITY, optimize=True)
    content = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{format_name.lower()};base64,{content}"


__all__ = ["LARGEST_SIDE", "data_uri", "glyph", "thumbnail"]
