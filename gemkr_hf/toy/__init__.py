"""The toy world: the symbols benchmark, its stand-in checkpoints, and the quickstart.

Importing this package registers the benchmark format ``symbols`` and the checkpoint source
``small-world``. The core finds both through its registries and never imports this package.
"""

from typing import TYPE_CHECKING, Any

from gemkr_hf.utils.registry import register

if TYPE_CHECKING:
    from pathlib import Path

    from gemkr_hf.data.benchmark import Benchmark
    from gemkr_hf.data.data_config import DataConfig
    from gemkr_hf.paper.evaluation_config import EvaluationPlugin
    from gemkr_hf.training.starting_model import CheckpointSource


def _load_symbols_benchmark(config: "DataConfig", base: "Path") -> "Benchmark":
    from gemkr_hf.toy.symbols.symbols_benchmark import load_symbols_benchmark

    return load_symbols_benchmark(config, base)


register("benchmark format", "symbols", _load_symbols_benchmark)


def _small_world_checkpoint(config: Any, location: str | None) -> "CheckpointSource":
    from gemkr_hf.toy.stand_ins.checkpoint_source import SmallWorldCheckpoint

    return SmallWorldCheckpoint(config, location)


register("checkpoint source", "small-world", _small_world_checkpoint)


def _evaluation_plugin() -> "EvaluationPlugin":
    from gemkr_hf.toy.paper_plugin import evaluation_plugin

    return evaluation_plugin()


register("evaluation plug-in", "symbols", _evaluation_plugin)
