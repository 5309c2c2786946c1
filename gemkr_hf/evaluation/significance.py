"""Statistical significance: bootstrap intervals, paired tests, and correction of p-values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.utils.extras import require_extra

Float64 = NDArray[np.float64]

RESAMPLES = 10_000
"""Number of bootstrap samples, and of random assignments in the randomisation test."""
TESTS = ("fisher", "student")
"""Randomisation test and paired t-test."""

# A common multiple of 1 to 16 and of 100: P@K and R@K become integers when multiplied by it.
_GRID = 3_603_600


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: The mean.
        low, high: Bounds of the interval.
        level: Confidence level.
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
    """Compute the percentile bootstrap interval of a mean over questions.

    Args:
        values: ``(questions,)``, or ``(seeds, questions)`` of a system trained with several seeds:
            questions are resampled, each with its values of all seeds.
        level: Confidence level.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there are no values.
    """
    require_extra("eval", "Confidence intervals need", "scipy")
    from scipy.stats import bootstrap

    question_means = _question_means(values)
    mean = float(question_means.mean())
    if np.isnan(mean) or len(question_means) < 2 or np.ptp(question_means) == 0:
        return Interval(mean, mean, mean, level)
    interval = bootstrap(
        (question_means,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=max(1, 2**22 // len(question_means)),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), level)


def p_value(one: Float64, other: Float64, test: str = "fisher") -> float:
    """Compute the two-sided p-value of the difference of two means.

    Args:
        one: Values of the questions, ``(questions,)`` or ``(seeds, questions)``; with several seeds
            a question's value is its mean.
        other: Values of the same questions for another system.
        test: ``fisher`` (randomisation test) or ``student`` (paired t-test), both from ranx. The
            randomisation test includes the observed difference in the count (Phipson and Smyth,
            2010), so its smallest value is 1 / (`RESAMPLES` + 1); its seed is fixed.

    Raises:
        ValueError: If the test is unknown, the numbers of questions differ, a value is NaN, or a
            t-test has fewer than two questions.
    """
    if test not in TESTS:
        raise ValueError(f"The test must be one of {', '.join(TESTS)}, got '{test}'")
    require_extra("eval", "Significance tests need", "ranx")
    means = [_question_means(values) for values in (one, other)]
    if means[0].shape != means[1].shape:
        raise ValueError(
            f"The systems have values of {len(means[0])} and {len(means[1])} questions: they must "
            "answer the same questions"
        )
    if np.isnan(means).any():
        raise ValueError("A measure that is undefined for a question cannot be tested")
    if np.array_equal(means[0], means[1]):
        return 1.0
    if test == "student":
        if len(means[0]) < 2:
            raise ValueError("A t-test needs at least two questions")
        from ranx.statistical_tests import paired_student_t_test

        return float(paired_student_t_test(means[0], means[1])[0])
    # Sums of integers are exact, so a draw whose difference equals the observed one is counted,
    # whatever its order of summation.
    seeds = np.lcm(np.atleast_2d(one).shape[0], np.atleast_2d(other).shape[0])
    integers = [np.rint(values * (_GRID * seeds)) for values in means]
    p, _ = _fisher_test()(integers[0], integers[1], RESAMPLES)
    return float(p * RESAMPLES + 1) / (RESAMPLES + 1)


def _question_means(values: Float64) -> Float64:
    means = np.atleast_2d(np.asarray(values, dtype=np.float64)).mean(axis=0)
    if not means.size:
        raise ValueError("There are no values")
    return means


@lru_cache(maxsize=1)
def _fisher_test() -> Any:
    """Compile ranx's randomisation test for one thread: its seed does not reach further threads."""
    import numba
    from ranx.statistical_tests import fisher_randomization_test

    return numba.njit(fisher_randomization_test.py_func)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p-values of several comparisons with one system by Holm's method (1979).

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
