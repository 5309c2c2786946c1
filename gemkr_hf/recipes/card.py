"""The card of a training: what was tuned, how, and how it went."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData

from gemkr_hf.settings import as_plain
from gemkr_hf.training.config import ModelConfig, TrainConfig

HITS = {
    "gold": "a relevant document's id",
    "answer": "a document whose lowercased text holds an answer",
}
METRICS = ("P@1", "P@5", "R@5", "R@10")


def write_card(folder: Path, config: TrainConfig, figures: Mapping[str, Any]) -> None:
    """Write ``README.md`` and ``curves.png``.

    Args:
        folder: of the model.
        config: the settings of the training.
        figures: what came of it, as in ``metrics.json``.
    """
    plot_curves(
        figures["history"], folder / "curves.png", figures["best_step"], config.validation.metric
    )
    rows = [
        (title, {metric: figures[name][metric] for metric in METRICS})
        for name, title in (
            ("validation", "after instruction tuning"),
            ("validation_after_preferences", "after preference tuning"),
        )
        if figures.get(name)
    ]
    facts: dict[str, Any] = {
        "name": Path(config.output).name,
        "rows": rows,
        "questions": (figures.get("validation") or {}).get("questions"),
        "hit": HITS[config.validation.hit],
        "metric": config.validation.metric,
        "figures": figures,
        "config": config,
        "starts_from": _starts_from(config.model),
        "hardware": _hardware(),
        "versions": ", ".join(
            f"{name} {version(name)}" for name in ("gemkr-hf", "torch", "transformers", "peft")
        ),
        "settings": yaml.safe_dump(_without_paths(as_plain(config)), sort_keys=False),
    }
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["gemkr", "generative-retrieval", "knowledge-retrieval"],
    )
    with as_file(files("gemkr_hf") / "hub_cards" / "training.md") as path:
        card = ModelCard.from_template(data, template_path=str(path), **facts)
    card.save(folder / "README.md")


def _starts_from(model: ModelConfig) -> str:
    if model.checkpoint is not None:
        return f"`{_last_part(model.checkpoint)}`"
    parts = [model.vision_model, model.language_model, model.detector]
    bits = f", the language model in {model.bits} bits" if model.bits else ""
    return ", ".join(f"`{_last_part(part)}`" for part in parts if part) + bits


def _last_part(name: str) -> str:
    """A Hub id, or the last folder of a path: a card does not tell how a machine is laid out."""
    return Path(name).name if Path(name).is_absolute() else name


def _without_paths(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {name: _without_paths(value) for name, value in settings.items()}
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
        path: of the picture.
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


__all__ = ["plot_curves", "write_card"]
