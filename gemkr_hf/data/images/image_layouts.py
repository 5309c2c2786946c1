"""Which of the layouts images are in."""

from itertools import islice
from pathlib import Path

from gemkr_hf.data.data_config import LAYOUTS
from gemkr_hf.data.images.dataset_images import DatasetImages
from gemkr_hf.data.images.folder_images import (
    CocoImages,
    FolderImages,
    image_files,
    is_coco_name,
)
from gemkr_hf.data.images.image_source import ImageSource
from gemkr_hf.data.images.tsv_images import TsvImages
from gemkr_hf.knowledge_base.document_sources import FILE_SUFFIXES
from gemkr_hf.utils.hub_ids import resolve_source

_SAVED = ("state.json", "dataset_dict.json")


def find_layout(source: str) -> str:
    """The layout of images: "folder", "coco", "tsv" or "dataset".

    Raises:
        FileNotFoundError: if there is no such file or folder, and the name cannot be a data set's
            on the Hub.
        ValueError: if it is a file of another kind, or a folder that has two or more TSV files and
            no image.
    """
    path = resolve_source(source, "Images", file_suffixes=FILE_SUFFIXES)
    if isinstance(path, str):
        return "dataset"
    if path.is_file():
        kinds = {".tsv": "tsv", ".parquet": "dataset"}
        if path.suffix.lower() not in kinds:
            raise ValueError(
                f"'{source}' holds no images: they are in a folder, a .tsv, a .parquet or a data "
                "set"
            )
        return kinds[path.suffix.lower()]
    if any((path / name).is_file() for name in _SAVED):
        return "dataset"
    # The first images tell, for COCO has them under nothing but their names.
    first = list(islice(image_files(path), 3))
    if first:
        return "coco" if all(map(is_coco_name, first)) else "folder"
    if any(path.glob("**/*.parquet")):
        return "dataset"
    if any(path.glob("*.tsv")):
        return "tsv"
    raise ValueError(f"There is no image in '{source}'")


def open_images(source: str, layout: str = "auto") -> ImageSource:
    """Images of a folder, a COCO layout, a base64 TSV or a data set.

    Args:
        source: folder, file, or data set on the Hub.
        layout: "folder", "coco", "tsv", "dataset", or "auto" to find out.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if there is none of this layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"image_layout is one of {', '.join(LAYOUTS)}, not '{layout}'")
    if layout == "auto":
        layout = find_layout(source)
    if layout == "folder":
        return FolderImages(source)
    if layout == "coco":
        return CocoImages(source)
    if layout == "dataset":
        return DatasetImages.open(source)
    files = [Path(source)]
    if files[0].is_dir():
        files = sorted(files[0].glob("*.tsv"))
        if len(files) != 1:
            raise ValueError(
                f"There are {len(files)} TSV files in '{source}': name the one of the images"
            )
    return TsvImages(files[0])


__all__ = ["find_layout", "open_images"]
