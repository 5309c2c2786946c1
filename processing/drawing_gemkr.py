"""Images with their objects drawn on them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .detection_gemkr import Object

_COLORS = ("#d81b60", "#1e88e5", "#ffc107", "#00695c", "#8e24aa", "#f4511e", "#43a047", "#3949ab")
_SHORTEST_SIDE = 400  # pixels; smaller images are enlarged, or a label would cover the object


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except (OSError, ImportError, TypeError):  # Pillow without FreeType
        return ImageFont.load_default()


def _label(number: int, found: Object) -> str:
    parts = [str(number), found.label]
    if found.score < 1:  # a box given by a person has no confidence to tell
        parts.append(f"{found.score:.2f}")
    return " ".join(part for part in parts if part)


def draw_objects(image: Image.Image, objects: Sequence[Object]) -> Image.Image:
    """Draw numbered boxes with label and confidence on a copy of an RGB image.

    An image whose shorter side is below 400 pixels is enlarged by a whole number, so that labels
    stay legible; the result's size is a multiple of the image's.
    """
    factor = max(1, -(-_SHORTEST_SIDE // min(image.size)))
    if max(image.size) * factor > 8 * _SHORTEST_SIDE:  # a long strip
        factor = max(1, 8 * _SHORTEST_SIDE // max(image.size))
    size = (image.width * factor, image.height * factor)
    drawn = image.resize(size, Image.Resampling.BICUBIC) if factor > 1 else image.copy()
    pen = ImageDraw.Draw(drawn)
    unit = min(drawn.size)
    line = max(2, unit // 160)
    font = _font(max(12, unit // 26))
    # Labels are drawn after all boxes: no box crosses a text.
    for number, found in enumerate(objects):
        box = [corner * factor for corner in found.box]
        pen.rectangle(box, outline=_COLORS[number % len(_COLORS)], width=line)
    for number, found in enumerate(objects):
        color = _COLORS[number % len(_COLORS)]
        text = _label(number + 1, found)
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 4 * line, bottom - top + 3 * line
        x = min(max(0, found.box[0] * factor), max(0, drawn.width - width))
        y = found.box[1] * factor - height  # above the box, or inside where there is no room
        y = y if y >= 0 else min(found.box[1] * factor, max(0, drawn.height - height))
        pen.rectangle((x, y, x + width, y + height), fill=color)
        ink = "black" if color == "#ffc107" else "white"
        pen.text((x + 2 * line - left, y + 1.5 * line - top), text, fill=ink, font=font)
    return drawn


__all__ = ["draw_objects"]
