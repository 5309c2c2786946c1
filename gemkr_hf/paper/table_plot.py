"""A result as an image."""

from pathlib import Path

import numpy as np

from gemkr_hf.paper.table_formats import heading
from gemkr_hf.paper.table_result import Result
from gemkr_hf.utils.io import atomic_file

_COLORS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1")
_DRAWN = ("P@1", "P@5", "R@5", "R@10")


def plot_result(result: Result, path: Path) -> None:
    """Ours as bars with their intervals, one panel a measure; the paper's figures as diamonds.

    Args:
        result: what is drawn: P@1, P@5, R@5 and R@10, or else the first measures; nothing where
            only different documents were counted.
        path: of a PNG; it is there whole or not at all.
    """
    from matplotlib.figure import Figure

    measures = [measure for measure in _DRAWN if measure in result.measures] or [
        measure for measure in result.measures if not measure.startswith("distinct")
    ][: len(_COLORS)]
    if not measures:
        return
    labels = [row.label for row in result.rows]
    places = np.arange(len(labels))[::-1]
    named = result.paper_benchmark
    benchmark = named if any(row.paper.get(named) for row in result.rows) else None
    figure = Figure(
        figsize=(2.6 * len(measures) + 2.4, 0.42 * len(labels) + 1.9), layout="constrained"
    )
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for panel, measure, color in zip(panels, measures, _COLORS, strict=False):
        found = [row.ours[measure] for row in result.rows]
        means = np.array([100 * interval.mean for interval in found])
        low = means - np.array([100 * interval.low for interval in found])
        high = np.array([100 * interval.high for interval in found]) - means
        panel.barh(
            places,
            means,
            xerr=[low, high],
            color=color,
            alpha=0.85,
            error_kw={"ecolor": "#1a202c", "elinewidth": 0.9, "capsize": 2},
        )
        for place, row in zip(places, result.rows, strict=True):
            values = row.over_seeds.get(measure, ())
            for number, value in enumerate(values):
                if len(values) > 1:
                    offset = (number - (len(values) - 1) / 2) * 0.16
                    panel.plot(100 * value, place + offset, ".", color="#1a202c", markersize=3)
            if benchmark is not None and measure in row.paper.get(benchmark, {}):
                panel.plot(
                    100 * row.paper[benchmark][measure],
                    place,
                    "D",
                    color="white",
                    markeredgecolor="#1a202c",
                    markersize=5,
                )
        panel.set_title(measure, fontsize=10)
        # Of one relevant document, P@5 is at most 20.
        papers = [100 * row.paper.get(benchmark or "", {}).get(measure, 0.0) for row in result.rows]
        most = float(np.nanmax([*(means + high), *papers, 1.0]))
        panel.set_xlim(0, min(102.0, 1.15 * most))
        panel.grid(axis="x", color="#cbd5e0", linewidth=0.6)
        panel.set_axisbelow(True)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    panels[0].set_yticks(places, labels)
    paper = f"; diamonds: the paper's figures on {benchmark}" if benchmark else ""
    figure.suptitle(
        f"{result.title}\n{heading(result).replace('`', '')}\n"
        f"percent; lines: 95% intervals; dots: seeds{paper}",
        fontsize=9,
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


__all__ = ["plot_result"]
