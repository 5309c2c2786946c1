"""Card of a checkpoint or an adapter, from the contents of its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

from gemkr_hf.hub.card_templates import render_card
from gemkr_hf.hub.checkpoint_saving import ADAPTER_WEIGHTS, read_adapter
from gemkr_hf.hub.training_record import EvaluationResult, read_training_record, results_of
from gemkr_hf.hub.upload_plan import readable_size
from gemkr_hf.utils.hit_presets import HIT_PRESETS
from gemkr_hf.utils.io import read_json

ULTRALYTICS_LICENSE = "agpl-3.0"
CODE_LICENSE = "apache-2.0"
_PERMISSIVE = {"apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "isc", "cc0-1.0"}
_UNKNOWN = "not stated"
_TASK = "image-text-to-text"


@dataclass(frozen=True)
class CardSettings:
    """What a checkpoint's card says beyond the folder's contents.

    Attributes:
        license: of the checkpoint, as the Hub names it; by default it follows from the parts.
        knowledge_base: Hub id of a knowledge base, for the example and the results.
        language: codes of the documents' language ("en").
        question: for the example.
        part_licenses: licenses of base models by Hub id, for those whose cards state none.
    """

    license: str | None = None
    knowledge_base: str | None = None
    language: str | list[str] | None = None
    question: str = "What does the sign in the picture mean?"
    part_licenses: Mapping[str, str] | None = None


@dataclass(frozen=True)
class _Part:
    """A part of a checkpoint: what it is, its source, its license, and its Hub id if it has one."""

    part: str
    source: str
    license: str
    name: str | None = None


def model_card(
    folder: Path,
    name: str,
    settings: CardSettings | None = None,
    adapter_base: str | None = None,
    ask_the_hub: bool = True,
) -> ModelCard:
    """Render the card of a checkpoint or an adapter.

    Args:
        folder: folder of the checkpoint or adapter.
        name: its Hub id, or another name.
        settings: what the card says beyond the folder's contents.
        adapter_base: Hub id of an adapter's base.
        ask_the_hub: read the licenses of base models from their cards.
    """
    settings = settings or CardSettings()
    record = read_training_record(folder)
    config = folder / "config.json"
    tuned = read_json(config) if config.is_file() else record
    results = results_of(record)
    parts = _parts(folder, record, settings, adapter_base, ask_the_hub)
    license, license_name = _license(settings, {part.license for part in parts})
    data = ModelCardData(
        model_name=name.split("/")[-1],
        license=license,
        license_name=license_name,
        license_link=None if license_name is None else "README.md#parts-and-licenses",
        library_name="peft" if adapter_base else "transformers",
        pipeline_tag=_TASK,
        language=settings.language,
        base_model=[part.name for part in parts if part.name] or None,
        datasets=[settings.knowledge_base] if settings.knowledge_base else None,
        tags=["gemkr", "knowledge-retrieval", "generative-retrieval"]
        + (["lora"] if adapter_base else []),
        eval_results=_model_index(results, settings, record) or None,
    )
    values: dict[str, Any] = {
        "name": name,
        "knowledge_base": settings.knowledge_base or "your/knowledge-base",
        "question": settings.question,
        "results": results,
        "presets": HIT_PRESETS,
        "parts": parts,
        "agpl": any(part.license == ULTRALYTICS_LICENSE for part in parts),
        "training": record if "settings" in record else None,
        "settings": yaml.safe_dump(record.get("settings", {}), sort_keys=False),
        "curves": (folder / "curves.png").is_file(),
        "fingerprint": tuned.get("tokenizer_fingerprint"),
    }
    if adapter_base is None:
        return render_card("model.md", ModelCard, data, **values)
    data["base_model_relation"] = "adapter"
    lora, tensors = read_adapter(folder)
    values |= {
        "base": adapter_base,
        "rank": lora["r"],
        "adapter_parameters": sum(tensor.numel() for tensor in tensors.values()),
        "adapter_size": readable_size((folder / ADAPTER_WEIGHTS).stat().st_size),
    }
    return render_card("adapter.md", ModelCard, data, **values)


def evaluation_results(folder: Path, settings: CardSettings) -> bytes | None:
    """Return ``.eval_results/gemkr.yaml``: the results in the form of the Hub's benchmarks.

    None if there are no results, or no knowledge base on the Hub that they belong to.
    """
    results = results_of(read_training_record(folder))
    if not settings.knowledge_base or not results:
        return None
    entries = [
        EvalResultEntry(
            dataset_id=settings.knowledge_base,
            task_id=f"{result.split}-{metric.replace('@', '_at_').lower()}-{result.preset}",
            value=value,
            notes=f"{metric} of {result.questions} questions, {result.stage}; hit preset "
            f"{result.preset}: {HIT_PRESETS[result.preset]}",
        )
        for result in results
        for metric, value in result.metrics.items()
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode()


def _model_index(
    results: Sequence[EvaluationResult], settings: CardSettings, record: Mapping[str, Any]
) -> list[EvalResult]:
    benchmark = (record.get("data") or {}).get("format", "custom")
    return [
        EvalResult(
            task_type=_TASK,
            task_name="Knowledge retrieval",
            dataset_type=settings.knowledge_base or benchmark,
            dataset_name=f"{benchmark}, {result.split}",
            dataset_split=result.split,
            metric_type=metric.replace("P@", "precision_at_").replace("R@", "recall_at_").lower(),
            metric_name=f"{metric} (hit preset {result.preset}, {result.stage})",
            metric_value=round(value, 4),
        )
        for result in results
        for metric, value in result.metrics.items()
    ]


def _parts(
    folder: Path,
    record: Mapping[str, Any],
    settings: CardSettings,
    adapter_base: str | None,
    ask_the_hub: bool,
) -> list[_Part]:
    recorded = record.get("starts_from", [{"part": "weights", "source": "not recorded"}])
    if adapter_base:
        recorded = [{"part": "base", "name": adapter_base}]
    parts = []
    for row in recorded:
        name = row.get("name")
        source = row.get("source") or (f"`{name}`" if name else row.get("folder", _UNKNOWN))
        license = row.get("license") or _license_of(name, settings, ask_the_hub)
        parts.append(_Part(row["part"], source, license, name))
    parts.append(_Part("code", "gemkr_hf", CODE_LICENSE))
    detector = folder / "detector.json"
    is_yolo = detector.is_file() and read_json(detector).get("detector_type") == "YoloDetector"
    if is_yolo and (folder / "detector.safetensors").is_file():
        source = "an Ultralytics YOLO, `detector.safetensors`"
        parts.append(_Part("detector", source, ULTRALYTICS_LICENSE))
    return parts


def _license_of(name: str | None, settings: CardSettings, ask_the_hub: bool) -> str:
    """Return a base model's license: the given one, or that on its own card."""
    if name is None:
        return _UNKNOWN
    given = (settings.part_licenses or {}).get(name)
    if given or not ask_the_hub:
        return given or _UNKNOWN
    try:
        data = ModelCard.load(name).data
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return _UNKNOWN
    return data.get("license_name") or data.get("license") or _UNKNOWN


def _license(settings: CardSettings, parts: set[str]) -> tuple[str, str | None]:
    """Return the checkpoint's license as the Hub names it, and a name for one it does not know."""
    if settings.license:
        return settings.license, None
    if parts <= _PERMISSIVE:
        return CODE_LICENSE, None
    if parts <= _PERMISSIVE | {ULTRALYTICS_LICENSE}:
        return ULTRALYTICS_LICENSE, None
    return "other", "several-see-the-card"


__all__ = ["CardSettings", "evaluation_results", "model_card"]
