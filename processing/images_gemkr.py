"""Images from anywhere, upright and in RGB."""

import base64
import binascii
import http.client
import logging
import math
import os
import struct
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

logger = logging.getLogger(__name__)

ImageInput = Any
"""PIL image, path, URL, bytes, open file, array, tensor, or ``{"bytes": ..., "path": ...}``."""

_URL_TIMEOUT = 20  # seconds
_URL_LIMIT = 256 * 2**20  # bytes
_LARGEST, _SMALLEST = 16_000_000, 8  # pixels of an image, of a side
_ROUNDING = 0.01  # share of the range by which resizing may have made floats negative
_DAMAGE = (OSError, SyntaxError, EOFError, ValueError, struct.error, zlib.error, IndexError)


def load_image(source: ImageInput) -> Image.Image:
    """Load one image as an upright RGB :class:`PIL.Image.Image`.

    EXIF orientation is applied, alpha is laid on white, 16-bit and float grey levels are scaled to
    8 bits, and of an animation the first frame is taken. Arrays are ``(H, W)``, ``(H, W, 1|3|4)``
    or ``(1|3|4, H, W)``; floats lie in 0..1 or 0..255.

    Raises:
        FileNotFoundError: if a path has no file.
        ValueError: if it is no image, is damaged or truncated, has no pixels, is a decompression
            bomb (more than twice ``PIL.Image.MAX_IMAGE_PIXELS``), cannot be fetched, or holds
            floats that are negative or no numbers.
    """
    if isinstance(source, dict):  # how `datasets` hands over an image that it did not decode
        source = source.get("bytes") or source.get("path")
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "The image")
    if isinstance(source, torch.Tensor):
        source = source.detach().to("cpu")
        source = (source.float() if source.is_floating_point() else source).numpy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _from_bytes(_fetch(source), source)
    if isinstance(source, str) and source.startswith("data:"):
        return _from_bytes(_decode_data_url(source), "The data URL")
    if isinstance(source, str) and not source:
        raise ValueError("The path of the image is empty.")
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), "The image given as bytes")
    if hasattr(source, "read"):
        return _from_bytes(source.read(), str(getattr(source, "name", "The open file")))
    raise ValueError(
        "An image is a PIL image, a path, a URL, bytes, a NumPy array or a torch tensor, "
        f"not {type(source).__name__}."
    )


def _from_path(path: Path) -> Image.Image:
    try:
        there, folder = path.exists(), path.is_dir()
    except OSError:  # too long for a path: base64, perhaps
        raise ValueError(
            f"{str(path)[:40]!r}... is no path; base64 is given as data:image/png;base64,..."
        ) from None
    if folder:
        raise ValueError(f"{path} is a folder, not an image.")
    if not there:
        raise FileNotFoundError(f"There is no image at {path}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _from_bytes(data, str(path))


def _from_bytes(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ValueError(f"{name} is empty, not an image.")
    try:
        with _quiet_pillow():
            image = Image.open(BytesIO(data))
    except (UnidentifiedImageError, ImportError) as error:  # the latter where a plugin is missing
        raise ValueError(f"{name} is not an image in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is refused as a decompression bomb: {error}") from error
    except _DAMAGE as error:
        raise ValueError(f"{name} is truncated or damaged: {error}.") from error
    return _upright_rgb(image, name)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings: 100 megapixels are welcome, and real damage is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        yield


def _fetch(url: str) -> bytes:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gemkr-hf"})
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT) as answer:
            data = answer.read(_URL_LIMIT + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise ValueError(f"The image {url} could not be fetched: {error}.") from error
    if len(data) > _URL_LIMIT:
        raise ValueError(f"The image {url} is larger than {_URL_LIMIT >> 20} MiB.")
    return data


def _decode_data_url(url: str) -> bytes:
    head, _, body = url.partition(",")
    if not head.endswith(";base64"):
        raise ValueError("An image's data URL starts with data:image/...;base64,")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"The data URL is no valid base64: {error}.") from error


def _from_array(array: np.ndarray) -> Image.Image:
    shape = array.shape
    if array.ndim == 3 and shape[-1] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise ValueError(
            f"An image's array is (H, W), (H, W, 1|3|4) or (1|3|4, H, W), not {shape}."
        )
    if array.size == 0:
        raise ValueError(f"The image has no pixels: its array has the shape {shape}.")
    return _upright_rgb(Image.fromarray(_eight_bits(array, "The image")), "The image")


def _eight_bits(array: np.ndarray, name: str) -> np.ndarray:
    """Scale grey levels to ``uint8``: bool, floats in 0..1, 16-bit and 8-bit integers."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    values = array.astype(np.float64)
    lowest, highest = float(values.min()), float(values.max())
    if np.issubdtype(array.dtype, np.floating):
        if not math.isfinite(highest - lowest):
            raise ValueError(f"{name} holds pixels that are no finite numbers.")
        if lowest < -_ROUNDING * max(highest, 1.0):
            raise ValueError(
                f"{name} holds floats of {lowest:.3g} to {highest:.3g}: they lie in 0..1 or "
                "0..255; (pixels + 1) / 2 makes 0..1 of -1..1."
            )
        # Grey levels of 0..255 kept as floats are common enough to be read as what they are.
        scale = 255.0 if highest <= 1.0 else 1.0 if highest <= 255.0 else 255.0 / highest
    elif array.dtype == np.uint16 or 255 < highest <= 65535:
        scale = 1 / 257
    else:
        scale = 1.0 if highest <= 255 else 255.0 / highest
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if 0 in image.size:
        raise ValueError(f"{name} has no pixels: it is {image.width} x {image.height}.")
    try:
        with _quiet_pillow():
            if getattr(image, "n_frames", 1) > 1 and image.tell() != 0:
                image.seek(0)
            image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is refused as a decompression bomb: {error}") from error
    except _DAMAGE as error:
        raise ValueError(f"{name} is truncated or damaged: {error}.") from error
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
        return Image.fromarray(_eight_bits(levels, name)).convert("RGB")
    try:
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            if image.mode in ("RGBa", "La"):  # premultiplied
                image = image.convert(image.mode.upper())
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{name} has colours of mode {image.mode}, save it as RGB.") from error


def fit_for_resizing(image: Image.Image, ratio: float = 64.0) -> Image.Image:
    """Make an image safe and cheap to resize to a few hundred pixels.

    - The longer side is cut centrally to ``ratio`` times the shorter one: what a centre crop drops
      anyway, while resizing a 1 x 10000 strip to a short side of 224 takes gigabytes.
    - More than 16 megapixels are first reduced by a whole factor, which changes the result by
      less than a grey level.
    - Sides below 8 pixels are enlarged: 1 to 4 pixels are mistaken for colour channels.
    """
    width, height = image.size
    if max(width, height) > min(width, height) * ratio:
        longest = int(min(width, height) * ratio)
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        image = image.crop((left, top, min(width, left + longest), min(height, top + longest)))
    factor = math.ceil(math.sqrt(image.width * image.height / _LARGEST))
    if factor > 1 and min(image.size) // factor >= 1000:
        image = image.reduce(factor)
    if min(image.size) < _SMALLEST:
        factor = -(-_SMALLEST // min(image.size))
        size = (image.width * factor, image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST)
    return image


__all__ = ["ImageInput", "fit_for_resizing", "load_image"]
