"""The card of a checkpoint or an adapter, from what lies in its folder."""

import json
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

from gemkr_hf.hub.card_templates import fill
from gemkr_hf.hub.checkpoint_saving import ADAPTER_WEIGHTS, read_adapter
from gemkr_hf.hub.training_record import PRESETS, Result, read_facts, results_of
from gemkr_hf.hub.upload_plan import readable_size

ULTRALYTICS_LICENSE = "agpl-3.0"
CODE_LICENSE = "apache-2.0"
_PERMISSIVE = {"apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "isc", "cc0-1.0"}
_UNKNOWN = "not stated"
_TASK = "image-text-to-text"


@dataclass(frozen=True)
class CardSettings:
    """What a checkpoint's card says and its folder does not.

    Attributes:
        license: of the whole, as the Hub names it; by default what follows from its parts.
        knowledge_base: Hub id of a knowledge base, for the example and the results.
        language: codes of the documents' language ("en").
        question: for the example.
        part_licenses: licences of base models by Hub id, where their own cards say none.
    """

    license: str | None = None
    knowledge_base: str | None = None
    language: str | list[str] | None = None
    question: str = "What does the sign in the picture mean?"
    part_licenses: Mapping[str, str] | None = None


def model_card(
    folder: Path,
    name: str,
    settings: CardSettings | None = None,
    adapter_base: str | None = None,
    ask_the_hub: bool = True,
) -> ModelCard:
    """The card of a folder.

    Args:
        folder: of a checkpoint, or of an adapter.
        name: Hub id, or whatever the reader knows it by.
        settings: what the folder does not say.
        adapter_base: Hub id of the base, for an adapter.
        ask_the_hub: whether the base models' own cards are read for their licences.
    """
    settings = settings or CardSettings()
    facts = read_facts(folder)
    results = results_of(facts)
    parts = _parts(folder, facts, settings, adapter_base, ask_the_hub)
    license, license_name = _license(settings, [part["license"] for part in parts])
    bases = [part["name"] for part in parts if part.get("name")]
    data = ModelCardData(
        model_name=name.split("/")[-1],
        license=license,
        license_name=license_name,
        license_link=None if license_name is None else "README.md#parts-and-licences",
        library_name="peft" if adapter_base else "transformers",
        pipeline_tag=_TASK,
        language=settings.language,
        base_model=bases or None,
        datasets=[settings.knowledge_base] if settings.knowledge_base else None,
        tags=[
            "gemkr",
            "knowledge-retrieval",
            "generative-retrieval",
            *(["lora"] if adapter_base else []),
        ],
        eval_results=_evaluation(results, settings, facts) or None,
    )
    if adapter_base:
        data["base_model_relation"] = "adapter"
    described: dict[str, Any] = {
        "name": name,
        "knowledge_base": settings.knowledge_base or "your/knowledge-base",
        "question": settings.question,
        "results": results,
        "presets": PRESETS,
        "parts": parts,
        "agpl": any(part["license"] == ULTRALYTICS_LICENSE for part in parts),
        "training": facts if "settings" in facts else None,
        "settings": yaml.safe_dump(facts.get("settings", {}), sort_keys=False),
        "curves": (folder / "curves.png").is_file(),
        "fingerprint": fingerprint_of(folder, facts),
    }
    if adapter_base:
        config, tensors = read_adapter(folder)
        described |= {
            "base": adapter_base,
            "rank": config["r"],
            "adapter_parameters": sum(tensor.numel() for tensor in tensors.values()),
            "adapter_size": readable_size((folder / ADAPTER_WEIGHTS).stat().st_size),
        }
    return fill("adapter.md" if adapter_base else "model.md", ModelCard, data, **described)


def fingerprint_of(folder: Path, facts: Mapping[str, Any]) -> str | None:
    """The fingerprint of the tokenizer that a checkpoint was tuned with, if it says one."""
    path = folder / "config.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8")).get("tokenizer_fingerprint")
    return facts.get("tokenizer_fingerprint")


def evaluation_results(folder: Path, settings: CardSettings) -> bytes | None:
    """``.eval_results/gemkr.yaml``: the results as the Hub's benchmarks read them; None without
    results, or without a data set on the Hub that they are of."""
    facts = read_facts(folder)
    if not settings.knowledge_base:
        return None
    entries = [
        EvalResultEntry(
            dataset_id=settings.knowledge_base,
            task_id=f"{result.split}-{metric.replace('@', '_at_').lower()}-{result.preset}",
            value=value,
            notes=f"{metric} of {result.questions} questions, {result.stage}; a hit is "
            f"{PRESETS[result.preset]} (preset {result.preset})",
        )
        for result in results_of(facts)
        for metric, value in result.metrics.items()
    ]
    if not entries:
        return None
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode()


def _evaluation(
    results: Sequence[Result], settings: CardSettings, facts: Mapping[str, Any]
) -> list[EvalResult]:
    benchmark = (facts.get("data") or {}).get("format", "own")
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
    facts: Mapping[str, Any],
    settings: CardSettings,
    adapter_base: str | None,
    ask_the_hub: bool,
) -> list[dict[str, Any]]:
    """What a checkpoint is made of: part, source, name on the Hub and licence."""
    rows = []
    if adapter_base:
        rows.append({"part": "base", "name": adapter_base, "source": f"`{adapter_base}`"})
    else:
        unknown = {"part": "weights", "source": "not recorded"}
        rows += [dict(part) for part in facts.get("starts_from", [unknown])]
    for row in rows:
        name = row.get("name")
        row.setdefault("source", f"`{name}`" if name else row.get("folder", _UNKNOWN))
        row["license"] = row.get("license") or _license_of(name, settings, ask_the_hub)
    rows.append({"part": "code", "source": "gemkr_hf", "license": CODE_LICENSE})
    if (folder / "detector.safetensors").is_file() and _detector_type(folder) == "YoloDetector":
        rows.append(
            {
                "part": "detector",
                "source": "an Ultralytics YOLO, `detector.safetensors`",
                "license": ULTRALYTICS_LICENSE,
            }
        )
    return rows


def _detector_type(folder: Path) -> str | None:
    path = folder / "detector.json"
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8")).get("detector_type")


def _license_of(name: str | None, settings: CardSettings, ask_the_hub: bool) -> str:
    """A base model's licence: the one that was given, or what its own card says."""
    if name is None:
        return _UNKNOWN
    given = (settings.part_licenses or {}).get(name)
    if given or not ask_the_hub:
        return given or _UNKNOWN
    try:
        data = ModelCard.load(name).data
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return _UNKNOWN  # the card says so
    return data.get("license_name") or data.get("license") or _UNKNOWN


def _license(settings: CardSettings, parts: Sequence[str]) -> tuple[str, str | None]:
    """The whole's licence as the Hub names it, and a name where it has none of its own."""
    if settings.license:
        return settings.license, None
    different = set(parts)
    if different <= _PERMISSIVE:
        return CODE_LICENSE, None
    if different <= _PERMISSIVE | {ULTRALYTICS_LICENSE}:
        return ULTRALYTICS_LICENSE, None
    return "other", "several-see-the-card"


__all__ = ["CardSettings", "evaluation_results", "fingerprint_of", "model_card"]
