"""Which of the layouts pictures are in."""

from itertools import islice
from pathlib import Path

from gemkr_hf.data.config import LAYOUTS
from gemkr_hf.data.documents import is_file_name
from gemkr_hf.data.pictures.base import Pictures
from gemkr_hf.data.pictures.columns import DatasetPictures
from gemkr_hf.data.pictures.folders import (
    CocoPictures,
    FolderPictures,
    is_coco_name,
    picture_files,
)
from gemkr_hf.data.pictures.tsv import TsvPictures

_SAVED = ("state.json", "dataset_dict.json")


def find_layout(source: str) -> str:
    """The layout of pictures: "folder", "coco", "tsv" or "dataset".

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder, and the name cannot be a data set's on the Hub.
    ValueError
        If it is a file of another kind, or a folder that has two or more TSV files and no picture.
    """
    path = Path(source)
    if not path.exists():
        if is_file_name(source) or path.suffix.lower() == ".tsv" or len(path.parts) < 2:
            raise FileNotFoundError(f"There are no pictures at '{source}'")
        return "dataset"
    if path.is_file():
        kinds = {".tsv": "tsv", ".parquet": "dataset"}
        if path.suffix.lower() not in kinds:
            raise ValueError(
                f"'{source}' holds no pictures: they are in a folder, a .tsv, a .parquet or a data "
                "set"
            )
        return kinds[path.suffix.lower()]
    if any((path / name).is_file() for name in _SAVED):
        return "dataset"
    # The first pictures tell, for COCO has them under nothing but their names.
    first = list(islice(picture_files(path), 3))
    if first:
        return "coco" if all(map(is_coco_name, first)) else "folder"
    if any(path.glob("**/*.parquet")):
        return "dataset"
    if any(path.glob("*.tsv")):
        return "tsv"
    raise ValueError(f"There is no picture in '{source}'")


def open_pictures(source: str, layout: str = "auto") -> Pictures:
    """Pictures of a folder, a COCO layout, a base64 TSV or a data set.

    Parameters
    ----------
    source : folder, file, or data set on the Hub
    layout : "folder", "coco", "tsv", "dataset", or "auto" to find out

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If there is none of this layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"picture_layout is one of {', '.join(LAYOUTS)}, not '{layout}'")
    if layout == "auto":
        layout = find_layout(source)
    if layout == "folder":
        return FolderPictures(source)
    if layout == "coco":
        return CocoPictures(source)
    if layout == "dataset":
        return DatasetPictures.open(source)
    files = [Path(source)]
    if files[0].is_dir():
        files = sorted(files[0].glob("*.tsv"))
        if len(files) != 1:
            raise ValueError(
                f"There are {len(files)} TSV files in '{source}': name the one of the pictures"
            )
    return TsvPictures(files[0])


__all__ = ["find_layout", "open_pictures"]
