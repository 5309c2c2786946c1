"""Training record of a checkpoint (``training.json``): how it was trained, and its results."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemkr_hf.utils.io import read_json, write_json

TRAINING_RECORD_FILE = "training.json"
"""File of the training record in a checkpoint."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of a checkpoint on one split.

    Attributes:
        split: split of the benchmark.
        stage: stage of the training after which it was evaluated.
        questions: number of questions.
        preset: hit preset, a name in `gemkr_hf.utils.hit_presets`.
        metrics: values in 0 to 1 by name ("P@1").
    """

    split: str
    stage: str
    questions: int
    preset: str
    metrics: Mapping[str, float]


def write_training_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``training.json`` beside a checkpoint; see `read_training_record`."""
    write_json(folder / TRAINING_RECORD_FILE, {"format_version": FORMAT_VERSION, **record})


def read_training_record(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's ``training.json``.

    Returns:
        ``starts_from`` (parts, as ``{"part", "name", "revision"}``), ``data``, ``parameters``,
        ``selection``, ``hardware``, ``seconds``, ``versions``, ``settings``, ``results`` (see
        `results_of`). Empty if the file does not exist.

    Raises:
        ValueError: the file is invalid, or of a later format version.
    """
    path = folder / TRAINING_RECORD_FILE
    if not path.is_file():
        return {}
    record = read_json(path)
    version = record.pop("format_version", None) if isinstance(record, dict) else None
    if not isinstance(version, int):
        raise ValueError(f"'{path}' is not a training record: it has no format_version")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"'{path}' has format version {version}, and this gemkr_hf reads versions up to "
            f"{FORMAT_VERSION}: upgrade it"
        )
    return record


def results_of(record: Mapping[str, Any]) -> list[EvaluationResult]:
    """Return the results in a training record."""
    return [EvaluationResult(**result) for result in record.get("results", [])]


def record_results(folder: str | Path, *results: EvaluationResult) -> None:
    """Add results to the training record of a checkpoint, for its card.

    Earlier results of the same split, stage and preset are replaced.

    Args:
        folder: folder of the checkpoint or adapter.
        *results: to add.
    """
    folder = Path(folder)
    record = read_training_record(folder)
    latest = {(r.split, r.stage, r.preset): r for r in (*results_of(record), *results)}
    write_training_record(folder, {**record, "results": [asdict(r) for r in latest.values()]})


__all__ = [
    "TRAINING_RECORD_FILE",
    "EvaluationResult",
    "read_training_record",
    "record_results",
    "results_of",
    "write_training_record",
]
