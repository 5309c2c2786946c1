"""What several tests share: a tiny tuned model of the small world, made once."""

from pathlib import Path

import pytest

from gemkr_hf.toy.quickstart import QuickstartConfig
from gemkr_hf.toy.symbols import SymbolsConfig
from gemkr_hf.training.arguments import TuningConfig

SHORT = QuickstartConfig(
    symbols=SymbolsConfig(
        train_scenes=300,
        validation_scenes=2,
        test_scenes=24,
        unseen_scenes=6,
        train_questions=4,
    ),
    tuning=TuningConfig(
        learning_rate=1e-3,
        visual_learning_rate=1.5e-3,
        batch_size=32,
        epochs=1.0,
        warmup_steps=20,
        weight_decay=0.01,
        precision="bf16",
        fit_objects=True,
    ),
)
"""The quickstart with a fifth of its instructions."""


@pytest.fixture(scope="session")
def short_quickstart(tmp_path_factory) -> Path:
    """Folder of a short quickstart: the whole way from documents to answers."""
    from gemkr_hf.toy.quickstart import run_quickstart

    folder = tmp_path_factory.mktemp("quickstart")
    run_quickstart(folder, SHORT, say=lambda line: None)
    return folder


@pytest.fixture(scope="session")
def retriever(short_quickstart):
    """The retriever that the short quickstart saved."""
    from gemkr_hf import GeMKRRetriever

    return GeMKRRetriever.from_pretrained(
        short_quickstart / "model", knowledge_base=short_quickstart / "knowledge_base"
    )
