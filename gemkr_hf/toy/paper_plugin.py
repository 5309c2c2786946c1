"""What the evaluation of the paper's tables needs to know about the symbols benchmark."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gemkr_hf.paper.evaluation_config import EvaluationPlugin, LanguageModelSize
from gemkr_hf.toy.stand_ins.build import SmallWorldTraining, build_small_world
from gemkr_hf.toy.stand_ins.checkpoint_source import SmallWorldCheckpoint
from gemkr_hf.toy.stand_ins.language_model_stand_in import LanguageModelTraining
from gemkr_hf.toy.stand_ins.toy_tuning import small_world_tuning
from gemkr_hf.training.arguments import ModelConfig
from gemkr_hf.training.starting_model import checkpoint_source
from gemkr_hf.utils.config import parse

STEPS = 600
"""Training steps of each language model of Figure 3."""


def evaluation_plugin() -> EvaluationPlugin:
    """Return the plug-in for the benchmark format ``symbols``."""
    return EvaluationPlugin(small_world_tuning, default_language_models, train_language_model)


def default_language_models() -> tuple[LanguageModelSize, ...]:
    """Return the rows of Figure 3: stand-ins of three sizes, trained for the same steps."""
    return tuple(
        LanguageModelSize(
            f"Llama, {width} wide",
            training=LanguageModelTraining(
                hidden_size=width, intermediate_size=2 * width, heads=width // 32, steps=STEPS
            ),
        )
        for width in (64, 128, 256)
    )


def train_language_model(
    model: ModelConfig, training: Any, target: Path, work: Path
) -> ModelConfig:
    """Train a stand-in language model, and link the other stand-ins beside it.

    Args:
        model: model of the evaluation; its checkpoint must be ``small-world``.
        training: a ``LanguageModelTraining``, or a mapping of its settings.
        target: folder of the stand-ins.
        work: working folder of the training.

    Returns:
        The model settings with the new stand-ins.
    """
    source = checkpoint_source(model)
    if not isinstance(source, SmallWorldCheckpoint):
        raise ValueError(
            "language_models.training needs model.checkpoint: small-world; give language_model, a "
            "folder or Hub id, instead"
        )
    if not isinstance(training, LanguageModelTraining):
        training = parse(LanguageModelTraining, training)
    target.mkdir(parents=True, exist_ok=True)
    for part in ("tokenizer", "detector", "clip"):
        link = target / part
        if not link.exists():
            link.symlink_to((source.folder / part).resolve(), target_is_directory=True)
    settings = SmallWorldTraining(language_model=training)
    build_small_world(work, target, settings, stages=("language_model",))
    return replace(model, checkpoint=f"small-world:{target}")


__all__ = ["evaluation_plugin"]
