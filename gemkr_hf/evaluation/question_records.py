"""What a system did with each question, kept in a file so that systems can be compared by it."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemkr_hf.evaluation.run_files import Run
from gemkr_hf.evaluation.run_metrics import Scores
from gemkr_hf.utils.io import atomic_write_text


@dataclass(frozen=True)
class Record:
    """One question, what was retrieved, and how good that is.

    Attributes:
        question_id, image_id, question: as the benchmark has them.
        relevant_ids, answers: what it asks for.
        system, preset: whose record it is, and what a hit is.
        retrieved: ``id``, ``score``, ``hit`` and, where something was written, ``clue``; best
            first. Under the preset ``gemkr`` a document that came back twice stands here once.
        measures: name -> value; those that the preset does not define are left out.
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
    """One record a question, in the order of the scores.

    Args:
        run: what was retrieved.
        scores: of that run.
        questions: the records that were scored.
    """
    asked = {str(question["question_id"]): question for question in questions}
    records = []
    for row, name in enumerate(scores.question_ids):
        question = asked[name]
        found = run.documents.get(name, [])
        places = list(range(len(found)))
        if scores.preset == "gemkr":  # its marks are of different documents
            places = sorted({found.index(document) for document in found})
        clues = run.clues.get(name)
        retrieved = [
            {
                "id": found[place],
                "score": run.scores[name][place],
                "hit": hit,
                **({"clue": clues[place]} if clues else {}),
            }
            for place, hit in zip(places, scores.marks[name], strict=True)
        ]
        values = {m: float(v[row]) for m, v in scores.values.items() if not math.isnan(v[row])}
        records.append(
            Record(
                name,
                str(question["image_id"]),
                question["question"],
                list(question.get("relevant_ids") or ()),
                list(question.get("answers") or ()),
                scores.name,
                scores.preset,
                retrieved,
                values,
            )
        )
    return records


def write_records(records: Iterable[Record], path: str | Path) -> None:
    """JSON lines, one record each."""
    text = "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)
    atomic_write_text(path, text)


def read_records(path: str | Path) -> list[Record]:
    """The records of a file, or of the folder that holds ``records.jsonl``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no record, has another hit preset than those before it or a question
            of theirs, with its number; or there is no record.
    """
    path = Path(path)
    path = path / "records.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"There are no records at '{path}'")
    records: list[Record] = []
    asked: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError):
                raise ValueError(f"Line {number} of '{path}' is no record of a question") from None
            if record.question_id in asked:
                raise ValueError(
                    f"Line {number} of '{path}' has question '{record.question_id}' a second time"
                )
            if records and record.preset != records[0].preset:
                raise ValueError(
                    f"Line {number} of '{path}' was scored with the hit preset '{record.preset}', "
                    f"those before it with '{records[0].preset}'"
                )
            asked.add(record.question_id)
            records.append(record)
    if not records:
        raise ValueError(f"'{path}' holds no records")
    return records


def values_of(records: Iterable[Record], measure: str) -> dict[str, float]:
    """Question id -> value.

    Raises:
        ValueError: the measure was not taken.
    """
    values = {}
    for record in records:
        if measure not in record.measures:
            raise ValueError(
                f"The records of '{record.system}' (hit preset {record.preset}) have no {measure}: "
                f"there are {', '.join(record.measures)}"
            )
        values[record.question_id] = record.measures[measure]
    return values


def mean_of(records: list[Record], measure: str) -> float:
    """The measure's mean."""
    return float(np.mean(list(values_of(records, measure).values())))


__all__ = ["Record", "make_records", "mean_of", "read_records", "values_of", "write_records"]
