"""Captions of the images, for the text-only systems: given by the questions, or written."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gemkr_hf.utils.io import read_json, write_json


def given_captions(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return image id -> caption of the questions that have a caption."""
    return {record["image_id"]: record["caption"] for record in records if record["caption"]}


def write_captions(
    names: Sequence[str],
    images: Mapping[str, Any],
    load_model: Callable[[], Any],
    file: Path,
) -> dict[str, str]:
    """Return the captions in a file, after adding those that are missing.

    Args:
        names: ids of the images whose captions are needed.
        images: id -> image.
        load_model: returns the caption model; called only if captions are missing.
        file: JSON file of image id -> caption.

    Returns:
        Image id -> caption; a caption may be empty.
    """
    captions = read_json(file) if file.exists() else {}
    missing = [name for name in names if name not in captions]
    if missing:
        model = load_model()
        model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        written = model.write(ImageList(images, missing))
        captions |= dict(zip(missing, written, strict=True))
        write_json(file, captions)
    return captions


def captions_for(records: Sequence[Mapping[str, Any]], captions: Mapping[str, str]) -> list[str]:
    """Return the caption of each question's image.

    Raises:
        ValueError: An image has no caption.
    """
    names = [record["image_id"] for record in records]
    missing = [name for name in dict.fromkeys(names) if name not in captions]
    if missing:
        raise ValueError(
            f"{len(missing):,} images have no caption, the first is '{missing[0]}': give the "
            "questions a field 'caption', set captions to written, or leave out the systems that "
            "read captions"
        )
    return [captions[name] for name in names]


class ImageList(Sequence[Any]):
    """Images in the order of their ids, opened on access."""

    def __init__(self, images: Mapping[str, Any], names: Sequence[str]) -> None:
        self._images, self._names = images, list(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self._images[name] for name in self._names[position]]
        return self._images[self._names[position]]


__all__ = ["ImageList", "captions_for", "given_captions", "write_captions"]
