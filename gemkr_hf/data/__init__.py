"""Benchmarks and data of one's own: questions about images, their documents, their images."""

from gemkr_hf.data.benchmark import Benchmark, load_benchmark
from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.features import DOCUMENT_FEATURES, QUESTION_FEATURES
from gemkr_hf.data.images import ImageSource, open_images
from gemkr_hf.data.question_files import read_questions

__all__ = [
    "DOCUMENT_FEATURES",
    "QUESTION_FEATURES",
    "Benchmark",
    "DataConfig",
    "ImageSource",
    "load_benchmark",
    "open_images",
    "read_questions",
]
