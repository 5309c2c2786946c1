"""Records: one for each question of a scored run, in a file by which systems can be compared."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemkr_hf.evaluation.run_metrics import Scores
from gemkr_hf.retrieval.types import Run
from gemkr_hf.utils.io import atomic_write_text


@dataclass(frozen=True)
class Record:
    """A question, the retrieved documents, and the measures.

    Attributes:
        question_id, image_id, question: As in the benchmark.
        relevant_ids, answers: Relevant documents and answers of the question.
        system, preset: Name of the system and of the hit preset.
        retrieved: ``id``, ``score``, ``hit`` and, if clues were generated, ``clue`` of each
            document, best first. Under the preset ``gemkr`` duplicates are removed.
        measures: Name -> value; measures that the preset does not define are left out.
    """

    question_id: str
    image_id: str
    question: str
    relevant_ids: list[str]
    answers: list[str]
    system: str
    preset: str
    retrieved: list[dict[str, Any]]
    measures: dict[str, float]


def make_records(run: Run, scores: Scores, questions: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Create one record for each question of a scored run, in the order of the scores."""
    question_of = {str(question["question_id"]): question for question in questions}
    records = []
    for row, name in enumerate(scores.question_ids):
        question = question_of[name]
        documents = run.documents.get(name, [])
        ranks = list(range(len(documents)))
        if scores.preset == "gemkr":  # its marks are those of distinct documents
            ranks = sorted({documents.index(document) for document in documents})
        clues = run.clues.get(name)
        retrieved = [
            {
                "id": documents[rank],
                "score": run.scores[name][rank],
                "hit": hit,
                **({"clue": clues[rank]} if clues else {}),
            }
            for rank, hit in zip(ranks, scores.marks[name], strict=True)
        ]
        records.append(
            Record(
                question_id=name,
                image_id=str(question["image_id"]),
                question=question["question"],
                relevant_ids=list(question.get("relevant_ids") or ()),
                answers=list(question.get("answers") or ()),
                system=scores.name,
                preset=scores.preset,
                retrieved=retrieved,
                measures={
                    measure: float(values[row])
                    for measure, values in scores.values.items()
                    if not math.isnan(values[row])
                },
            )
        )
    return records


def write_records(records: Iterable[Record], path: str | Path) -> None:
    """Write records as JSON lines."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records]
    atomic_write_text(path, "".join(lines))


def read_records(path: str | Path) -> list[Record]:
    """Read the records of a file, or of a folder that contains ``records.jsonl``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not a record, has another hit preset than the lines before it or
            repeats a question, with its number; or if there are no records.
    """
    path = Path(path)
    path = path / "records.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"Records not found: '{path}'")
    records: dict[str, Record] = {}
    preset = None
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"Line {number} of '{path}'"
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError):
                raise ValueError(f"{place} is not a record of a question") from None
            if record.question_id in records:
                raise ValueError(f"{place} repeats question '{record.question_id}'")
            preset = preset or record.preset
            if record.preset != preset:
                raise ValueError(
                    f"{place} has the hit preset '{record.preset}', the lines before it '{preset}'"
                )
            records[record.question_id] = record
    if not records:
        raise ValueError(f"'{path}' contains no records")
    return list(records.values())


def values_of(records: Iterable[Record], measure: str) -> dict[str, float]:
    """Return question id -> value of a measure.

    Raises:
        ValueError: If the records do not have the measure.
    """
    values = {}
    for record in records:
        if measure not in record.measures:
            raise ValueError(
                f"The records of '{record.system}' (hit preset {record.preset}) do not have "
                f"{measure}: their measures are {', '.join(record.measures)}"
            )
        values[record.question_id] = record.measures[measure]
    return values


def mean_of(records: list[Record], measure: str) -> float:
    """Return the mean of a measure."""
    return float(np.mean(list(values_of(records, measure).values())))


__all__ = ["Record", "make_records", "mean_of", "read_records", "values_of", "write_records"]
