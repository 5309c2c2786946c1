"""Systems to compare with: BM25 on the question, and one that sees but does not read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gemkr_hf.evaluation.metrics import Metrics
from gemkr_hf.knowledge_base.best_match import BestMatch


class BM25Baseline:
    """BM25 over the documents' texts (bm25s with its defaults and English stop words).

    Args:
        documents: records with ``id`` and ``text``.
    """

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        records = list(documents)
        self.ids = [str(record["id"]) for record in records]
        self._match = BestMatch(record["text"] for record in records)

    def retrieve(self, questions: Sequence[str], k: int = 10) -> list[list[str]]:
        """Ids of the ``k`` best documents (all where there are fewer), best first."""
        return [[self.ids[row] for row in ranked] for ranked in self._match(questions, k)[0]]


def any_object_right_aspect(objects_per_question: Sequence[int]) -> Metrics:
    """A system that names every object of the scene and the right aspect, in any order.

    It sees but does not read which object is meant. Its figures are expectations over all orders:
    with ``n`` objects, the relevant document stands at each of the first ``n`` places alike.
    """
    numbers = np.asarray(objects_per_question, dtype=np.float64)

    def recall(k: int) -> float:
        return float(np.minimum(1.0, k / numbers).mean())

    return Metrics(recall(1), recall(5) / 5, recall(5), recall(10), len(numbers))
