"""Shared fixtures: a tiny tuned model of the toy world, trained once."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from gemkr_hf.toy.quickstart import QuickstartConfig
from gemkr_hf.toy.symbols import SymbolsConfig
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.utils.registry import enable_plugin

enable_plugin("gemkr_hf.toy")

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
        per_device_train_batch_size=32,
        num_train_epochs=1.0,
        warmup_steps=20,
        weight_decay=0.01,
        precision="bf16",
        fit_objects=True,
    ),
)
"""The quickstart with a fifth of its instructions."""


@pytest.fixture(scope="session")
def short_quickstart(tmp_path_factory) -> Path:
    """Folder of a short quickstart: the whole way from documents to answers.

    Trained once, also for several workers: the first that needs it trains, the others wait.
    ``GEMKR_TEST_QUICKSTART`` names one that exists already.
    """
    if named := os.environ.get("GEMKR_TEST_QUICKSTART"):
        return Path(named)
    from gemkr_hf.toy.quickstart import run_quickstart

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "quickstart"
    with FileLock(f"{folder}.lock"):
        # A finished stage is found again, so that all but the first worker return at once.
        if not (folder / "metrics.json").exists():
            run_quickstart(folder, SHORT, log=lambda line: None)
    return folder


@pytest.fixture(scope="session")
def retriever(short_quickstart):
    """The retriever that the short quickstart saved."""
    from gemkr_hf import GeMKRRetriever

    return GeMKRRetriever.from_pretrained(
        short_quickstart / "model", knowledge_base=short_quickstart / "knowledge_base"
    )
