"""Images and their objects: loading, boxes, crops, and the pixels that the model takes."""

import http.client
import logging
import math
import os
import struct
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

logger = logging.getLogger(__name__)

ImageInput = Any
"""PIL image, path, URL, bytes, open file, array, tensor, or ``{"bytes": ..., "path": ...}``."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the upright image."""

_URL_TIMEOUT = 20  # seconds
_URL_LIMIT = 256 * 2**20  # bytes
_MAX_PIXELS, _MIN_SIDE = 16_000_000, 8
_ROUNDING = 0.01  # share of the range by which resizing may have made floats negative
_DAMAGE = (OSError, SyntaxError, EOFError, ValueError, struct.error, zlib.error, IndexError)


# -- loading -----------------------------------------------------------------------------------


def load_image(source: ImageInput) -> Image.Image:
    """Load one image as an upright RGB ``PIL.Image.Image``.

    EXIF orientation is applied, alpha is composited on white, 16-bit and float grey levels are
    scaled to 8 bits, and only the first frame of an animation is read.

    Args:
        source: PIL image, path, URL, data URL, bytes, open file, NumPy array, torch tensor, or a
            dict with ``bytes`` or ``path`` as `datasets` gives it. Arrays are ``(H, W)``,
            ``(H, W, 1|3|4)`` or ``(1|3|4, H, W)``; floats lie in 0..1 or 0..255.

    Returns:
        PIL.Image.Image: in mode RGB.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if the source is not an image, is damaged or truncated, has no pixels, is a
            decompression bomb (more than twice ``PIL.Image.MAX_IMAGE_PIXELS``), cannot be
            fetched, or contains negative or non-finite floats.
    """
    if isinstance(source, dict):
        source = source.get("bytes") or source.get("path")
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "The image")
    if isinstance(source, torch.Tensor):
        source = source.detach().to("cpu")
        source = (source.float() if source.is_floating_point() else source).numpy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:")):
        return _from_bytes(*_fetch(source))
    if isinstance(source, str) and not source:
        raise ValueError("The path of the image is empty.")
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), "The image given as bytes")
    if hasattr(source, "read"):
        return _from_bytes(source.read(), str(getattr(source, "name", "The open file")))
    raise ValueError(
        "An image must be a PIL image, a path, a URL, bytes, a NumPy array or a torch tensor, "
        f"not {type(source).__name__}."
    )


def _from_path(path: Path) -> Image.Image:
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder, not an image.")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"Image not found: '{path}'.") from None
    except OSError as error:
        hint = "; give base64 as data:image/png;base64,..." if len(str(path)) > 255 else ""
        reason = f"{error.strerror or error}{hint}"
        raise ValueError(f"{str(path)[:255]} cannot be read: {reason}.") from error
    return _from_bytes(data, str(path))


def _from_bytes(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ValueError(f"{name} is empty, not an image.")
    with _decoding(name):
        image = Image.open(BytesIO(data))
    return _upright_rgb(image, name)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Report damage as a ValueError, and silence Pillow's warnings: 100 megapixels are fine."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            yield
    except (UnidentifiedImageError, ImportError) as error:  # the latter where a plugin is missing
        raise ValueError(f"{name} is not an image in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is rejected as a decompression bomb: {error}") from error
    except _DAMAGE as error:
        raise ValueError(f"{name} is truncated or damaged: {error}.") from error


def _fetch(url: str) -> tuple[bytes, str]:
    """Return the content of a URL, or of a data URL, and a name for messages."""
    name = "The data URL" if url.startswith("data:") else url
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gemkr-hf"})
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT) as response:
            data = response.read(_URL_LIMIT + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise ValueError(f"{name} could not be fetched: {error}.") from error
    if len(data) > _URL_LIMIT:
        raise ValueError(f"{name} is larger than {_URL_LIMIT >> 20} MiB.")
    return data, name


def _from_array(array: np.ndarray) -> Image.Image:
    shape = array.shape
    if array.ndim == 3 and shape[-1] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise ValueError(
            f"An image array must be (H, W), (H, W, 1|3|4) or (1|3|4, H, W), not {shape}."
        )
    if array.size == 0:
        raise ValueError(f"The image has no pixels: its array has the shape {shape}.")
    return _upright_rgb(Image.fromarray(_to_uint8(array, "The image")), "The image")


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Scale grey levels to ``uint8``: bool, floats in 0..1 or 0..255, 16-bit and 8-bit integers."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    values = array.astype(np.float64)
    lowest, highest = float(values.min()), float(values.max())
    if np.issubdtype(array.dtype, np.floating):
        if not math.isfinite(highest - lowest):
            raise ValueError(f"{name} has non-finite pixels (NaN or infinity).")
        if lowest < -_ROUNDING * max(highest, 1.0):
            raise ValueError(
                f"{name} has floats from {lowest:.3g} to {highest:.3g}, but they must lie in 0..1 "
                "or 0..255; (pixels + 1) / 2 maps -1..1 to 0..1."
            )
        scale = 255.0 if highest <= 1.0 else 1.0 if highest <= 255.0 else 255.0 / highest
    elif array.dtype == np.uint16 or 255 < highest <= 65535:
        scale = 1 / 257
    else:
        scale = 1.0 if highest <= 255 else 255.0 / highest
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if 0 in image.size:
        raise ValueError(f"{name} has no pixels: it is {image.width} x {image.height}.")
    with _decoding(name):
        if getattr(image, "n_frames", 1) > 1 and image.tell() != 0:
            image.seek(0)
        image.load()
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # any error of a broken EXIF block; the pixels are fine
        logger.debug("%s has an unreadable EXIF block, its orientation is ignored.", name)
    return _to_rgb(image, name)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        levels = np.asarray(image)
        if image.mode.startswith("I;16"):
            levels = levels.astype(np.uint16)
        return Image.fromarray(_to_uint8(levels, name)).convert("RGB")
    try:
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            if image.mode in ("RGBa", "La"):  # premultiplied
                image = image.convert(image.mode.upper())
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{name} has the color mode {image.mode}: save it as RGB.") from error


# -- objects -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Object:
    """An object of an image.

    Attributes:
        box: tuple of 4 floats ``(x0, y0, x1, y1)`` in pixels of the upright image: left, top,
            right, bottom.
        score: confidence in 0..1; 1 for a box that was given.
        label: the detector's class name, or empty.
    """

    box: Box
    score: float = 1.0
    label: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"box": list(self.box), "score": self.score, "label": self.label}


