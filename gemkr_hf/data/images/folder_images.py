"""Images in folders, with any file names or with those of COCO."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from gemkr_hf.data.images.image_source import ImageSource
from gemkr_hf.processing import load_image

_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"))

_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})")
_COCO_ID = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?0*(\d+)")


def image_files(folder: Path) -> Iterator[str]:
    """List image files at any depth as POSIX paths relative to the folder, except hidden ones."""
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder not found: '{folder}'")
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        real = os.path.realpath(parent)
        if real in seen:  # a symbolic link to a folder that contains it
            folders.clear()
            continue
        seen.add(real)
        relative = Path(parent).relative_to(folder)
        for name in sorted(files):
            if Path(name).suffix.lower() in _SUFFIXES and not name.startswith("."):
                yield (relative / name).as_posix()


def is_coco_name(file: str) -> bool:
    """Return whether a file has a name as in COCO.

    >>> is_coco_name("val2014/COCO_val2014_000000297147.jpg"), is_coco_name("holiday 12.jpg")
    (True, False)
    """
    return _COCO_NAME.fullmatch(PurePosixPath(file).stem) is not None


class FolderImages(ImageSource):
    """Images of a folder at any depth, by relative path, file name, or name without suffix.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it contains no images.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self.name = Path(folder), str(folder)
        self._files = list(image_files(self._folder))
        if not self._files:
            raise ValueError(f"No images found in '{folder}'")
        self._names: dict[str, list[str]] = {}
        for file in self._files:
            path = PurePosixPath(file)
            for name in dict.fromkeys((file, path.name, path.stem)):
                self._names.setdefault(name, []).append(file)

    def __getitem__(self, image_id: str) -> Image.Image:
        found = self._find(image_id)
        if len(found) != 1:
            raise (ValueError if found else KeyError)(self.missing(image_id))
        return load_image(self._folder / found[0])

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and len(self._find(image_id)) == 1

    def __iter__(self) -> Iterator[str]:
        """Iterate over the relative paths."""
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
                f"Image '{image_id}' is ambiguous in '{self.name}': it may be '{found[0]}' or "
                f"'{found[1]}'; use the path with folder and suffix"
            )
        return super().missing(image_id)

    def _find(self, image_id: str) -> list[str]:
        name = image_id.replace("\\", "/").removeprefix("./")
        return self._names.get(name) or self._names.get(PurePosixPath(name).name) or []


class CocoImages(FolderImages):
    """Images of COCO: any of train2014, val2014, test2015, train2017, val2017.

    An id is COCO's number ("297147", "000000297147"), or the file name with or without suffix
    ("COCO_val2014_000000297147"). The releases of 2014 and 2017 contain the same images with the
    same numbers, so either release serves the ids of both.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it contains no image with a COCO name.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self.name = Path(folder), str(folder)
        self._file_of: dict[int, str] = {}
        for file in image_files(self._folder):
            if is_coco_name(file):
                self._file_of.setdefault(int(PurePosixPath(file).stem[-12:]), file)
        self._files = list(self._file_of.values())
        if not self._files:
            raise ValueError(
                f"No images with COCO names, such as val2014/COCO_val2014_000000297147.jpg, found "
                f"in '{folder}'"
            )

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names without suffix."""
        return (PurePosixPath(file).stem for file in self._files)

    def key_of(self, image_id: str) -> str:
        found = self._find(image_id)
        return PurePosixPath(found[0]).stem if found else image_id

    def _find(self, image_id: str) -> list[str]:
        path = PurePosixPath(image_id.replace("\\", "/"))
        match = _COCO_ID.fullmatch(path.stem if path.suffix.lower() in _SUFFIXES else path.name)
        file = self._file_of.get(int(match[1])) if match else None
        return [] if file is None else [file]


__all__ = ["CocoImages", "FolderImages", "image_files", "is_coco_name"]
