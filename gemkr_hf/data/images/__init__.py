"""Images by their ids, from a folder, a COCO layout, a base64 TSV or a dataset."""

from gemkr_hf.data.images.dataset_images import DatasetImages
from gemkr_hf.data.images.folder_images import CocoImages, FolderImages
from gemkr_hf.data.images.image_layouts import find_layout, open_images
from gemkr_hf.data.images.image_source import ImageSource, NoImages
from gemkr_hf.data.images.tsv_images import TsvImages
from gemkr_hf.utils.deprecation import renamed_attributes

__getattr__ = renamed_attributes(
    __name__,
    {
        "CocoPictures": "CocoImages",
        "DatasetPictures": "DatasetImages",
        "FolderPictures": "FolderImages",
        "NoPictures": "NoImages",
        "Pictures": "ImageSource",
        "TsvPictures": "TsvImages",
        "open_pictures": "open_images",
    },
)

__all__ = [
    "CocoImages",
    "DatasetImages",
    "FolderImages",
    "ImageSource",
    "NoImages",
    "TsvImages",
    "find_layout",
    "open_images",
]
