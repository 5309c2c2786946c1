"""What can be known to be wrong with a training before a model is loaded."""

import importlib.util
from pathlib import Path

import datasets
import torch

from gemkr_hf.data import Benchmark, load_benchmark
from gemkr_hf.data.images import NoImages
from gemkr_hf.training.arguments import TrainConfig
from gemkr_hf.training.starting_model import check_model
from gemkr_hf.training.trainer import weights_are_divided

REPORTERS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def check(config: TrainConfig, base: Path, given: Benchmark | None = None) -> Benchmark:
    """All that can be known to be wrong before a model is loaded.

    Args:
        config: the settings.
        base: where relative paths of the data begin.
        given: the benchmark, where it is there already.

    Returns:
        The benchmark, its question files read.

    Raises:
        ValueError, FileNotFoundError: one sentence that names the setting, file or package.
    """
    for name in config.tuning.report_to:
        package = REPORTERS.get(name, name)
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"tuning.report_to: {name} needs its package: pip install {package}")
    if config.preferences is not None and importlib.util.find_spec("trl") is None:
        raise ValueError("preferences need TRL: pip install 'gemkr-hf[preferences]'")
    if weights_are_divided():
        _check_divided(config)
    if config.tuning.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("tuning.precision: fp16 needs a GPU; bf16 and fp32 run on a CPU too")
    check_model(config.model)
    if Path(config.output).is_file():
        raise ValueError(f"output: '{config.output}' is a file")
    benchmark = load_benchmark(config.data, base) if given is None else given
    if not len(benchmark.documents) and benchmark.knowledge_base is None:
        raise ValueError("There are no documents: give data.documents or data.knowledge_base")
    if "train" not in benchmark.questions:
        raise ValueError("data.train is missing: there is nothing to learn from")
    if not any(map(len, benchmark.questions["train"]["relevant_ids"])) and not any(
        map(len, benchmark.questions["train"]["clues"])
    ):
        raise ValueError("No training question has a relevant document: nothing can be learnt")
    names = dict.fromkeys(benchmark.questions["train"]["image_id"])
    if has_images(benchmark) and not any(name in benchmark.images for name in names):
        raise ValueError(
            f"None of the {len(names):,} images that the training questions name is there, "
            f"'{next(iter(names))}' is the first: see data.images and data.image_layout"
        )
    return benchmark


def _check_divided(config: TrainConfig) -> None:
    """What needs all weights on one GPU, with FSDP or ZeRO-3."""
    for setting, wanted, mend in (
        ("validation.questions", config.validation.questions != 0, "set it to 0"),
        ("preferences", config.preferences is not None, "leave them out"),
        ("tuning.lora_r: 0", config.tuning.lora_r == 0, "set it to 1 or more"),
    ):
        if wanted:
            raise ValueError(
                f"{setting} needs all weights on one GPU, and FSDP or ZeRO-3 divides them: {mend}"
            )


def has_images(benchmark: Benchmark) -> bool:
    """Whether the configuration names any."""
    return not isinstance(benchmark.images, NoImages)


def with_images(questions: datasets.Dataset, benchmark: Benchmark) -> datasets.Dataset:
    """The questions whose image is there; all of them where the benchmark has no images."""
    if not has_images(benchmark):
        return questions
    there = [row for row, name in enumerate(questions["image_id"]) if name in benchmark.images]
    return questions.select(there)


__all__ = ["check", "has_images", "with_images"]
