"""Intervals and p-values."""

import numpy as np
import pytest

from gemkr_hf.evaluation.significance import (
    RESAMPLES,
    TESTS,
    bootstrap_interval,
    holm,
    p_value,
)


def shares(seed: int, questions: int = 200, k: int = 5, mean: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).binomial(k, mean, questions) / k


@pytest.mark.parametrize("test", TESTS)
def test_clear_differences_are_significant_and_none_are_not(test: str) -> None:
    assert p_value(shares(0, mean=0.7), shares(1, mean=0.4), test) < 0.001
    assert p_value(shares(0), shares(0), test) == 1.0
    values = shares(0)
    assert p_value(values, values[::-1], test) > 0.95


@pytest.mark.parametrize("test", TESTS)
def test_a_p_value_has_no_side_and_is_the_same_each_time(test: str) -> None:
    one, other = shares(2, mean=0.52), shares(3, mean=0.47)
    p = p_value(one, other, test)
    assert 0.001 < p < 0.5
    assert p_value(one, other, test) == p
    assert p_value(other, one, test) == pytest.approx(p, abs=0.02)


@pytest.mark.parametrize("questions", [10, 200])
def test_the_randomisation_test_counts_equal_differences(questions: int) -> None:
    """Against all 2^n exchanges; shares of 5 make many as large as the observed one."""
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, (2, questions)) / 5
    fifths = np.rint((one - other) * 5).astype(int)
    reach = int(np.abs(fifths).sum())
    ways = np.zeros(2 * reach + 1)  # how likely a sum of exchanged differences is, from -reach
    ways[reach] = 1
    for difference in fifths:
        ways = (np.roll(ways, difference) + np.roll(ways, -difference)) / 2
    observed = abs(int(fifths.sum()))
    equal = ways[reach + observed] + ways[reach - observed]
    assert equal > 0.01
    exact = equal + ways[reach + observed + 1 :].sum() + ways[: reach - observed].sum()
    assert p_value(one, other) == pytest.approx(exact, abs=3 * (0.25 / RESAMPLES) ** 0.5)


def test_the_p_value_of_the_randomisation_test_is_never_0() -> None:
    p = p_value(np.ones(300), np.zeros(300))
    assert p == pytest.approx(1 / (RESAMPLES + 1))


def test_seeds_are_averaged_by_question() -> None:
    seeds = np.stack([shares(seed) for seed in range(3)])
    other = shares(9)
    assert p_value(seeds, other) == p_value(seeds.mean(axis=0), np.stack([other] * 2))
    assert bootstrap_interval(seeds) == bootstrap_interval(seeds.mean(axis=0))
    # The questions' differences are less by chance than those of one seed.
    width = bootstrap_interval(seeds).high - bootstrap_interval(seeds).low
    assert width < bootstrap_interval(seeds[0]).high - bootstrap_interval(seeds[0]).low


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_an_interval_holds_the_true_mean_as_often_as_it_says(level: float) -> None:
    held = 0
    for seed in range(300):
        interval = bootstrap_interval(shares(seed, 60, mean=0.3), level, resamples=400)
        held += interval.low <= 0.3 <= interval.high
    assert held / 300 == pytest.approx(level, abs=0.06)


def test_an_interval_is_as_wide_as_the_normal_one() -> None:
    values = shares(0, 2000)
    interval = bootstrap_interval(values)
    assert interval.mean == values.mean()
    error = 1.96 * values.std() / 2000**0.5
    assert interval.high - interval.mean == pytest.approx(error, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(error, rel=0.1)
    assert bootstrap_interval(values) == interval
    assert bootstrap_interval(values, seed=1) != interval
    assert str(interval) == f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def test_an_interval_of_what_does_not_vary_is_a_point() -> None:
    for values in (np.full(5, 0.2), np.array([0.7])):
        interval = bootstrap_interval(values)
        assert interval.low == interval.mean == interval.high == pytest.approx(values[0])
    assert np.isnan(bootstrap_interval(np.array([np.nan, 1.0])).mean)


def test_holm() -> None:
    """The example of Holm's procedure with four hypotheses, worked by hand."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert list(adjusted) == ["d", "a", "c", "b"]
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_invalid_tests_are_errors() -> None:
    one = shares(0)
    with pytest.raises(ValueError, match="one of fisher, student, got 'wilcoxon'"):
        p_value(one, one, "wilcoxon")
    with pytest.raises(ValueError, match="values of 200 and 199 questions"):
        p_value(one, one[1:])
    with pytest.raises(ValueError, match="undefined for a question"):
        p_value(one, np.where(one > 0.5, np.nan, one))
    with pytest.raises(ValueError, match="at least two questions"):
        p_value(np.ones(1), np.zeros(1), "student")
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval(np.zeros(0))
