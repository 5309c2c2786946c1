"""Images in folders: under any names, or under those of COCO."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from gemkr_hf.data.images.image_source import ImageSource
from gemkr_hf.processing import load_image

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"))

_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})")
_COCO_ID = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?0*(\d+)")


def image_files(folder: Path) -> Iterator[str]:
    """Image files at any depth, relative to the folder, with "/"; hidden ones are left out.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'")
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link may lead back to where it is.
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        inside = Path(place).relative_to(folder)
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield (inside / name).as_posix()


def is_coco_name(file: str) -> bool:
    """Whether a file is named as COCO names images.

    >>> is_coco_name("val2014/COCO_val2014_000000297147.jpg"), is_coco_name("holiday 12.jpg")
    (True, False)
    """
    return _COCO_NAME.fullmatch(PurePosixPath(file).stem) is not None


class FolderImages(ImageSource):
    """Images of a folder at any depth, by path within it, file name, or name without ending.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no image.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self.name = Path(folder), str(folder)
        self._files = list(image_files(self._folder))
        if not self._files:
            raise ValueError(f"There is no image in '{folder}'")
        self._names: dict[str, list[str]] = {}
        for file in self._files:
            path = PurePosixPath(file)
            for name in dict.fromkeys((file, path.name, path.stem)):
                self._names.setdefault(name, []).append(file)

    def __getitem__(self, image_id: str) -> Image.Image:
        found = self._find(image_id)
        if not found:
            raise KeyError(self.missing(image_id))
        if len(found) > 1:
            raise ValueError(self.missing(image_id))
        return load_image(self._folder / found[0])

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and len(self._find(image_id)) == 1

    def __iter__(self) -> Iterator[str]:
        """Paths within the folder."""
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def key_of(self, image_id: str) -> str:
        found = self._find(image_id)
        return found[0] if len(found) == 1 else image_id

    def missing(self, image_id: str) -> str:
        found = self._find(image_id)
        if len(found) > 1:
            return (
                f"'{image_id}' could be '{found[0]}' or '{found[1]}' in '{self.name}': name the "
                "image with its folder and ending"
            )
        return super().missing(image_id)

    def _find(self, image_id: str) -> list[str]:
        name = image_id.replace("\\", "/").removeprefix("./")
        return self._names.get(name) or self._names.get(PurePosixPath(name).name) or []


class CocoImages(ImageSource):
    """Images of COCO: of train2014, val2014, test2015, train2017, val2017, or some of them.

    An id is COCO's number ("297147", "000000297147"), or the file's name with or without ending
    ("COCO_val2014_000000297147"). The releases of 2014 and 2017 hold the same images under the
    same numbers, so that either answers for both.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no image that is named as COCO's are.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self.name = Path(folder), str(folder)
        self._files: dict[int, str] = {}
        for file in image_files(self._folder):
            if is_coco_name(file):
                self._files.setdefault(int(PurePosixPath(file).stem[-12:]), file)
        if not self._files:
            raise ValueError(
                f"There is no image in '{folder}' that is named as COCO's are, such as "
                "val2014/COCO_val2014_000000297147.jpg"
            )

    def __getitem__(self, image_id: str) -> Image.Image:
        number = _coco_number(image_id)
        if number not in self._files:
            raise KeyError(self.missing(image_id))
        return load_image(self._folder / self._files[number])

    def __contains__(self, image_id: object) -> bool:
        return _coco_number(image_id) in self._files

    def __iter__(self) -> Iterator[str]:
        """Names without ending."""
        return (PurePosixPath(file).stem for file in self._files.values())

    def __len__(self) -> int:
        return len(self._files)

    def key_of(self, image_id: str) -> str:
        file = self._files.get(_coco_number(image_id))
        return image_id if file is None else PurePosixPath(file).stem


def _coco_number(image_id: object) -> int:
    """COCO's number of an image, -1 where an id has none."""
    name = PurePosixPath(str(image_id).replace("\\", "/")).name
    if Path(name).suffix.lower() in SUFFIXES:
        name = PurePosixPath(name).stem
    found = _COCO_ID.fullmatch(name)
    return int(found.group(1)) if found else -1


__all__ = ["SUFFIXES", "CocoImages", "FolderImages", "image_files", "is_coco_name"]
