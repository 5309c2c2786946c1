"""What a training knows of itself: for the card, and for whoever reads the checkpoint."""

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

PRESETS = {"gold": "gold", "answer": "vrr"}
"""Names of the hit presets by those of the validation's settings."""
_OF_PARTS = ("language_model", "vision_model", "detector", "preset", "config", "processor")
"""Settings of a model that is made of parts: a checkpoint has its own."""
METRICS = ("P@1", "P@5", "R@5", "R@10")
_STAGES = {
    "validation": "after instruction tuning",
    "validation_after_preferences": "after preference tuning",
}


def keep_facts(
    folder: Path,
    config: TrainConfig,
    figures: Mapping[str, Any],
    tokenizer_fingerprint: str,
    base_models: Mapping[str, Any] | None,
) -> None:
    """Write ``training.json`` and ``curves.png`` beside a model.

    Args:
        folder: of the model.
        config: the settings of the training.
        figures: what came of it, as in ``metrics.json``.
        tokenizer_fingerprint: of the tokenizer that it was tuned with.
        base_models: Hub ids and commits of its towers, where they are known.
    """
    plot_curves(
        figures["history"], folder / "curves.png", figures["best_step"], config.validation.metric
    )
    results = [
        EvaluationResult(
            split="validation",
            stage=stage,
            questions=figures[name]["questions"],
            preset=PRESETS[config.validation.hit],
            metrics={metric: figures[name][metric] for metric in METRICS},
        )
        for name, stage in _STAGES.items()
        if figures.get(name)
    ]
    write_training_record(
        folder,
        {
            "starts_from": checkpoint_source(config.model).describe(base_models or {}),
            "data": {
                "format": config.data.format,
                **{name: figures[name] for name in ("questions", "instructions", "documents")},
            },
            "parameters": {
                "trained": figures["trainable_parameters"],
                "all": figures["parameters"],
            },
            "selection": {
                "step": figures["best_step"],
                "metric": config.validation.metric if results else None,
            },
            "tokenizer_fingerprint": tokenizer_fingerprint,
            "hardware": _hardware(),
            "seconds": figures["seconds"],
            "versions": {
                name: version(name) for name in ("gemkr-hf", "torch", "transformers", "peft")
            },
            "settings": _settings_in_use(config),
            "results": [asdict(result) for result in results],
        },
    )


def _last_part(name: str) -> str:
    """A Hub id, or the last folder of a path: a card does not tell how a machine is laid out."""
    return Path(name).name if Path(name).is_absolute() else name


def _settings_in_use(config: TrainConfig) -> dict[str, Any]:
    """Settings that had a part in the training, without what is laid out on a machine."""
    settings = as_plain(config)
    if config.model.checkpoint is not None:
        for name in _OF_PARTS:
            del settings["model"][name]
    return _without_paths(settings)


def _without_paths(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {
            name: _without_paths(value)
            for name, value in settings.items()
            if value is not None and value != {} and value != []
        }
    if isinstance(settings, list | tuple):
        return [_without_paths(value) for value in settings]
    return _last_part(settings) if isinstance(settings, str) else settings


def _hardware() -> str:
    if torch.cuda.is_available():
        number = torch.cuda.device_count()
        return f"{number} x {torch.cuda.get_device_name()}"
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def plot_curves(
    history: Sequence[Mapping[str, float]], path: Path, best_step: int, metric: str = "R@5"
) -> None:
    """Loss and metrics over the steps, the kept state marked.

    Args:
        history: the Trainer's entries.
        path: of the image.
        best_step: the state that was kept.
        metric: what it was kept by.
    """
    from matplotlib.figure import Figure

    def curve(name: str) -> tuple[list[float], list[float]]:
        entries = [entry for entry in history if name in entry]
        return [entry["step"] for entry in entries], [entry[name] for entry in entries]

    validated = [name for name in METRICS if curve(f"eval_{name}")[0]]
    figure = Figure(figsize=(10 if validated else 5, 3.4), layout="constrained")
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    axes[0].plot(*curve("loss"), color="0.35", label="training")
    if curve("eval_loss")[0]:
        axes[0].plot(*curve("eval_loss"), color="firebrick", marker="o", ms=3, label="held out")
    axes[0].set(xlabel="step", ylabel="loss a token (nats)", ylim=(0, None))
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


__all__ = ["keep_facts", "plot_curves"]