def is_box(value: Any) -> bool:
    """Return whether ``value`` is an object: ``Object``, a dict with a box, four numbers."""
    # By attribute, not by class: remote code has another `Object` class than the library.
    if hasattr(value, "box") or (isinstance(value, dict) and "box" in value):
        return True
    if isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != 4:
        return False
    return all(not hasattr(part, "__len__") and not hasattr(part, "box") for part in value) or (
        getattr(value, "ndim", 0) == 1
    )


def as_object(value: Any) -> Object:
    """Convert a box, dict or object of a user to an ``Object``.

    Raises:
        ValueError: if the box is not four finite numbers in pixels with ``x0 < x1`` and
            ``y0 < y1``, or the score is not in 0..1.
    """
    if not is_box(value):
        raise ValueError(f"An object must be an Object or a box (x0, y0, x1, y1), not {value!r}.")
    if isinstance(value, dict):
        box, score, label = value["box"], value.get("score", 1.0), value.get("label", "")
    elif hasattr(value, "box"):
        box, score, label = value.box, getattr(value, "score", 1.0), getattr(value, "label", "")
    else:
        box, score, label = value, 1.0, ""
    corners = tuple(float(number) for number in box)
    if len(corners) != 4 or not all(map(math.isfinite, corners)):
        raise ValueError(f"A box must be four finite numbers (x0, y0, x1, y1), not {corners}.")
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise ValueError(f"The box {corners} is empty: x0 < x1 and y0 < y1 are needed.")
    if max(corners) <= 1 and (corners[2] - corners[0]) * (corners[3] - corners[1]) < 1:
        raise ValueError(f"The box {corners} is within one pixel: boxes are in pixels, not 0..1.")
    if not 0 <= float(score) <= 1:
        raise ValueError(f"The score of an object must be in 0..1, not {score}.")
    return Object(corners, float(score), str(label or ""))


def clip_object(item: Object, size: tuple[int, int]) -> Object | None:
    """Clip a box to an image of ``size`` (width, height); None if it lies outside."""
    width, height = size
    x0, x1 = (min(max(x, 0.0), float(width)) for x in (item.box[0], item.box[2]))
    y0, y1 = (min(max(y, 0.0), float(height)) for y in (item.box[1], item.box[3]))
    if not (x1 > x0 and y1 > y0):  # also false for NaN
        return None
    return Object((x0, y0, x1, y1), item.score, item.label)


def most_confident(objects: Iterable[Object], limit: int) -> list[Object]:
    """Return the ``limit`` objects of highest score; equal scores keep their order."""
    return sorted(objects, key=lambda item: -item.score)[:limit]


