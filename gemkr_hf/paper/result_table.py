"""A table of results: reported by the paper, and measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gemkr_hf.evaluation.run_metrics import Scores
from gemkr_hf.evaluation.significance import Interval, bootstrap_interval, holm, p_value

SIGNIFICANCE_MEASURES = ("P@1", "P@5", "R@5")
"""Measures in which rows are tested against the reference row."""

NOT_MEASURED = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class ResultRow:
    """The results of one system.

    Attributes:
        label: label of the system.
        paper: benchmark -> measure -> the paper's share in [0, 1].
        ours: measure -> mean over questions and seeds, with its interval over questions.
        over_seeds: measure -> the mean of each seed; empty for a row of the paper alone.
        p: measure -> p-value of the difference from the reference row, adjusted for the number of
            rows (Holm 1979); empty for the reference.
        training_seconds: mean wall time before the first question.
        question_seconds: mean wall time per question.
    """

    label: str
    paper: Mapping[str, Mapping[str, float]]
    ours: Mapping[str, Interval]
    over_seeds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    p: Mapping[str, float] = field(default_factory=dict)
    training_seconds: float = 0.0
    question_seconds: float = 0.0

    @classmethod
    def from_scores(
        cls,
        label: str,
        paper: Mapping[str, Mapping[str, float]],
        scores: Sequence[Scores],
        measures: Sequence[str],
        training_seconds: float,
        question_seconds: float,
    ) -> "ResultRow":
        """Summarize the scores of a system's runs, one for each seed."""
        return cls(
            label,
            paper,
            {measure: bootstrap_interval(values_of(scores, measure)) for measure in measures},
            {measure: tuple(each.mean(measure) for each in scores) for measure in measures},
            {},
            training_seconds,
            question_seconds,
        )


@dataclass(frozen=True)
class ResultTable:
    """A table of several systems.

    Attributes:
        name, title: those of the paper's table.
        benchmark, split, questions, hit: what our results were measured on, and the hit preset.
        seeds: seeds of the systems that are trained.
        measures: measures of our results.
        reference: label of the row that the others are tested against.
        rows: in the paper's order.
        notes: sentences below the table.
        paper_benchmark: the paper's benchmark whose figures are drawn.
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

    @property
    def subtitle(self) -> str:
        """What was measured, in one line."""
        return (
            f"{self.benchmark}, split `{self.split}`, {self.questions:,} questions, hit preset "
            f"`{self.hit}`, seeds {', '.join(map(str, self.seeds))}"
        )


def values_of(scores: Sequence[Scores], measure: str) -> np.ndarray:
    """Return a measure's values, float64 ``(seeds, questions)``."""
    return np.array([each.values[measure] for each in scores])


def with_p_values(
    rows: Sequence[ResultRow], scores: Sequence[Sequence[Scores]], reference: str
) -> tuple[ResultRow, ...]:
    """Test each row against the reference row by the randomisation test over questions.

    Args:
        rows: the rows.
        scores: of each row, one for each seed; a question's value is its mean over the seeds.
        reference: label of the reference row; without such a row nothing is tested.
    """
    by_label = {row.label: each for row, each in zip(rows, scores, strict=True)}
    if reference not in by_label:
        return tuple(rows)
    p_values: dict[str, dict[str, float]] = {}
    for measure in SIGNIFICANCE_MEASURES:
        if measure in rows[0].ours:
            ours = values_of(by_label[reference], measure)
            p_values[measure] = holm(
                {
                    label: p_value(ours, values_of(each, measure))
                    for label, each in by_label.items()
                    if label != reference
                }
            )
    return tuple(
        replace(
            row, p={m: values[row.label] for m, values in p_values.items() if row.label in values}
        )
        for row in rows
    )


__all__ = ["NOT_MEASURED", "ResultRow", "ResultTable", "values_of", "with_p_values"]
