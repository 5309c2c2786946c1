"""Base64 images in one tab-separated file, the format of ReMuQ and WebQA."""

import base64
import binascii
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gemkr_hf.data.images.image_source import ImageSource
from gemkr_hf.processing import load_image
from gemkr_hf.utils.logging import progress, progress_bar

_BLOCK = 2**24  # bytes
_LONGEST_ID = 256  # bytes
# ReMuQ's ids are 30,000,000 plus the row: the id modulo this number is the row.
_ID_MODULUS = 10_000_000


class TsvImages(ImageSource):
    """Images of a file of lines ``id<TAB>base64``.

    The byte offsets of the lines are read from the ``.lineidx`` file next to it; without one, the
    file is scanned once and the offsets are kept in memory.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is empty, or its index does not match.
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self.name = Path(path), str(path)
        if not self._path.is_file():
            raise FileNotFoundError(f"File not found: '{path}'")
        if self._path.stat().st_size == 0:
            raise ValueError(f"No images found in '{path}'")
        self._index = self._path.with_suffix(".lineidx")
        if self._index.is_file():
            self._offsets = _read_offsets(self._index)
            if not self._matches_index():
                raise ValueError(
                    f"The index '{self._index}' does not match '{path}': delete it, and the file "
                    "will be scanned instead"
                )
        else:
            self._offsets = _find_offsets(self._path)

    def __getitem__(self, image_id: str) -> Image.Image:
        row = self._row(image_id)
        if row is None:
            raise KeyError(self.missing(image_id))
        with self._path.open("rb") as file:
            file.seek(int(self._offsets[row]))
            data = file.readline().rstrip(b"\r\n").partition(b"\t")[2]
        place = f"Image '{image_id}' in line {row + 1} of '{self.name}'"
        try:
            content = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{place} is not valid base64: {error}") from None
        try:
            return load_image(content)
        except ValueError as error:
            raise ValueError(f"{place} is damaged: {error}") from None

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self._row(image_id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._offsets)

    def _row(self, image_id: str) -> int | None:
        if image_id.isdecimal() and int(image_id) % _ID_MODULUS < len(self._offsets):
            # A guess that avoids reading the id of every line of a file of many gigabytes.
            row = int(image_id) % _ID_MODULUS
            with self._path.open("rb") as file:
                if self._read_id(file, row) == image_id:
                    return row
        return self._rows.get(image_id)

    def _read_id(self, file: BinaryIO, row: int) -> str:
        file.seek(int(self._offsets[row]))
        identifier, tab, _ = file.read(_LONGEST_ID).partition(b"\t")
        if not tab or b"\n" in identifier:
            raise ValueError(f"Line {row + 1} of '{self.name}' is not 'id<TAB>base64'")
        return identifier.decode("utf-8", "replace").strip()

    @cached_property
    def _rows(self) -> dict[str, int]:
        with self._path.open("rb", buffering=_LONGEST_ID) as file:
            rows = progress(range(len(self._offsets)), "Image ids", unit="image")
            return {self._read_id(file, row): row for row in rows}

    def _matches_index(self) -> bool:
        limits = np.append(self._offsets, self._path.stat().st_size)
        if limits[0] != 0 or (np.diff(limits) <= 0).any():
            return False
        with self._path.open("rb") as file:
            for offset in self._offsets[1 :: max(1, len(self._offsets) // 16)].tolist():
                file.seek(offset - 1)
                if file.read(1) != b"\n":
                    return False
            # The file must end after the last line of the index.
            file.seek(int(self._offsets[-1]))
            file.readline()
            return not file.read(2).strip()


def _read_offsets(path: Path) -> NDArray[np.int64]:
    words = path.read_bytes().split()
    try:
        return np.array(words, dtype=np.int64) if words else np.zeros(0, np.int64)
    except (ValueError, OverflowError):
        line = next(n for n, word in enumerate(words, start=1) if not word.isdigit())
        raise ValueError(
            f"Line {line} of '{path}' is not a byte offset: delete the index, and the images will "
            "be scanned instead"
        ) from None


def _find_offsets(path: Path) -> NDArray[np.int64]:
    size, position, starts = path.stat().st_size, 0, [np.zeros(1, np.int64)]
    with path.open("rb") as file, progress_bar(size, "Lines of images", "B") as bar:
        while block := file.read(_BLOCK):
            breaks = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
            starts.append(breaks + position + 1)
            position += len(block)
            bar.update(len(block))
    offsets = np.concatenate(starts)
    return offsets[offsets < size]


__all__ = ["TsvImages"]
