"""A table as it is printed and drawn: the paper's figures and ours side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gemkr_hf.evaluation.run_metrics import Scores
from gemkr_hf.evaluation.significance import Interval, bootstrap_interval, holm, p_value

SIGNIFICANT = ("P@1", "P@5", "R@5")
"""Measures in which rows are tested against the reference."""


@dataclass(frozen=True)
class ResultRow:
    """One system.

    Attributes:
        label: what it is called.
        paper: benchmark -> measure -> the paper's share in [0, 1].
        ours: measure -> mean over questions and seeds, with its interval.
        over_seeds: measure -> the mean of each seed.
        p: measure -> p-value of the difference from the reference row, adjusted for the number of
            rows (Holm 1979); empty for the reference.
        training_seconds: before the first answer, a mean over seeds.
        question_seconds: of an answer.
    """

    label: str
    paper: Mapping[str, Mapping[str, float]]
    ours: Mapping[str, Interval]
    over_seeds: Mapping[str, tuple[float, ...]]
    p: Mapping[str, float] = field(default_factory=dict)
    training_seconds: float = 0.0
    question_seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """A table of several systems.

    Attributes:
        name, title: of the paper's table.
        benchmark, split, questions, hit: what ours was measured on, and what a hit is.
        seeds: of the systems that are trained.
        measures: ours.
        reference: label of the row that the others are tested against.
        rows: in the paper's order.
        notes: sentences below the table.
        paper_benchmark: that of the paper whose figures are drawn.
    """

    name: str
    title: str
    benchmark: str
    split: str
    questions: int
    hit: str
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    reference: str
    rows: tuple[ResultRow, ...]
    notes: tuple[str, ...] = ()
    paper_benchmark: str = "OKVQA-GS112K"


@dataclass(frozen=True)
class Measured:
    """What a row is made of: its runs' measures, and how long they took."""

    label: str
    paper: Mapping[str, Mapping[str, float]]
    scores: Sequence[Scores]
    training_seconds: float
    question_seconds: float

    def values(self, measure: str) -> np.ndarray:
        """float64 ``(seeds, questions)``."""
        return np.array([scores.values[measure] for scores in self.scores])


def make_rows(
    measured: Sequence[Measured], measures: Sequence[str], reference: str
) -> tuple[ResultRow, ...]:
    """Means, intervals, and tests against the reference row.

    A question's value is its mean over the row's seeds; the interval is over questions.

    Args:
        measured: the rows.
        measures: that were taken of all of them.
        reference: label of the row that the others are tested against; none where there is no such
            row.
    """
    compared = next((row for row in measured if row.label == reference), None)
    p_values: dict[str, dict[str, float]] = {}
    if compared is not None:
        for measure in measures:
            if measure in SIGNIFICANT:
                ours = compared.values(measure)
                p_values[measure] = holm(
                    {
                        row.label: p_value(ours, row.values(measure))
                        for row in measured
                        if row is not compared
                    }
                )
    return tuple(
        ResultRow(
            row.label,
            row.paper,
            {measure: bootstrap_interval(row.values(measure)) for measure in measures},
            {measure: tuple(scores.mean(measure) for scores in row.scores) for measure in measures},
            {
                measure: of_rows[row.label]
                for measure, of_rows in p_values.items()
                if row.label in of_rows
            },
            row.training_seconds,
            row.question_seconds,
        )
        for row in measured
    )


__all__ = ["SIGNIFICANT", "Measured", "Result", "ResultRow", "make_rows"]
