"""Precision and recall at K, as the paper and its benchmarks define them, for the training's loop.

Four figures by the ids of documents, without ranx, whose kernels take seconds to compile. They
equal those of `gemkr_hf.evaluation.run_metrics.score` under the hit preset ``gold``, which measures
more, and lets a run lack questions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """Shares in [0, 1] over a set of questions; a hit is a relevant document's id (``gold``)."""

    precision_at_1: float
    precision_at_5: float
    recall_at_5: float
    recall_at_10: float
    questions: int

    def as_dict(self) -> dict[str, float]:
        """Short names as they are printed: ``P@1`` and so on."""
        return {
            "P@1": self.precision_at_1,
            "P@5": self.precision_at_5,
            "R@5": self.recall_at_5,
            "R@10": self.recall_at_10,
        }


def precision_at(k: int, retrieved: Sequence[str], relevant: Sequence[str]) -> float:
    """Relevant documents among the first ``k`` over ``k``, also where fewer came back.

    One that came back twice counts once.

    >>> precision_at(5, ["a", "b", "b"], ["b"])
    0.2
    """
    return len(set(relevant).intersection(retrieved[:k])) / k


def recall_at(k: int, retrieved: Sequence[str], relevant: Sequence[str]) -> float:
    """1.0 if a relevant document is among the first ``k`` (pseudo-relevance recall), else 0.0.

    >>> recall_at(1, ["a", "b"], ["b"])
    0.0
    """
    return float(not set(relevant).isdisjoint(retrieved[:k]))


def score_run(run: Mapping[str, Sequence[str]], relevant: Mapping[str, Sequence[str]]) -> Metrics:
    """Score ranked document ids against the relevant ones.

    Args:
        run: question id -> document ids, best first.
        relevant: question id -> ids of its relevant documents; every one of them is scored.

    Raises:
        ValueError: no question, or a question of ``relevant`` that the run does not hold.
    """
    if not relevant:
        raise ValueError("There is no question to score")
    missing = [question for question in relevant if question not in run]
    if missing:
        raise ValueError(f"The run lacks {len(missing)} questions, the first is '{missing[0]}'")
    pairs = [(run[question], ids) for question, ids in relevant.items()]
    return Metrics(
        precision_at_1=float(np.mean([precision_at(1, *pair) for pair in pairs])),
        precision_at_5=float(np.mean([precision_at(5, *pair) for pair in pairs])),
        recall_at_5=float(np.mean([recall_at(5, *pair) for pair in pairs])),
        recall_at_10=float(np.mean([recall_at(10, *pair) for pair in pairs])),
        questions=len(pairs),
    )
