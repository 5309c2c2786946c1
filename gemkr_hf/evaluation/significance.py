"""How sure a figure, or a difference of two, is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

RESAMPLES = 10_000
TESTS = ("fisher", "student")

# Divides all numbers up to 16, and 100: shares of so many documents are whole numbers of it.
_GRID = 3_603_600


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes:
        mean, low, high: shares.
        level: of confidence.
    """

    mean: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(
    values: Float64, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The percentile bootstrap interval of a mean over questions.

    Args:
        values: ``(questions,)``, or ``(seeds, questions)`` of systems that were trained with
            several seeds: questions are drawn, each with its values of all seeds.
        level: of confidence.
        resamples: draws.
        seed: of the draws.

    Raises:
        ValueError: there are no values.
    """
    from scipy.stats import bootstrap

    of_questions = _of_questions(values)
    mean = float(of_questions.mean())
    if np.isnan(mean) or len(of_questions) < 2 or np.ptp(of_questions) == 0:
        return Interval(mean, mean, mean, level)
    found = bootstrap(
        (of_questions,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=max(1, 2**22 // len(of_questions)),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), level)


def p_value(one: Float64, other: Float64, test: str = "fisher") -> float:
    """How likely so large a difference of two means is where the systems are alike, two-sided.

    Args:
        one, other: values of the same questions, ``(questions,)`` or ``(seeds, questions)``; with
            several seeds a question's value is its mean.
        test: ``fisher``, the randomisation test, or ``student``, the paired t-test, both ranx's.
            The randomisation test counts what was observed among its draws (Phipson and Smyth,
            2010): it says 1 / (`RESAMPLES` + 1) at least, and the same each time.

    Raises:
        ValueError: an unknown test, values of different questions, NaN among them, or too few for
            a t-test.
    """
    if test not in TESTS:
        raise ValueError(f"The test is one of {', '.join(TESTS)}, not '{test}'")
    means = [_of_questions(values) for values in (one, other)]
    if means[0].shape != means[1].shape:
        raise ValueError(
            f"The runs hold {len(means[0])} and {len(means[1])} questions: they must be the same"
        )
    if np.isnan(means).any():
        raise ValueError("A measure that is not defined for every question cannot be tested")
    if np.array_equal(means[0], means[1]):
        return 1.0
    if test == "student":
        if len(means[0]) < 2:
            raise ValueError("A t-test needs two questions at least")
        from ranx.statistical_tests import paired_student_t_test

        return float(paired_student_t_test(means[0], means[1])[0])
    # ranx takes a draw whose difference is as large as the observed one for smaller where its sum
    # was rounded otherwise; sums of whole numbers are exact.
    seeds = np.lcm(np.atleast_2d(one).shape[0], np.atleast_2d(other).shape[0])
    whole = [np.rint(values * (_GRID * seeds)) for values in means]
    p, _ = _fisher()(whole[0], whole[1], RESAMPLES)
    return float(p * RESAMPLES + 1) / (RESAMPLES + 1)


def _of_questions(values: Float64) -> Float64:
    of_questions = np.atleast_2d(np.asarray(values, dtype=np.float64)).mean(axis=0)
    if not of_questions.size:
        raise ValueError("There are no values of questions")
    return of_questions


@lru_cache(maxsize=1)
def _fisher() -> Any:
    """ranx's randomisation test in one thread: in several, its seed reaches only one of them."""
    import numba
    from ranx.statistical_tests import fisher_randomization_test

    return numba.njit(fisher_randomization_test.py_func)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several comparisons with one system, adjusted as Holm (1979) has it.

    >>> holm({"BM25": 0.01, "DPR": 0.04, "CLIP": 0.03})
    {'BM25': 0.03, 'CLIP': 0.06, 'DPR': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


__all__ = ["RESAMPLES", "TESTS", "Interval", "bootstrap_interval", "holm", "p_value"]
