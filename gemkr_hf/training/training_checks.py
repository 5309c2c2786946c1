"""Checks of a training run before any model is loaded."""

import importlib.util
from pathlib import Path

import datasets
import torch

from gemkr_hf.data import Benchmark, load_benchmark
from gemkr_hf.data.images import NoImages
from gemkr_hf.training.arguments import TrainConfig
from gemkr_hf.training.starting_model import check_model
from gemkr_hf.training.trainer import weights_are_sharded
from gemkr_hf.utils.extras import EXTRAS, require_extra


def check_training(
    config: TrainConfig, base: Path, benchmark: Benchmark | None = None
) -> Benchmark:
    """Check settings, files and packages, without loading a model.

    Args:
        config: The settings.
        base: Folder that relative paths of the data start from.
        benchmark: Used instead of the one that ``config.data`` names.

    Returns:
        The benchmark, with its question files read.

    Raises:
        ValueError, FileNotFoundError, MissingExtraError: One sentence that names the setting,
            file or package.
    """
    for package in config.tuning.report_to:
        if package in EXTRAS["reports"]:
            require_extra("reports", f"tuning.report_to: {package} needs", package)
        elif importlib.util.find_spec(package) is None:
            raise ValueError(
                f"tuning.report_to: {package} needs its package: pip install {package}"
            )
    if config.preferences is not None:
        require_extra("preferences", "preferences need Python 3.11 and")
    if weights_are_sharded():
        for setting, used, fix in (
            ("validation.questions", config.validation.questions != 0, "set it to 0"),
            ("preferences", config.preferences is not None, "leave them out"),
            ("tuning.lora_r: 0", config.tuning.lora_r == 0, "set it to 1 or more"),
        ):
            if used:
                raise ValueError(
                    f"{setting} needs all weights on one GPU, and FSDP or ZeRO-3 shards them: {fix}"
                )
    if config.tuning.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("tuning.precision: fp16 needs a GPU; bf16 and fp32 run on a CPU too")
    check_model(config.model)
    if Path(config.output).is_file():
        raise ValueError(f"output: '{config.output}' is a file")
    if benchmark is None:
        benchmark = load_benchmark(config.data, base)
    if not len(benchmark.documents) and benchmark.knowledge_base is None:
        raise ValueError("There are no documents: give data.documents or data.knowledge_base")
    if "train" not in benchmark.questions:
        raise ValueError("There are no training questions: give data.train")
    train = benchmark.questions["train"]
    if not any(map(len, train["relevant_ids"])) and not any(map(len, train["clues"])):
        raise ValueError("No training question has a relevant document: nothing can be learnt")
    names = dict.fromkeys(train["image_id"])
    if has_images(benchmark) and not any(name in benchmark.images for name in names):
        raise ValueError(
            f"None of the {len(names):,} images that the training questions name was found, for "
            f"example '{next(iter(names))}': see data.images and data.image_layout"
        )
    return benchmark


def has_images(benchmark: Benchmark) -> bool:
    """Return whether the benchmark has images."""
    return not isinstance(benchmark.images, NoImages)


def with_images(questions: datasets.Dataset, benchmark: Benchmark) -> datasets.Dataset:
    """Select the questions whose image exists; all of them if the benchmark has no images."""
    if not has_images(benchmark):
        return questions
    rows = [row for row, name in enumerate(questions["image_id"]) if name in benchmark.images]
    return questions.select(rows)


__all__ = ["check_training", "has_images", "with_images"]
