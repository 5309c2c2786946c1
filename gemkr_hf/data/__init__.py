"""Benchmarks and data of one's own: questions about pictures, their documents, their pictures."""

from gemkr_hf.data.benchmark import Benchmark, load_benchmark
from gemkr_hf.data.config import DataConfig
from gemkr_hf.data.features import DOCUMENT_FEATURES, QUESTION_FEATURES
from gemkr_hf.data.pictures import Pictures, open_pictures
from gemkr_hf.data.questions import read_questions

__all__ = [
    "DOCUMENT_FEATURES",
    "QUESTION_FEATURES",
    "Benchmark",
    "DataConfig",
    "Pictures",
    "load_benchmark",
    "open_pictures",
    "read_questions",
]
