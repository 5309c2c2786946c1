"""Training images of the stand-in CLIP: crops of objects and whole scenes, with captions."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from gemkr_hf.toy.symbols.symbol_documents import Symbol, load_catalogue_symbols, load_known_symbols
from gemkr_hf.toy.symbols.symbol_scenes import SCENE_SIZE, Box, Scene, SceneObject, draw_scene
from gemkr_hf.toy.symbols.symbols_dataset import caption_of

IMAGE_SIZE = 60
"""Side of CLIP's input images in pixels."""


@dataclass(frozen=True)
class CaptionedImages:
    """Images with captions.

    Attributes:
        pixels: uint8 ``(number, side, side, 3)``.
        captions: One caption per image.
        objects: The object of each crop, or the first object of each scene.
    """

    pixels: np.ndarray
    captions: list[str]
    objects: list[SceneObject]


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene of 1 to 4 symbols; 60 percent of them have documents in prose."""
    known, catalogue = load_known_symbols(), load_catalogue_symbols()
    symbols: list[Symbol] = []
    for _ in range(int(rng.integers(1, 5))):
        pool = known if rng.random() < 0.6 else catalogue
        symbol = pool[rng.integers(len(pool))]
        if symbol not in symbols:
            symbols.append(symbol)
    return draw_scene(symbols, rng)


def padded_box(box: Box, rng: np.random.Generator) -> Box:
    """Return a box with a margin and slightly shifted edges, as a detector gives it."""
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
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.uint8)


def draw_crops(number: int, seed: int) -> CaptionedImages:
    """Draw crops of objects, captioned with colour and name."""
    rng = np.random.default_rng([seed, 1])
    crops: list[tuple[np.ndarray, SceneObject]] = []
    while len(crops) < number:
        scene = random_scene(rng)
        for item in scene.objects:
            crops.append((_resized(scene.image.crop(padded_box(item.box, rng))), item))
    pixels, objects = zip(*crops[:number], strict=True)
    return CaptionedImages(np.stack(pixels), [f"a {item.phrase}" for item in objects], [*objects])


def draw_scenes(number: int, seed: int) -> CaptionedImages:
    """Draw whole scenes, captioned with all their objects."""
    rng = np.random.default_rng([seed, 2])
    scenes = [random_scene(rng) for _ in range(number)]
    return CaptionedImages(
        np.stack([_resized(scene.image) for scene in scenes]),
        [caption_of(scene) for scene in scenes],
        [scene.objects[0] for scene in scenes],
    )
