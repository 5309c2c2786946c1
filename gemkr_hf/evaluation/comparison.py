"""Two runs, question by question."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.evaluation.question_records import Record, values_of
from gemkr_hf.evaluation.significance import Interval, bootstrap_interval, p_value
from gemkr_hf.utils.io import atomic_file

PLOTS = (".png", ".svg", ".pdf")

_ONE, _OTHER, _ALIKE, _LINES = "#2b6cb0", "#c05621", "#a0aec0", "#4a5568"


@dataclass(frozen=True)
class Comparison:
    """How two systems differ in one measure.

    Attributes:
        names: of the two systems.
        measure, preset: what is compared, and what a hit is.
        question_ids: of n questions that both answered.
        values: float64 ``(2, n)``.
        intervals: of the two means.
        difference: of the first over the second.
        p: of the difference.
        test: that says so, see `p_value`.
    """

    names: tuple[str, str]
    measure: str
    preset: str
    question_ids: tuple[str, ...]
    values: NDArray[np.float64]
    intervals: tuple[Interval, Interval]
    difference: Interval
    p: float
    test: str = "fisher"

    @property
    def better(self) -> int:
        """Questions in which the first is better."""
        return int((self.values[0] > self.values[1]).sum())

    @property
    def worse(self) -> int:
        """Questions in which the second is better."""
        return int((self.values[0] < self.values[1]).sum())

    @property
    def alike(self) -> int:
        """Questions in which neither is."""
        return len(self.question_ids) - self.better - self.worse

    def most_different(self, n: int = 5) -> list[tuple[str, float]]:
        """The ids of at most n questions with the largest differences and these, falling."""
        differences = self.values[0] - self.values[1]
        order = np.argsort(-np.abs(differences), kind="stable")[:n]
        told = [(self.question_ids[row], float(differences[row])) for row in order]
        return sorted((entry for entry in told if entry[1]), key=lambda entry: -entry[1])


def compare(
    one: Sequence[Record], other: Sequence[Record], measure: str = "P@5", test: str = "fisher"
) -> Comparison:
    """Compare two runs over the same questions.

    Args:
        one, other: records of the two, in any order.
        measure: one that was taken.
        test: see `p_value`.

    Raises:
        ValueError: other questions, other hit presets, no records, a measure that was not taken, or
            an unknown test.
    """
    if not one or not other:
        raise ValueError("There are no records to compare")
    presets = {records[0].preset for records in (one, other)}
    if len(presets) > 1:
        raise ValueError(
            f"One run was scored with the hit preset '{one[0].preset}', the other with "
            f"'{other[0].preset}': their figures cannot be compared"
        )
    found = [values_of(records, measure) for records in (one, other)]
    unshared = found[0].keys() ^ found[1].keys()
    if unshared:
        raise ValueError(
            f"{len(unshared):,} questions are in one run alone, such as '{min(unshared)}': both "
            "must hold the same"
        )
    names = tuple(found[0])
    values = np.array([[of_run[name] for name in names] for of_run in found])
    systems = (one[0].system, other[0].system)
    if systems[0] == systems[1]:
        systems = (f"{systems[0]} (first)", f"{systems[1]} (second)")
    return Comparison(
        systems,
        measure,
        one[0].preset,
        names,
        values,
        (bootstrap_interval(values[0]), bootstrap_interval(values[1])),
        bootstrap_interval(values[0] - values[1]),
        p_value(values[0], values[1], test),
        test,
    )


def check_plot_path(path: str | Path) -> None:
    """Raise ValueError where a plot cannot be written under this name."""
    if Path(path).suffix.lower() not in PLOTS:
        raise ValueError(f"A plot's file ends in {', '.join(PLOTS)}, not '{Path(path).name}'")


def plot_comparison(comparison: Comparison, path: str | Path) -> None:
    """The differences of all questions in order, and how many questions have which two values.

    Args:
        comparison: what `compare` found.
        path: of the image; its ending says which kind: PNG, SVG or PDF.

    Raises:
        ValueError: another ending.
    """
    check_plot_path(path)
    from matplotlib.figure import Figure

    path = Path(path)
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[6, 5])
    first, second = comparison.intervals
    p = "< 0.001" if comparison.p < 0.001 else f"= {comparison.p:.3f}"
    figure.suptitle(
        f"{comparison.measure}, hit preset {comparison.preset}, "
        f"{len(comparison.question_ids):,} questions (95% intervals): "
        f"difference {comparison.difference}, p {p}\n"
        f"{_short(comparison.names[0])}: {first}     {_short(comparison.names[1])}: {second}",
        fontsize=10,
    )
    _draw_differences(left, comparison)
    if len(np.unique(comparison.values)) > 8:
        _draw_points(right, comparison)
    else:
        _draw_counts(right, comparison)
    right.set_xlabel(f"{comparison.measure} of {_short(comparison.names[1])}")
    right.set_ylabel(f"{comparison.measure} of {_short(comparison.names[0])}")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


def _draw_differences(axes: Any, comparison: Comparison) -> None:
    """One line a question, from the first's largest lead to the second's."""
    differences = np.sort(comparison.values[0] - comparison.values[1])[::-1]
    one, other = (_short(name) for name in comparison.names)
    rank = np.arange(1, len(differences) + 1)
    for color, rows, words in (
        (_ONE, differences > 0, f"{one} better: {comparison.better:,}"),
        (_ALIKE, differences == 0, f"alike: {comparison.alike:,}"),
        (_OTHER, differences < 0, f"{other} better: {comparison.worse:,}"),
    ):
        axes.fill_between(
            np.repeat(rank, 2) + np.tile([-0.5, 0.5], len(rank)),
            np.repeat(np.where(rows, differences, 0.0), 2),
            color=color,
            linewidth=0,
            label=words,
        )
    axes.plot(
        [0.5, len(rank) + 0.5], [0, 0], color=_ALIKE, linewidth=3, solid_capstyle="butt", zorder=0
    )
    reach = (float(np.abs(differences).max()) or 1.0) * 1.05
    axes.set_ylim(-reach, reach)
    axes.set_xlim(0.5, len(rank) + 0.5)
    axes.set_xlabel("questions, ordered by difference")
    axes.set_ylabel(f"{comparison.measure}:\n{one} less {other}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_counts(axes: Any, comparison: Comparison) -> None:
    """How many questions have which values of the two."""
    levels = np.unique(comparison.values)
    rows, columns = np.searchsorted(levels, comparison.values)
    counts = np.zeros((len(levels), len(levels)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    # By roots: most questions share a few cells, and the others would all be white.
    axes.imshow(np.sqrt(counts), cmap="Blues", origin="lower", vmin=0)
    dark = counts.max() * 0.4
    for row, column in np.argwhere(counts):
        number = counts[row, column]
        color = "white" if number > dark else "black"
        axes.text(column, row, f"{number:,}", ha="center", va="center", color=color, fontsize=9)
    ticks = [f"{level:.3g}" for level in levels]
    axes.set_xticks(range(len(levels)), ticks)
    axes.set_yticks(range(len(levels)), ticks)
    axes.set_title("questions with these two values", fontsize=9)


def _draw_points(axes: Any, comparison: Comparison) -> None:
    """One point a question, larger where several questions share it."""
    points, counts = np.unique(comparison.values, axis=1, return_counts=True)
    difference = points[0] - points[1]
    colors = np.where(difference > 0, _ONE, np.where(difference < 0, _OTHER, _ALIKE))
    axes.scatter(points[1], points[0], s=10 + 600 * counts / counts.sum(), alpha=0.5, c=colors)
    low, high = points.min(), points.max()
    axes.plot([low, high], [low, high], color=_LINES, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_aspect("equal")
    axes.set_title("one point a question, larger where several share it", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


__all__ = ["PLOTS", "Comparison", "check_plot_path", "compare", "plot_comparison"]
