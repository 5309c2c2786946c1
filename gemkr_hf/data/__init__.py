"""Benchmarks and custom data: questions about images, documents, and images."""

from gemkr_hf.utils.extras import require_extra

require_extra("train", "Reading benchmarks needs", "pydantic")

from gemkr_hf.data.benchmark import Benchmark, load_benchmark, read_questions
from gemkr_hf.data.data_config import BENCHMARK_FORMATS, DataConfig
from gemkr_hf.data.features import DOCUMENT_FEATURES, QUESTION_FEATURES
from gemkr_hf.data.images import ImageSource, open_images
from gemkr_hf.utils.deprecation import renamed_attributes

__getattr__ = renamed_attributes(
    __name__, {"Pictures": "ImageSource", "open_pictures": "open_images"}
)

__all__ = [
    "BENCHMARK_FORMATS",
    "DOCUMENT_FEATURES",
    "QUESTION_FEATURES",
    "Benchmark",
    "DataConfig",
    "ImageSource",
    "load_benchmark",
    "open_images",
    "read_questions",
]
