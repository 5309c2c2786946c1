"""Characters drawn in the DejaVu font, which is part of matplotlib."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from gemkr_hf.utils.extras import require_extra

_PIXELS = 96  # font size of a glyph before it is rotated and scaled


def _font_path() -> Path:
    require_extra("quickstart", "Drawing symbols needs", "fontTools", "matplotlib")
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_font_path()), _PIXELS)


def drawable_characters(ranges: Iterable[tuple[int, int]]) -> list[str]:
    """Return the characters of some code-point ranges, ends included, that the font can draw."""
    path = _font_path()
    from fontTools.ttLib import TTFont

    with TTFont(path) as font:
        codes = font.getBestCmap()
    return [chr(code) for low, high in ranges for code in range(low, high + 1) if code in codes]


@cache
def glyph_mask(char: str) -> Image.Image:
    """Return a character as a mask (mode L), cropped to its ink."""
    left, top, right, bottom = _font().getbbox(char)
    mask = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(mask).text((2 - left, 2 - top), char, fill=255, font=_font())
    return mask.crop(mask.getbbox())