def choose_objects(
    images: Sequence[Image.Image | None],
    given: Sequence[Sequence[Any] | None],
    limit: int,
    detect: Callable[[list[Image.Image]], list[list[Object]]] | None = None,
) -> list[list[Object]]:
    """Choose at most ``limit`` objects of each image: those ``given``, or else those detected.

    Args:
        images: B images; None for a text-only query.
        given: objects of each image; None where they are to be detected.
        limit: maximum number of objects of an image.
        detect: called once, with all images whose objects are not given.

    Raises:
        ValueError: if a given box is invalid, lies outside its image, or has no image.
    """
    chosen: list[list[Object]] = [[] for _ in images]
    undetected: list[int] = []
    for row, (image, boxes) in enumerate(zip(images, given, strict=True)):
        if image is None:
            if boxes is not None and len(boxes) > 0:
                raise ValueError(f"Query {row} has objects but no image.")
        elif boxes is None:
            undetected.append(row)
        else:
            for box in map(as_object, boxes):
                clipped = clip_object(box, image.size)
                if clipped is None:
                    raise ValueError(
                        f"The box {box.box} of query {row} lies outside its image of "
                        f"{image.width} x {image.height} pixels."
                    )
                chosen[row].append(clipped)
            chosen[row] = most_confident(chosen[row], limit)
    if undetected and detect is not None and limit > 0:
        results = detect([image for row in undetected if (image := images[row]) is not None])
        for row, objects in zip(undetected, results, strict=True):
            chosen[row] = objects
    return chosen


# -- pixels ------------------------------------------------------------------------------------


def crop_object(image: Image.Image, box: Box, margin: float = 0.0) -> Image.Image:
    """Crop a box, widened on each side by ``margin`` times its width and height.

    The crop stays inside the image and is at least one pixel wide and high.
    """
    width, height = image.size
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    tolerance = 1e-3  # a detector's rounding errors, which depend on its batch, move no border
    left = min(max(math.floor(x0 - dx + tolerance), 0), width - 1)
    top = min(max(math.floor(y0 - dy + tolerance), 0), height - 1)
    right = max(min(math.ceil(x1 + dx - tolerance), width), left + 1)
    bottom = max(min(math.ceil(y1 + dy - tolerance), height), top + 1)
    return image.crop((left, top, right, bottom))


def fit_for_resizing(image: Image.Image, ratio: float = 64.0) -> Image.Image:
    """Make an image safe and cheap to resize to a few hundred pixels.

    - The longer side is cropped centrally to ``ratio`` times the shorter one. A center crop would
      remove the rest anyway, and resizing a 1 x 10000 strip to a short side of 224 takes gigabytes.
    - More than 16 megapixels are first reduced by an integer factor, which changes the result by
      less than a grey level.
    - Sides below 8 pixels are enlarged: 1 to 4 pixels are mistaken for color channels.
    """
    width, height = image.size
    if max(width, height) > min(width, height) * ratio:
        longest = int(min(width, height) * ratio)
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        image = image.crop((left, top, min(width, left + longest), min(height, top + longest)))
    factor = math.ceil(math.sqrt(image.width * image.height / _MAX_PIXELS))
    if factor > 1 and min(image.size) // factor >= 1000:
        image = image.reduce(factor)
    if min(image.size) < _MIN_SIDE:
        factor = -(-_MIN_SIDE // min(image.size))
        size = (image.width * factor, image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST)
    return image


def encode_pixels(
    image_processor: Any,
    images: Sequence[Image.Image | None],
    objects: Sequence[Sequence[Object]],
    max_objects: int,
    margin: float,
    settings: dict[str, Any],
) -> dict[str, torch.Tensor]:
    """Create the tensors of images and objects, by one call of the image processor.

    Args:
        image_processor: image processor of the vision tower.
        images: B images, P of which are not None.
        objects: at most ``max_objects`` of each image.
        max_objects: second dimension of the object tensors.
        margin: see ``crop_object``.
        settings: further arguments of the image processor.

    Returns:
        dict: ``pixel_values`` float32 (P, 3, H, W), ``object_pixel_values`` float32
        (P, max_objects, 3, H, W), zeros where there is no object, and ``object_mask`` bool
        (P, max_objects). Empty if P is 0.
    """
    queried: list[Image.Image] = []
    crops: list[Image.Image] = []
    positions: list[tuple[int, int]] = []
    for image, items in zip(images, objects, strict=True):
        if image is None:
            continue
        for number, item in enumerate(items):
            positions.append((len(queried), number))
            crops.append(crop_object(image, item.box, margin))
        queried.append(image)
    if not queried:
        return {}
    # The ends of a strip are cropped only where a center crop follows the resizing anyway.
    by_edge = "shortest_edge" in dict(getattr(image_processor, "size", None) or {})
    ratio = 64.0 if by_edge else float("inf")
    batch = [fit_for_resizing(image, ratio) for image in queried + crops]
    encoded = image_processor(images=batch, **{**settings, "return_tensors": "pt"})
    pixels = torch.as_tensor(encoded["pixel_values"])

    object_pixel_values = pixels.new_zeros(len(queried), max_objects, *pixels.shape[1:])
    object_mask = torch.zeros(len(queried), max_objects, dtype=torch.bool)
    if positions:
        index = tuple(torch.tensor(positions).T)
        object_pixel_values[index] = pixels[len(queried) :]
        object_mask[index] = True
    return {
        "pixel_values": pixels[: len(queried)],
        "object_pixel_values": object_pixel_values,
        "object_mask": object_mask,
    }


__all__ = ["Box", "ImageInput", "Object", "load_image"]
