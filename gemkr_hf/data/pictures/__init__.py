"""Pictures by their ids, from a folder, a COCO layout, a base64 TSV or a data set."""

from gemkr_hf.data.pictures.base import NoPictures, Pictures
from gemkr_hf.data.pictures.columns import DatasetPictures
from gemkr_hf.data.pictures.folders import CocoPictures, FolderPictures
from gemkr_hf.data.pictures.opening import find_layout, open_pictures
from gemkr_hf.data.pictures.tsv import TsvPictures

__all__ = [
    "CocoPictures",
    "DatasetPictures",
    "FolderPictures",
    "NoPictures",
    "Pictures",
    "TsvPictures",
    "find_layout",
    "open_pictures",
]
