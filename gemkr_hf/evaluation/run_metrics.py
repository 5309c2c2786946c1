"""Score a run: its measures for each question."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.evaluation.hits import GOLD, check_preset, mark_hits, reads_texts
from gemkr_hf.evaluation.metrics import measure_marks, parse_measure
from gemkr_hf.retrieval.types import Run

Float64 = NDArray[np.float64]

MEASURES = ("P@1", "P@5", "R@5", "R@10", "MRR@10", "nDCG@10", "distinct@10")
"""The default measures."""


def check_measures(names: Sequence[str]) -> None:
    """Raise ValueError if a name is not a measure."""
    for name in names:
        parse_measure(name)


@dataclass(frozen=True)
class Scores:
    """The measures of a run, for each question.

    Attributes:
        name: Name of the system.
        preset: Name of the hit preset.
        question_ids: Ids of n questions.
        values: Measure -> float64 ``(n,)``, in [0, 1] except ``distinct``; NaN if the preset does
            not define the measure.
        marks: Question id -> whether each retrieved document is a hit, best first.
        missing: Number of questions that the run lacks; they count as failed.
    """

    name: str
    preset: str
    question_ids: tuple[str, ...]
    values: dict[str, Float64]
    marks: dict[str, list[bool]]
    missing: int = 0

    def mean(self, measure: str) -> float:
        """Return the mean of a measure over all questions."""
        return float(self.values[measure].mean())

    def means(self) -> dict[str, float]:
        """Return the mean of every measure."""
        return {name: self.mean(name) for name in self.values}


def score(
    run: Run,
    questions: Iterable[Mapping[str, Any]],
    preset: str = GOLD,
    measures: Sequence[str] = MEASURES,
    texts: Mapping[str, str] | None = None,
) -> Scores:
    """Score a run.

    Args:
        run: The run. A question without retrieved documents counts as failed.
        questions: Records with ``question_id`` and ``relevant_ids`` (``gold``) or ``answers``
            (other presets); all of them are scored.
        preset: Name of the hit preset, see ``HIT_PRESETS``.
        measures: Names such as ``P@5``. nDCG needs all relevant documents, which only ``gold``
            knows; under other presets it is NaN.
        texts: Id -> text of every retrieved document, for all presets except ``gold``.

    Raises:
        ValueError: If a preset or measure is unknown, there are no questions, the run contains none
            of them, a question lacks relevant documents or answers, or a text is missing.
    """
    preset = check_preset(preset)
    check_measures(measures)
    if texts is None and reads_texts(preset):
        raise ValueError(f"The hit preset '{preset}' needs the documents' texts")
    records = {str(record["question_id"]): record for record in questions}
    if not records:
        raise ValueError("There are no questions to score")
    if records.keys().isdisjoint(run.documents):
        raise ValueError(
            f"The run '{run.name}' contains none of the {len(records):,} questions, such as "
            f"'{next(iter(records))}'"
        )
    check_judged(records, preset)
    marks = {
        name: mark_hits(preset, record, run.documents.get(name, []), texts or {})
        for name, record in records.items()
    }

    def value(measure: str, name: str) -> float:
        kind, k = parse_measure(measure)
        if kind == "distinct":
            return len(set(run.documents.get(name, [])[:k]))
        if kind == "nDCG" and preset != GOLD:
            return np.nan
        relevant = set(records[name].get("relevant_ids") or ())
        return measure_marks(measure, marks[name], len(relevant))

    values = {
        measure: np.array([value(measure, name) for name in records], dtype=np.float64)
        for measure in measures
    }
    missing = len(records.keys() - run.documents.keys())
    return Scores(run.name, preset, tuple(records), values, marks, missing)


def check_judged(records: Mapping[str, Mapping[str, Any]], preset: str) -> None:
    """Check that hits can be determined for all questions.

    Args:
        records: Question id -> record.
        preset: ``gold`` needs relevant documents, the other presets need answers.

    Raises:
        ValueError: If a question lacks them.
    """
    column = "relevant_ids" if preset == GOLD else "answers"
    missing = [
        name
        for name, record in records.items()
        if not any(entry.strip() for entry in record.get(column) or ())
    ]
    if missing:
        raise ValueError(
            f"{len(missing):,} of {len(records):,} questions have no "
            f"{'relevant documents' if preset == GOLD else 'answers'}, which the hit preset "
            f"'{preset}' needs; the first is '{missing[0]}'"
        )


__all__ = ["MEASURES", "Scores", "check_judged", "check_measures", "score"]
