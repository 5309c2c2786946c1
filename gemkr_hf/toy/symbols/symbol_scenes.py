"""Images of one to four symbols with random colours, sizes, rotation, background and noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gemkr_hf.toy.symbols.glyphs import glyph_mask
from gemkr_hf.toy.symbols.symbol_documents import Symbol

Box = tuple[int, int, int, int]
SCENE_SIZE = 160
"""Side of a scene in pixels."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (205, 25, 30),
    "orange": (240, 125, 10),
    "yellow": (225, 195, 0),
    "green": (20, 140, 50),
    "blue": (25, 70, 200),
    "purple": (130, 40, 160),
    "brown": (115, 65, 25),
    "black": (20, 20, 20),
}
PLACES = ("top left", "top right", "bottom left", "bottom right")
SIZES = ("small", "large")

LARGE_OBJECT = 0.27
"""An object is large if the square root of its box's share of the image is at least this."""
_SIZE_RANGES = {"small": (0.155, 0.225), "large": (0.32, 0.42)}
_LARGEST_SIDE = 0.49  # share of the image: two large objects fit side by side
_SMALLEST_GAP = 4  # pixels between two symbols


@dataclass(frozen=True)
class SceneObject:
    """A symbol in a scene; ``box`` is (left, top, right, bottom) in pixels."""

    symbol: Symbol
    color: str
    place: str
    size: str
    box: Box

    @property
    def phrase(self) -> str:
        """Colour and name: ``red aries``."""
        return f"{self.color} {self.symbol.name}"


@dataclass(frozen=True)
class Scene:
    """An image and its objects, in the order in which they were drawn."""

    image: Image.Image
    objects: tuple[SceneObject, ...]


def _rotated_mask(char: str, side: float, rng: np.random.Generator) -> Image.Image:
    """Rotate a glyph by up to 20 degrees and scale its box to an area of ``side`` squared."""
    mask = glyph_mask(char).rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    mask = mask.crop(mask.getbbox())
    width, height = mask.size
    scale = side / np.sqrt(width * height)
    scale = min(scale, _LARGEST_SIDE * SCENE_SIZE / max(width, height))
    new_size = (max(2, round(width * scale)), max(2, round(height * scale)))
    return mask.resize(new_size, Image.Resampling.LANCZOS)


def _background(rng: np.random.Generator) -> np.ndarray:
    """Return light paper of one tint with a slight gradient, float32 ``(side, side, 3)``."""
    base = rng.uniform(205, 250) + rng.uniform(-12, 12, size=3)
    ramp = np.linspace(-1, 1, SCENE_SIZE, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-10, 10, size=2)
    gradient = slope_x * ramp[None, :, None] + slope_y * ramp[:, None, None]
    return (base[None, None, :] + gradient).astype(np.float32)


def _position(place: str, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw the top left corner of a box whose centre is clearly inside the quadrant ``place``."""
    corner = []
    for axis, word in enumerate(reversed(place.split())):  # x from left/right, y from top/bottom
        half = size[axis] / 2
        lowest, highest = half + 1, SCENE_SIZE / 2 - max(8, half - 4)
        if lowest > highest:
            lowest = highest = (lowest + highest) / 2
        center = rng.uniform(lowest, highest)
        if word in ("right", "bottom"):
            center = SCENE_SIZE - center
        corner.append(int(np.clip(round(center - half), 0, SCENE_SIZE - size[axis])))
    return corner[0], corner[1]


def _free_box(
    place: str, size: tuple[int, int], others: Sequence[Box], rng: np.random.Generator
) -> Box:
    """Draw a box in a quadrant with a gap to other boxes; the best of 30 draws if all are close."""
    best, best_gap = (0, 0, 0, 0), -np.inf
    for _ in range(30):
        x, y = _position(place, size, rng)
        box = (x, y, x + size[0], y + size[1])
        gaps = [
            max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3])
            for other in others  # negative if the boxes overlap
        ]
        gap = min(gaps, default=SCENE_SIZE)
        if gap >= _SMALLEST_GAP:
            return box
        if gap > best_gap:
            best, best_gap = box, gap
    return best


def draw_scene(symbols: Sequence[Symbol], rng: np.random.Generator) -> Scene:
    """Draw 1 to 4 symbols, each in its own quadrant, with random colours and sizes.

    Raises:
        ValueError: If there is no symbol, or there are more symbols than quadrants.
    """
    if not 1 <= len(symbols) <= len(PLACES):
        raise ValueError(f"A scene shows 1 to {len(PLACES)} symbols, got {len(symbols)}")
    colors = rng.choice(list(COLORS), size=len(symbols)).tolist()
    sizes = rng.choice(SIZES, size=len(symbols)).tolist()
    places = [PLACES[row] for row in rng.permutation(len(PLACES))[: len(symbols)]]

    pixels = _background(rng)
    objects: list[SceneObject] = []
    for symbol, color, size, place in zip(symbols, colors, sizes, places, strict=True):
        side = rng.uniform(*_SIZE_RANGES[size]) * SCENE_SIZE
        mask = _rotated_mask(symbol.char, side, rng)
        box = _free_box(place, mask.size, [item.box for item in objects], rng)
        ink = np.asarray(COLORS[color], dtype=np.float32) + rng.uniform(-18, 18, size=3)
        alpha = np.asarray(mask, dtype=np.float32)[:, :, None] / 255
        region = pixels[box[1] : box[3], box[0] : box[2]]
        region[:] = alpha * ink + (1 - alpha) * region
        # Computed from the box: a glyph may be small although it was drawn to be large.
        share = np.sqrt(mask.size[0] * mask.size[1]) / SCENE_SIZE
        measured = "large" if share >= LARGE_OBJECT else "small"
        objects.append(SceneObject(symbol, color, place, measured, box))
    pixels += rng.normal(0, rng.uniform(1, 8), size=pixels.shape)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return Scene(image, tuple(objects))
