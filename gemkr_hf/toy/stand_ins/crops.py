"""Drawn material for the stand-ins that see: crops and scenes with their captions."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from gemkr_hf.toy.symbols.scenes import SCENE_SIZE, Scene, draw_scene
from gemkr_hf.toy.symbols.symbol_documents import Symbol, load_catalogue_symbols, load_known_symbols
from gemkr_hf.toy.symbols.symbols_dataset import caption_of

IMAGE_SIZE = 60
"""Side of what CLIP sees, in pixels."""


@dataclass(frozen=True)
class CaptionedImages:
    """Images ``uint8 (number, side, side, 3)`` with one caption each."""

    pixels: np.ndarray
    captions: list[str]
    names: list[str]
    colors: list[str]


def random_scene(rng: np.random.Generator, known_share: float = 0.6) -> Scene:
    """A scene of 1 to 4 symbols, with prose (``known_share`` of them) or without."""
    known, catalogue = load_known_symbols(), load_catalogue_symbols()
    symbols: list[Symbol] = []
    for _ in range(int(rng.integers(1, 5))):
        pool = known if rng.random() < known_share else catalogue
        symbol = pool[rng.integers(len(pool))]
        if symbol not in symbols:
            symbols.append(symbol)
    return draw_scene(symbols, rng)


def padded_box(
    box: tuple[int, int, int, int], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A detector's view of a box: a margin, and edges a little off."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    shift = rng.uniform(-0.02, 0.14, size=4)
    return (
        max(0, round(left - shift[0] * width - 1)),
        max(0, round(top - shift[1] * height - 1)),
        min(SCENE_SIZE, round(right + shift[2] * width + 1)),
        min(SCENE_SIZE, round(bottom + shift[3] * height + 1)),
    )


def _resized(image: Image.Image) -> np.ndarray:
    return np.asarray(
        image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), dtype=np.uint8
    )


def draw_crops(number: int, seed: int) -> CaptionedImages:
    """Crops of objects, captioned with size, colour and name."""
    rng = np.random.default_rng([seed, 1])
    pixels: list[np.ndarray] = []
    captions: list[str] = []
    names: list[str] = []
    colors: list[str] = []
    while len(pixels) < number:
        scene = random_scene(rng)
        for item in scene.objects:
            pixels.append(_resized(scene.image.crop(padded_box(item.box, rng))))
            captions.append(f"a {item.words}")
            names.append(item.symbol.name)
            colors.append(item.color)
    return CaptionedImages(
        np.stack(pixels[:number]), captions[:number], names[:number], colors[:number]
    )


def draw_scenes(number: int, seed: int) -> CaptionedImages:
    """Whole scenes, captioned with all their objects."""
    rng = np.random.default_rng([seed, 2])
    scenes = [random_scene(rng) for _ in range(number)]
    return CaptionedImages(
        np.stack([_resized(scene.image) for scene in scenes]),
        [caption_of(scene) for scene in scenes],
        [scene.objects[0].symbol.name for scene in scenes],
        [scene.objects[0].color for scene in scenes],
    )
