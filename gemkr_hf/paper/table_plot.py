"""Plots of the tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gemkr_hf.paper.result_table import ResultTable
from gemkr_hf.utils.figures import new_figure
from gemkr_hf.utils.io import atomic_file

COLORS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1")
_PREFERRED = ("P@1", "P@5", "R@5", "R@10")
_DARK = "#1a202c"


def save_figure(
    path: Path, title: str, size: tuple[float, float], draw: Callable[[Any], None]
) -> None:
    """Write a PNG atomically.

    Args:
        path: path of the file.
        title: title of the figure.
        size: in inches.
        draw: draws into a new matplotlib figure.
    """
    figure = new_figure(*size)
    draw(figure)
    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def plot_result(result: ResultTable, path: Path) -> None:
    """Plot our results as bars with intervals, one panel per measure, the paper's as diamonds.

    Args:
        result: P@1, P@5, R@5 and R@10 are drawn, or else the first measures; nothing if the only
            measure is ``distinct``.
        path: path of the PNG file.
    """
    measures = [measure for measure in _PREFERRED if measure in result.measures] or [
        measure for measure in result.measures if not measure.startswith("distinct")
    ][: len(COLORS)]
    if not measures:
        return
    named = result.paper_benchmark
    benchmark = named if any(row.paper.get(named) for row in result.rows) else ""
    heights = np.arange(len(result.rows))[::-1]

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for panel, measure, color in zip(panels, measures, COLORS, strict=False):
            _draw_measure(panel, result, measure, color, benchmark, heights)
        panels[0].set_yticks(heights, [row.label for row in result.rows])

    paper = f"; diamonds: the paper's figures on {benchmark}" if benchmark else ""
    title = (
        f"{result.title}\n{result.subtitle.replace('`', '')}\n"
        f"percent; lines: 95% intervals; dots: seeds{paper}"
    )
    size = (2.6 * len(measures) + 2.4, 0.42 * len(result.rows) + 1.9)
    save_figure(path, title, size, draw)


def _draw_measure(
    panel: Any, result: ResultTable, measure: str, color: str, benchmark: str, heights: np.ndarray
) -> None:
    intervals = [row.ours[measure] for row in result.rows]
    means, low, high = 100 * np.array([(one.mean, one.low, one.high) for one in intervals]).T
    style = {"ecolor": _DARK, "elinewidth": 0.9, "capsize": 2}
    panel.barh(
        heights, means, xerr=[means - low, high - means], color=color, alpha=0.85, error_kw=style
    )
    papers = [100 * row.paper.get(benchmark, {}).get(measure, np.nan) for row in result.rows]
    for height, row, paper in zip(heights, result.rows, papers, strict=True):
        seeds = row.over_seeds.get(measure, ())
        for number, value in enumerate(seeds):
            if len(seeds) > 1:
                offset = (number - (len(seeds) - 1) / 2) * 0.16
                panel.plot(100 * value, height + offset, ".", color=_DARK, markersize=3)
        panel.plot(paper, height, "D", color="white", markeredgecolor=_DARK, markersize=5)
    panel.set_title(measure, fontsize=10)
    # With one relevant document per question, P@5 is at most 20.
    largest = float(np.nanmax([*high, *papers, 1.0]))
    panel.set_xlim(0, min(102.0, 1.15 * largest))
    panel.grid(axis="x", color="#cbd5e0", linewidth=0.6)
    panel.set_axisbelow(True)


__all__ = ["COLORS", "plot_result", "save_figure"]
