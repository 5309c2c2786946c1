"""Drawing of objects on images. It stays in the library: the model does not need it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .images_gemkr import Object

_COLORS = ("#d81b60", "#1e88e5", "#ffc107", "#00695c", "#8e24aa", "#f4511e", "#43a047", "#3949ab")
_DRAWN_SIDE = 400  # pixels; smaller images are enlarged, or a label would cover the object


def draw_objects(image: Image.Image, objects: Sequence[Object]) -> Image.Image:
    """Draw numbered boxes with label and confidence on a copy of an RGB image.

    An image whose shorter side is below 400 pixels is enlarged by an integer factor, so that labels
    stay legible.
    """
    factor = max(1, -(-_DRAWN_SIDE // min(image.size)))
    if max(image.size) * factor > 8 * _DRAWN_SIDE:  # a long strip
        factor = max(1, 8 * _DRAWN_SIDE // max(image.size))
    size = (image.width * factor, image.height * factor)
    drawn = image.resize(size, Image.Resampling.BICUBIC) if factor > 1 else image.copy()
    pen = ImageDraw.Draw(drawn)
    unit = min(drawn.size)
    line = max(2, unit // 160)
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    try:
        font = ImageFont.load_default(max(12, unit // 26))
    except (OSError, ImportError, TypeError):  # Pillow without FreeType
        font = ImageFont.load_default()
    # Labels are drawn after all boxes: no box crosses a text.
    for number, item in enumerate(objects):
        box = [corner * factor for corner in item.box]
        pen.rectangle(box, outline=_COLORS[number % len(_COLORS)], width=line)
    for number, item in enumerate(objects):
        color = _COLORS[number % len(_COLORS)]
        confidence = f"{item.score:.2f}" if item.score < 1 else ""  # a given box has none
        text = " ".join(part for part in (str(number + 1), item.label, confidence) if part)
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 4 * line, bottom - top + 3 * line
        x = min(max(0, item.box[0] * factor), max(0, drawn.width - width))
        y = item.box[1] * factor - height  # above the box, or inside where there is no room
        y = y if y >= 0 else min(item.box[1] * factor, max(0, drawn.height - height))
        pen.rectangle((x, y, x + width, y + height), fill=color)
        ink = "black" if color == "#ffc107" else "white"
        pen.text((x + 2 * line - left, y + 1.5 * line - top), text, fill=ink, font=font)
    return drawn


__all__ = ["draw_objects"]
