"""What is known of a checkpoint: how it was trained, and how good it is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemkr_hf.utils.io import write_json

FACTS_FILE = "training.json"
FORMAT_VERSION = 1

PRESETS = {
    "gold": "the id of a relevant document",
    "vrr": "an answer is part of the document's lowercased text",
}
"""What counts as a hit, by the names of the presets."""


@dataclass(frozen=True)
class Result:
    """How good a checkpoint is on a split.

    Attributes:
        split: of the benchmark.
        stage: of the training, or of the project, that it is of.
        questions: their number.
        preset: what a hit is, one of ``PRESETS``.
        metrics: by name, as shares of 1.
    """

    split: str
    stage: str
    questions: int
    preset: str
    metrics: Mapping[str, float]


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``training.json`` beside a checkpoint; see `read_facts`."""
    write_json(folder / FACTS_FILE, {"format_version": FORMAT_VERSION, **facts})


def read_facts(folder: Path) -> dict[str, Any]:
    """What a checkpoint's ``training.json`` says; empty where there is none.

    Its keys: ``starts_from`` (parts by name, as `{"part", "name", "revision"}`), ``data``,
    ``parameters``, ``selection``, ``hardware``, ``seconds``, ``versions``, ``settings``,
    ``results`` (of `Result`).

    Raises:
        ValueError: it is broken, or of a version that is not known here.
    """
    path = folder / FACTS_FILE
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version = facts.pop("format_version")
    except (ValueError, AttributeError, KeyError):
        raise ValueError(f"'{path}' is broken: it says nothing of a training") from None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(
            f"'{path}' has format version {version}, and this gemkr_hf reads versions up to "
            f"{FORMAT_VERSION}: upgrade it"
        )
    return facts


def results_of(facts: Mapping[str, Any]) -> list[Result]:
    """The results that facts hold."""
    return [Result(**record) for record in facts.get("results", [])]


def record_results(folder: str | Path, *results: Result) -> None:
    """Keep results beside a checkpoint, for its card; those of the same split, stage and preset
    are replaced.

    Args:
        folder: of the checkpoint or the adapter.
        *results: what was measured.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    kept = {(r.split, r.stage, r.preset): r for r in (*results_of(facts), *results)}
    write_facts(folder, {**facts, "results": [asdict(result) for result in kept.values()]})


__all__ = [
    "FACTS_FILE",
    "PRESETS",
    "Result",
    "read_facts",
    "record_results",
    "results_of",
    "write_facts",
]
