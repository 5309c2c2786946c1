"""Measures of a run, question by question, through ranx.

P@K and R@K are the pseudo-relevance measures of the benchmarks (Luo et al. 2021): hits among the
first K over K, and whether there is one. MRR@K is the reciprocal rank of the first hit, nDCG@K has
binary gains. ``distinct@K`` counts different documents among the first K: what beams do not waste.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from gemkr_hf.evaluation.hits import GOLD, check_preset, mark_hits, reads_texts
from gemkr_hf.evaluation.run_files import Run

Float64 = NDArray[np.float64]

MEASURES = ("P@1", "P@5", "R@5", "R@10", "MRR@10", "nDCG@10", "distinct@10")
"""What is measured where nothing else is asked for."""

_RANX = {"P": "precision", "R": "hit_rate", "MRR": "mrr", "nDCG": "ndcg"}
_NAME = re.compile(r"(P|R|MRR|nDCG|distinct)@([1-9]\d*)")


def check_measures(names: Sequence[str]) -> None:
    """Raise ValueError where a name is no measure."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"A measure is P, R, MRR, nDCG or distinct with its K, such as P@5, not '{name}'"
            )


@dataclass(frozen=True)
class Scores:
    """A run's measures, question by question.

    Attributes:
        name: of the system.
        preset: what a hit is.
        question_ids: of n questions.
        values: measure -> float64 ``(n,)``, each in [0, 1] but ``distinct``; NaN where a preset
            does not define it.
        marks: question id -> whether each retrieved document is a hit, best first.
        missing: questions that the run does not hold; they count as missed.
    """

    name: str
    preset: str
    question_ids: tuple[str, ...]
    values: dict[str, Float64]
    marks: dict[str, list[bool]]
    missing: int = 0

    def mean(self, measure: str) -> float:
        """Over all questions."""
        return float(self.values[measure].mean())

    def means(self) -> dict[str, float]:
        """Of every measure."""
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
        run: what was retrieved. A question for which nothing came back counts as missed.
        questions: records with ``question_id`` and ``relevant_ids`` (``gold``) or ``answers``
            (every other preset); every one of them is scored.
        preset: what a hit is, see ``PRESETS``.
        measures: names such as ``P@5``. nDCG needs to know all relevant documents, which only
            ``gold`` does: elsewhere it is NaN.
        texts: id -> text of every retrieved document, for all presets but ``gold``.

    Raises:
        ValueError: an unknown preset or measure; no question; a run that does not hold a single one
            of the questions; a question without relevant documents or answers; texts, or one of
            them, that are not there.
    """
    check_preset(preset)
    check_measures(measures)
    if texts is None and reads_texts(preset):
        raise ValueError(f"The hit preset '{preset}' reads documents: give their texts")
    records = {str(record["question_id"]): record for record in questions}
    if not records:
        raise ValueError("There is no question to score")
    if records.keys().isdisjoint(run.documents):
        raise ValueError(
            f"The run '{run.name}' holds none of the {len(records):,} questions: "
            f"'{next(iter(records))}' is the first of them"
        )
    check_judged(records, preset)
    found = {name: run.documents.get(name, []) for name in records}
    marks = {
        name: mark_hits(preset, record, found[name], texts or {})
        for name, record in records.items()
    }
    relevant = {
        name: len(set(record["relevant_ids"])) if preset == GOLD else sum(marks[name])
        for name, record in records.items()
    }
    values: dict[str, Float64] = {}
    for measure in measures:
        kind, k = measure.split("@")
        if kind == "distinct":
            values[measure] = np.array([len(set(found[n][: int(k)])) for n in records], float)
        elif kind == "nDCG" and reads_texts(preset):
            values[measure] = np.full(len(records), np.nan)
    through = [name for name in measures if name not in values]
    values |= _by_ranx(marks, relevant, through)
    return Scores(
        run.name,
        preset,
        tuple(records),
        {name: values[name] for name in measures},
        marks,
        len(records.keys() - run.documents.keys()),
    )


def check_judged(records: Mapping[str, Mapping[str, Any]], preset: str) -> None:
    """Raise ValueError where a question says nothing of what a hit is.

    Args:
        records: question id -> its record.
        preset: ``gold`` needs relevant documents, the others answers.
    """
    column, what = ("answers", "answers")
    if preset == GOLD:
        column, what = ("relevant_ids", "relevant documents")
    missing = [
        name
        for name, record in records.items()
        if not any(entry.strip() for entry in record.get(column) or ())
    ]
    if missing:
        raise ValueError(
            f"{len(missing):,} of {len(records):,} questions have no {what}, which the hit preset "
            f"'{preset}' needs; the first is '{missing[0]}'"
        )


def _by_ranx(
    marks: Mapping[str, Sequence[bool]], relevant: Mapping[str, int], measures: Sequence[str]
) -> dict[str, Float64]:
    """ranx on places instead of documents: whether a place holds a hit is all that counts.

    So a document that came back twice stands at two places, which a ranx run cannot say of
    documents. Relevant documents that were not retrieved have names of their own.
    """
    if not measures:
        return {}
    threads = numba.get_num_threads()
    with warnings.catch_warnings():
        # Numba on ranx's own kernels: ids are cast from uint64 to int64.
        warnings.simplefilter("ignore")
        from ranx import Qrels, evaluate
        from ranx import Run as RanxRun

        # ranx wants one entry at least: a relevant document that nobody finds, a place without hit.
        qrels = {
            name: {
                **{str(place): 1 for place, hit in enumerate(of_question) if hit},
                **{f"missed-{row}": 1 for row in range(relevant[name] - sum(of_question))},
            }
            or {"none": 1}
            for name, of_question in marks.items()
        }
        places = {
            name: {str(place): -float(place) for place in range(len(of_question))} or {"-": 0.0}
            for name, of_question in marks.items()
        }
        names = [_RANX[kind] + "@" + k for kind, k in (name.split("@") for name in measures)]
        try:
            evaluated = evaluate(Qrels(qrels), RanxRun(places), names, return_mean=False)
        finally:
            # Of few questions ranx takes one thread, and leaves Numba with it.
            numba.set_num_threads(threads)
    if len(names) == 1:
        evaluated = {names[0]: evaluated}
    # ranx orders questions by their ids.
    order = {name: row for row, name in enumerate(sorted(marks))}
    rows = [order[name] for name in marks]
    return {
        measure: np.asarray(evaluated[name], dtype=np.float64)[rows]
        for measure, name in zip(measures, names, strict=True)
    }


__all__ = ["MEASURES", "Scores", "check_judged", "check_measures", "score"]
