"""Plot of the distribution that supervised text sampling draws from."""

import textwrap
from pathlib import Path
from typing import Any

from gemkr_hf.training.clue_sampling import SpanDistribution
from gemkr_hf.utils.figures import new_figure


def plot_distribution(
    drawn: SpanDistribution, path: str | Path | None = None, title: str | None = None
) -> Any:
    """Plot the probability that a clue starts at each word of a sentence.

    A bar is the softmax of c / (c + rho); bars of keyword hits are dark.

    Args:
        drawn: From ``ClueSampler.distribution``.
        path: Image file to write; its suffix gives the format.
        title: For example the question.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    from matplotlib.patches import Patch

    positions = range(len(drawn.words))
    figure = new_figure(max(4.0, 0.42 * len(drawn.words)), 3.4)
    axis = figure.subplots()
    colors = ["firebrick" if hit else "0.75" for hit in drawn.hits]
    axis.bar(positions, drawn.probabilities, color=colors)
    axis.set_xticks(list(positions))
    axis.set_xticklabels(drawn.words, rotation=60, ha="right", rotation_mode="anchor")
    for label, hit in zip(axis.get_xticklabels(), drawn.hits, strict=True):
        label.set_fontweight("bold" if hit else "normal")
    axis.set_ylabel("probability of start")
    if title is not None:
        axis.set_title("\n".join(textwrap.wrap(title, 60)), fontsize="medium", loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(
        handles=[
            Patch(color="firebrick", label="keyword of the query"),
            Patch(color="0.75", label="other words"),
        ],
        frameon=False,
        fontsize="small",
    )
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


__all__ = ["plot_distribution"]
