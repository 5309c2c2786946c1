"""Detect the layout of images, and open them."""

from itertools import islice
from pathlib import Path

from gemkr_hf.data.data_config import LAYOUTS
from gemkr_hf.data.images.dataset_images import DatasetImages
from gemkr_hf.data.images.folder_images import CocoImages, FolderImages, image_files, is_coco_name
from gemkr_hf.data.images.image_source import ImageSource
from gemkr_hf.data.images.tsv_images import TsvImages
from gemkr_hf.knowledge_base.document_sources import FILE_SUFFIXES
from gemkr_hf.utils.hub_ids import resolve_source

_SAVED = ("state.json", "dataset_dict.json")


def find_layout(source: str) -> str:
    """Detect the layout of images: "folder", "coco", "tsv" or "dataset".

    Raises:
        FileNotFoundError: If the file or folder does not exist, and the name cannot be the id of a
            dataset on the Hub.
        ValueError: If the file or folder does not contain images.
    """
    path = resolve_source(source, "Images", file_suffixes=FILE_SUFFIXES)
    if isinstance(path, str):
        return "dataset"
    if path.is_file():
        kinds = {".tsv": "tsv", ".parquet": "dataset"}
        if path.suffix.lower() not in kinds:
            raise ValueError(
                f"'{source}' does not contain images: expected a folder, a .tsv or .parquet file, "
                "or a dataset"
            )
        return kinds[path.suffix.lower()]
    if any((path / name).is_file() for name in _SAVED):
        return "dataset"
    # A few images are enough: COCO folders contain nothing else.
    first = list(islice(image_files(path), 3))
    if first:
        return "coco" if all(map(is_coco_name, first)) else "folder"
    if any(path.glob("**/*.parquet")):
        return "dataset"
    if any(path.glob("*.tsv")):
        return "tsv"
    raise ValueError(f"No images found in '{source}'")


def open_images(source: str, layout: str = "auto") -> ImageSource:
    """Open the images of a folder, a COCO layout, a base64 TSV or a dataset.

    Args:
        source: Folder, file, or dataset on the Hub.
        layout: "folder", "coco", "tsv", "dataset", or "auto" to detect the layout.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If the source contains no images of this layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"image_layout must be one of {', '.join(LAYOUTS)}, got '{layout}'")
    if layout == "auto":
        layout = find_layout(source)
    if layout != "tsv":
        kinds = {"folder": FolderImages, "coco": CocoImages, "dataset": DatasetImages.open}
        return kinds[layout](source)
    files = sorted(Path(source).glob("*.tsv")) if Path(source).is_dir() else [Path(source)]
    if len(files) != 1:
        raise ValueError(
            f"'{source}' contains {len(files)} TSV files: give the path of the image file"
        )
    return TsvImages(files[0])


__all__ = ["find_layout", "open_images"]
