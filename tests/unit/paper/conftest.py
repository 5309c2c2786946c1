"""The small benchmark of these tests."""

import pytest

from gemkr_hf.data import Benchmark
from gemkr_hf.toy.symbols import SymbolsConfig, load_symbols
from gemkr_hf.toy.symbols.symbols_benchmark import symbols_benchmark
from tests.unit.paper.evaluation_settings import QUESTIONS


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory) -> Benchmark:
    """The symbols with a few questions."""
    sizes = SymbolsConfig(
        train_scenes=16,
        validation_scenes=1,
        test_scenes=QUESTIONS,
        unseen_scenes=1,
        train_questions=2,
    )
    return symbols_benchmark(load_symbols(sizes, cache_dir=tmp_path_factory.mktemp("symbols")))
