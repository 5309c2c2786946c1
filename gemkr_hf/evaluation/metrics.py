"""Retrieval metrics at K, as the paper and its benchmarks define them.

P@K and R@K are the pseudo-relevance metrics of the benchmarks (Luo et al. 2021): the number of hits
among the first K divided by K, and whether there is a hit among the first K. MRR@K is the
reciprocal rank of the first hit; nDCG@K has binary gains. ``distinct@K`` counts the different
documents among the first K.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemkr_hf.evaluation.hits import GOLD, mark_hits

_NAME = re.compile(r"(P|R|MRR|nDCG|distinct)@([1-9]\d*)")


def parse_measure(name: str) -> tuple[str, int]:
    """Split the name of a measure into its kind and its K.

    >>> parse_measure("nDCG@10")
    ('nDCG', 10)

    Raises:
        ValueError: If the name is unknown.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"A measure is P, R, MRR, nDCG or distinct with its K, such as P@5, got '{name}'"
        )
    return match[1], int(match[2])


def measure_marks(measure: str, marks: Sequence[bool], num_relevant: int = 0) -> float:
    """Compute a measure of one question.

    Args:
        measure: ``P@K``, ``R@K``, ``MRR@K`` or ``nDCG@K``.
        marks: Whether each retrieved document is a hit, best first.
        num_relevant: Number of relevant documents, for nDCG.

    >>> marks = [False, True, True]
    >>> [measure_marks(measure, marks) for measure in ("P@5", "R@1", "R@5", "MRR@5")]
    [0.4, 0.0, 1.0, 0.5]
    """
    kind, k = parse_measure(measure)
    first = marks[:k]
    if kind == "P":
        return sum(first) / k
    if kind == "R":
        return float(any(first))
    if kind == "MRR":
        return 1 / (first.index(True) + 1) if True in first else 0.0
    discounted = 1 / np.log2(np.arange(2, k + 2))
    gain = np.cumsum(discounted[: len(first)] * np.asarray(first, dtype=float))
    ideal = np.cumsum(discounted[: max(1, num_relevant)])
    return float(gain[-1] / ideal[-1]) if first else 0.0


@dataclass(frozen=True)
class Metrics:
    """Metrics over a set of questions, in [0, 1]."""

    precision_at_1: float
    precision_at_5: float
    recall_at_5: float
    recall_at_10: float
    questions: int

    def as_dict(self) -> dict[str, float]:
        """Return the metrics by their printed names, such as ``P@1``."""
        return {
            "P@1": self.precision_at_1,
            "P@5": self.precision_at_5,
            "R@5": self.recall_at_5,
            "R@10": self.recall_at_10,
        }


def score_run(run: Mapping[str, Sequence[str]], relevant: Mapping[str, Sequence[str]]) -> Metrics:
    """Score ranked document ids against the relevant ones.

    Args:
        run: Question id -> document ids, best first.
        relevant: Question id -> ids of its relevant documents; all of these questions are scored.

    Raises:
        ValueError: If there is no question, or the run lacks one of them.
    """
    if not relevant:
        raise ValueError("There are no questions to score")
    missing = [question for question in relevant if question not in run]
    if missing:
        raise ValueError(f"The run lacks {len(missing)} questions, the first is '{missing[0]}'")
    marks = [
        mark_hits(GOLD, {"relevant_ids": ids}, run[question], {})
        for question, ids in relevant.items()
    ]

    def mean(measure: str) -> float:
        return float(np.mean([measure_marks(measure, of_question) for of_question in marks]))

    return Metrics(mean("P@1"), mean("P@5"), mean("R@5"), mean("R@10"), len(marks))


__all__ = ["Metrics", "measure_marks", "parse_measure", "score_run"]
