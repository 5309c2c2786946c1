"""Plot the beams of a search."""

from __future__ import annotations

from os import PathLike
from typing import Any

from gemkr_hf.decoding.search_trace import SearchTrace, TraceNode
from gemkr_hf.utils.figures import new_figure

_LONGEST_RUN = 12
_END_COLOURS = {"found": "black", "dropped": "firebrick", "left": "0.65"}


def plot_beams(
    trace: SearchTrace,
    tokenizer: Any = None,
    path: str | PathLike[str] | None = None,
    max_leaves: int = 60,
    title: str | None = None,
) -> Any:
    """Plot the tree of clues that the beams of a search reached.

    Tokens go from left to right. A line has the color of the group that reached it first, and the
    width of its share of beams; it is dotted where only one token is allowed. A returned clue ends
    in its rank, score and, in a search for documents, its document's row; an ambiguous one in a
    cross.

    Args:
        trace: of `TreeSearch.run(..., return_trace=True)` or `GeMKRRetriever.retrieve`.
        tokenizer: decodes token ids; without it, ids are shown.
        path: file to write; its suffix sets the format.
        max_leaves: maximum number of clues to plot: returned ones first, then the best others.
        title: for example the question.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: the search of the trace has not ended.
    """
    if not trace.nodes:
        raise ValueError("The trace is empty: its search has not ended")
    tree = _Tree(trace, max_leaves)
    widest = max(tree.x.values())
    figure = new_figure(3 + 1.05 * widest, 1.2 + 0.3 * len(tree.leaves))
    axes = figure.add_subplot()
    palette = [f"C{number}" for number in range(10)]
    ranks = {number: rank for rank, number in reversed(list(enumerate(trace.found, start=1)))}
    for number in tree.shown:
        node = trace.nodes[number]
        x, y = tree.x[number], tree.height[number]
        if node.parent >= 0 and number not in tree.skipped:
            before, start = trace.nodes[node.parent], tree.x[node.parent]
            axes.plot(
                [start, start + 0.25, x], [tree.height[node.parent], y, y],
                color=palette[node.group % len(palette)], solid_joinstyle="round",
                linewidth=0.8 + 2.2 * tree.share(number),
                linestyle=":" if before.allowed == 1 else "-", zorder=1,
            )  # fmt: skip
            label = tree.left_out(number) or _words(node, tokenizer)
            axes.annotate(
                label, (x, y), (-3, 2), textcoords="offset points", ha="right", va="bottom",
                fontsize=6.5, color="0.15",
            )  # fmt: skip
        if number in ranks:
            row = f" → document {node.row}" if node.row >= 0 else ""
            axes.annotate(
                f"{ranks[number]}.  {node.score:.2f}{row}", (x, y), (5, 0),
                textcoords="offset points", va="center", fontsize=7, weight="bold",
            )  # fmt: skip
        if number in tree.leaves:
            marker = {"dropped": "x", "found": "o"}.get(node.state, "|")
            axes.plot(x, y, marker, color=_END_COLOURS.get(node.state, "0.65"), markersize=4)
    for group in sorted({trace.nodes[n].group for n in tree.shown if trace.nodes[n].group >= 0}):
        axes.plot([], [], color=palette[group % len(palette)], label=f"group {group + 1}")
    axes.legend(fontsize=7, frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1))
    axes.set_xlabel("tokens of the clue" + (", long forced runs cut" if tree.skipped else ""))
    axes.set_xlim(-0.2, widest + 2.4)
    axes.set_ylim(-0.8, len(tree.leaves) - 0.2)
    axes.set_xticks(range(widest + 1))
    axes.yaxis.set_visible(False)
    axes.spines[["left", "top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


class _Tree:
    """Layout of the plot.

    Attributes:
        leaves: the last nodes of the plotted clues, from top to bottom.
        x, height: coordinates of each node.
        skipped: nodes inside long forced runs, of which only both ends are plotted.
    """

    def __init__(self, trace: SearchTrace, max_leaves: int) -> None:
        nodes = trace.nodes
        parents = {node.parent for node in nodes}
        ends = [number for number in range(len(nodes)) if number not in parents]
        found = list(dict.fromkeys(trace.found))
        others = sorted(set(ends) - set(found), key=lambda number: -nodes[number].score)
        kept = [*found, *others][:max_leaves]
        self.shown: set[int] = set()
        for number in kept:
            while number >= 0:
                self.shown.add(number)
                number = nodes[number].parent
        # Nodes are numbered in depth-first order, so that leaves are ordered by their numbers.
        drawn = {nodes[number].parent for number in self.shown}
        self.leaves = sorted(number for number in self.shown if number not in drawn)
        self.height: dict[int, float] = {}
        for line, number in enumerate(reversed(self.leaves)):
            self.height[number] = float(line)
        for number in sorted(self.shown, reverse=True):
            if number not in self.height:
                below = [n for n in self.shown if nodes[n].parent == number]
                heights = [self.height[child] for child in below]
                self.height[number] = (min(heights) + max(heights)) / 2
        self._nodes = nodes
        self.x: dict[int, int] = {}
        self.skipped: set[int] = set()
        runs: dict[int, int] = {}
        for number in sorted(self.shown):
            node = nodes[number]
            if node.parent < 0:
                self.x[number] = runs[number] = 0
                continue
            forced = nodes[node.parent].allowed == 1
            runs[number] = runs[node.parent] + 1 if forced else 0
            long = runs[number] > _LONGEST_RUN
            continues = number not in self.leaves and node.allowed == 1
            if long and continues:
                self.skipped.add(number)
                self.x[number] = self.x[node.parent]
            else:
                self.x[number] = self.x[node.parent] + 1
        self._visits: dict[int, int] = {}
        for step in trace.steps:
            for group in step.chosen:
                for number in group:
                    self._visits[number] = self._visits.get(number, 0) + 1
        self._most = max(self._visits.values(), default=1)

    def left_out(self, number: int) -> str:
        """Label of a node after skipped ones; empty if there are none."""
        skipped, before = 0, self._nodes[number].parent
        while before in self.skipped:
            skipped, before = skipped + 1, self._nodes[before].parent
        return f"… {skipped + 1} more" if skipped else ""

    def share(self, number: int) -> float:
        """Number of beams that reached a node, relative to the maximum over all nodes."""
        return self._visits.get(number, 0) / self._most


def _words(node: TraceNode, tokenizer: Any) -> str:
    if node.token < 0:
        return "+"
    if tokenizer is None:
        return str(node.token)
    text = tokenizer.decode([node.token]).replace("\n", "⏎").strip()
    return (text if len(text) <= 14 else text[:13] + "…").replace("$", r"\$")


__all__ = ["plot_beams"]
