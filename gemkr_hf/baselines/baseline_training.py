"""Training of a baseline's model with the Hugging Face Trainer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer

from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.progress_callback import show_progress
from gemkr_hf.training.trainer import training_arguments


def train_model(
    model: Any,
    examples: Sequence[Any],
    collate: Callable[[Any], dict[str, Any]],
    config: TuningConfig,
    folder: str | Path,
    description: str,
    **arguments: Any,
) -> None:
    """Train a model in place; no states of the training are saved.

    Args:
        model: returns a dictionary or output with ``loss``.
        examples: training examples.
        collate: makes a batch from a list of examples.
        config: learning rate, batch size, epochs, precision and seed.
        folder: working folder of the Trainer.
        description: label of the progress bar.
        **arguments: further ``TrainingArguments``.
    """
    trainer = Trainer(
        model=model,
        args=training_arguments(folder, config, save_strategy="no", **arguments),
        train_dataset=examples,  # type: ignore[arg-type]
        data_collator=collate,
    )
    show_progress(trainer, description)
    trainer.train()


__all__ = ["train_model"]
