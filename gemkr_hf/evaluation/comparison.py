"""Compare two systems question by question."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.evaluation.question_records import Record, values_of
from gemkr_hf.evaluation.significance import Interval, bootstrap_interval, p_value
from gemkr_hf.utils.deprecation import warn_renamed
from gemkr_hf.utils.figures import new_figure
from gemkr_hf.utils.io import atomic_file

PLOTS = (".png", ".svg", ".pdf")
"""Suffixes of the files that a comparison can be plotted to."""

_FIRST, _SECOND, _TIE, _LINES = "#2b6cb0", "#c05621", "#a0aec0", "#4a5568"


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems in one measure.

    Attributes:
        names: Names of the two systems.
        measure, preset: The measure and the hit preset.
        question_ids: Ids of n questions.
        values: The measure of both systems, float64 ``(2, n)``.
        intervals: Means of both systems with their intervals.
        difference: Mean difference, first minus second, with its interval.
        p: p-value of the difference.
        test: The significance test, see `p_value`.
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
        """Number of questions for which the first system is better."""
        return int((self.values[0] > self.values[1]).sum())

    @property
    def worse(self) -> int:
        """Number of questions for which the second system is better."""
        return int((self.values[0] < self.values[1]).sum())

    @property
    def alike(self) -> int:
        """Deprecated name of `ties`."""
        warn_renamed("Comparison.alike", "Comparison.ties")
        return self.ties

    @property
    def ties(self) -> int:
        """Number of questions for which both are equal."""
        return len(self.question_ids) - self.better - self.worse

    def most_different(self, n: int = 5) -> list[tuple[str, float]]:
        """Return ids and differences of the n questions that differ most, descending; no ties."""
        differences = self.values[0] - self.values[1]
        order = np.argsort(-np.abs(differences), kind="stable")[:n]
        entries = [(self.question_ids[row], float(differences[row])) for row in order]
        return sorted((entry for entry in entries if entry[1]), key=lambda entry: -entry[1])


def compare(
    one: Sequence[Record], other: Sequence[Record], measure: str = "P@5", test: str = "fisher"
) -> Comparison:
    """Compare two systems on the same questions.

    Args:
        one: Records of a system, in any order.
        other: Records of another system.
        measure: A measure of the records.
        test: Significance test, see `p_value`.

    Raises:
        ValueError: If there are no records, the questions or hit presets differ, or the measure or
            test is unknown.
    """
    if not one or not other:
        raise ValueError("There are no records to compare")
    presets = {records[0].preset for records in (one, other)}
    if len(presets) > 1:
        raise ValueError(
            f"The hit presets differ ('{one[0].preset}' and '{other[0].preset}'), so the measures "
            "cannot be compared"
        )
    values_by_id = [values_of(records, measure) for records in (one, other)]
    unshared = values_by_id[0].keys() ^ values_by_id[1].keys()
    if unshared:
        raise ValueError(
            f"{len(unshared):,} questions are in only one of the runs, such as '{min(unshared)}': "
            "both must contain the same questions"
        )
    question_ids = tuple(values_by_id[0])
    values = np.array([[by_id[name] for name in question_ids] for by_id in values_by_id])
    systems = (one[0].system, other[0].system)
    if systems[0] == systems[1]:
        systems = (f"{systems[0]} (first)", f"{systems[1]} (second)")
    return Comparison(
        systems,
        measure,
        one[0].preset,
        question_ids,
        values,
        (bootstrap_interval(values[0]), bootstrap_interval(values[1])),
        bootstrap_interval(values[0] - values[1]),
        p_value(values[0], values[1], test),
        test,
    )


def check_plot_path(path: str | Path) -> None:
    """Raise ValueError if the file name does not end in one of `PLOTS`."""
    if Path(path).suffix.lower() not in PLOTS:
        raise ValueError(f"A plot file must end in {', '.join(PLOTS)}, got '{Path(path).name}'")


def plot_comparison(comparison: Comparison, path: str | Path) -> None:
    """Plot the sorted differences of all questions, and the number of questions by both values.

    Args:
        comparison: The result of `compare`.
        path: Path of the plot; its suffix selects PNG, SVG or PDF.

    Raises:
        ValueError: If the suffix is another one.
    """
    check_plot_path(path)
    path = Path(path)
    figure = new_figure(11, 5)
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
    one, other = (f"{comparison.measure} of {_short(name)}" for name in comparison.names)
    right.set(xlabel=other, ylabel=one)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


def _draw_differences(axes: Any, comparison: Comparison) -> None:
    differences = np.sort(comparison.values[0] - comparison.values[1])[::-1]
    one, other = (_short(name) for name in comparison.names)
    rank = np.arange(1, len(differences) + 1)
    for color, rows, label in (
        (_FIRST, differences > 0, f"{one} better: {comparison.better:,}"),
        (_TIE, differences == 0, f"equal: {comparison.ties:,}"),
        (_SECOND, differences < 0, f"{other} better: {comparison.worse:,}"),
    ):
        axes.fill_between(
            np.repeat(rank, 2) + np.tile([-0.5, 0.5], len(rank)),
            np.repeat(np.where(rows, differences, 0.0), 2),
            color=color,
            linewidth=0,
            label=label,
        )
    axes.plot(
        [0.5, len(rank) + 0.5], [0, 0], color=_TIE, linewidth=3, solid_capstyle="butt", zorder=0
    )
    reach = (float(np.abs(differences).max()) or 1.0) * 1.05
    axes.set(
        xlim=(0.5, len(rank) + 0.5), xlabel="questions, ordered by difference",
        ylim=(-reach, reach), ylabel=f"{comparison.measure}:\n{one} minus {other}",
    )  # fmt: skip
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_counts(axes: Any, comparison: Comparison) -> None:
    levels = np.unique(comparison.values)
    rows, columns = np.searchsorted(levels, comparison.values)
    counts = np.zeros((len(levels), len(levels)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    # Square roots: most questions share a few cells, and all others would be white.
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
    """Draw one point for each pair of values, larger if several questions share it."""
    points, counts = np.unique(comparison.values, axis=1, return_counts=True)
    difference = points[0] - points[1]
    colors = np.where(difference > 0, _FIRST, np.where(difference < 0, _SECOND, _TIE))
    axes.scatter(points[1], points[0], s=10 + 600 * counts / counts.sum(), alpha=0.5, c=colors)
    low, high = points.min(), points.max()
    axes.plot([low, high], [low, high], color=_LINES, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_aspect("equal")
    axes.set_title("points, larger if several questions share them", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


__all__ = ["PLOTS", "Comparison", "check_plot_path", "compare", "plot_comparison"]
