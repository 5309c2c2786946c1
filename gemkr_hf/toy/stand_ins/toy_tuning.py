"""The tuning settings of the toy world, for the quickstart and the tables."""

from typing import Any

from gemkr_hf.training.arguments import TuningConfig


def small_world_tuning(**changes: Any) -> TuningConfig:
    """Return the paper's instruction tuning, adapted to a model of 3 M parameters.

    Args:
        **changes: Fields of ``TuningConfig`` that differ.
    """
    settings: dict[str, Any] = {
        "learning_rate": 1e-3,
        "visual_learning_rate": 2e-4,
        "per_device_train_batch_size": 32,
        "num_train_epochs": 1.2,
        "warmup_steps": 40,
        "weight_decay": 0.01,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "precision": "bf16",
        "fit_objects": True,
        "save_steps": 50,
    }
    return TuningConfig(**{**settings, **changes})


__all__ = ["small_world_tuning"]
