"""The summary of a training run in its model's folder: ``training.json`` and ``curves.png``."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gemkr_hf.hub.training_record import EvaluationResult, write_training_record
from gemkr_hf.training.arguments import TrainConfig
from gemkr_hf.training.starting_model import checkpoint_source
from gemkr_hf.utils.config import as_plain
from gemkr_hf.utils.figures import new_figure
from gemkr_hf.utils.hit_presets import check_preset

METRICS = ("P@1", "P@5", "R@5", "R@10")
_PART_SETTINGS = ("language_model", "vision_model", "detector", "preset", "config", "processor")
"""Model settings that are unused where ``model.checkpoint`` is set."""
_STAGES = {
    "validation": "after instruction tuning",
    "validation_after_preferences": "after preference tuning",
}


def write_summary(
    folder: Path, config: TrainConfig, metrics: Mapping[str, Any], model_config: Any
) -> None:
    """Write ``training.json`` and ``curves.png``.

    Args:
        folder: Folder of the model or adapter.
        config: Settings of the run.
        metrics: The content of ``metrics.json``.
        model_config: ``GeMKRConfig`` of the tuned model.
    """
    metric = config.validation.metric
    plot_curves(metrics["history"], folder / "curves.png", metrics["best_step"], metric)
    results = [
        EvaluationResult(
            split="validation",
            stage=stage,
            questions=metrics[name]["questions"],
            preset=check_preset(config.validation.hit),
            metrics={metric: metrics[name][metric] for metric in METRICS},
        )
        for name, stage in _STAGES.items()
        if metrics.get(name)
    ]
    source = checkpoint_source(config.model)
    settings = as_plain(config)
    if config.model.checkpoint is not None:
        for name in _PART_SETTINGS:
            del settings["model"][name]
    write_training_record(
        folder,
        {
            "starts_from": source.describe(model_config.base_models or {}),
            "data": {
                "format": config.data.format,
                **{name: metrics[name] for name in ("questions", "instructions", "documents")},
            },
            "parameters": {
                "trained": metrics["trainable_parameters"],
                "all": metrics["parameters"],
            },
            "selection": {"step": metrics["best_step"], "metric": metric if results else None},
            "tokenizer_fingerprint": model_config.tokenizer_fingerprint,
            "hardware": _hardware(),
            "seconds": metrics["seconds"],
            "versions": {
                name: version(name) for name in ("gemkr-hf", "torch", "transformers", "peft")
            },
            "settings": _without_paths(settings),
            "results": [asdict(result) for result in results],
        },
    )


def _without_paths(settings: Any) -> Any:
    """Drop empty settings, and reduce absolute paths to their last folder."""
    if isinstance(settings, Mapping):
        return {
            name: _without_paths(value)
            for name, value in settings.items()
            if value is not None and value != {} and value != []
        }
    if isinstance(settings, list | tuple):
        return [_without_paths(value) for value in settings]
    if isinstance(settings, str) and Path(settings).is_absolute():
        return Path(settings).name
    return settings


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def plot_curves(
    history: Sequence[Mapping[str, float]], path: Path, best_step: int, metric: str = "R@5"
) -> None:
    """Draw loss and retrieval metrics by step, with the kept checkpoint marked.

    Args:
        history: The Trainer's ``log_history``.
        path: Image file to write.
        best_step: Step of the kept checkpoint.
        metric: Metric that the kept checkpoint was chosen by.
    """

    def curve(name: str) -> tuple[list[float], list[float]]:
        entries = [entry for entry in history if name in entry]
        return [entry["step"] for entry in entries], [entry[name] for entry in entries]

    validated = [name for name in METRICS if curve(f"eval_{name}")[0]]
    figure = new_figure(10 if validated else 5, 3.4)
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    axes[0].plot(*curve("loss"), color="0.35", label="training")
    if curve("eval_loss")[0]:
        axes[0].plot(*curve("eval_loss"), color="firebrick", marker="o", ms=3, label="validation")
    axes[0].set(xlabel="step", ylabel="loss per token (nats)", ylim=(0, None))
    axes[0].legend(frameon=False)
    if validated:
        for name in validated:
            axes[1].plot(*curve(f"eval_{name}"), marker="o", ms=3, label=name)
        axes[1].axvline(best_step, color="0.7", lw=1, ls=":", label=f"kept, best {metric}")
        axes[1].set(xlabel="step", ylabel="validation split", ylim=(0, 1.02))
        axes[1].legend(frameon=False, fontsize="small")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


__all__ = ["plot_curves", "write_summary"]
