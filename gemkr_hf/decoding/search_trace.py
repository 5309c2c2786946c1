"""What a search saw and chose, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gemkr_hf.decoding.clue_tree import Node


@dataclass(frozen=True)
class TraceNode:
    """A token that a beam came to.

    Attributes:
        token: its id; -1 for the empty clue, and where a further piece of a clue begins.
        parent: number of the node before, -1 for the empty clue.
        depth: tokens of the whole clue up to here.
        step: the step that chose it first; -1 for the empty clue.
        group: the group of beams that chose it first.
        score: of the clue up to here.
        allowed: tokens that may follow; 0 where the clue has ended.
        entropy: of the model's distribution over all tokens behind it, in nats; NaN where the model
            was not asked.
        dropped_mass: the probability that this distribution gives to what is not allowed.
        state: "found", "dropped" (ended, but several documents hold it), "left" (beams went
            elsewhere or the search was over), or "passed" (a beam went on).
        row: the document that alone holds the clue, in a search for documents; else -1.
    """

    token: int
    parent: int
    depth: int
    step: int
    group: int
    score: float
    allowed: int
    entropy: float
    dropped_mass: float
    state: str
    row: int


@dataclass(frozen=True)
class TraceStep:
    """A step of the search.

    Attributes:
        seen: numbers of the different nodes that the beams stood at.
        chosen: for each group, numbers of the nodes that its beams went to, best first.
        allowed, entropy, dropped_mass: of the nodes in `seen`, as `TraceNode` has them.
    """

    seen: list[int]
    chosen: list[list[int]]
    allowed: list[int]
    entropy: list[float]
    dropped_mass: list[float]


@dataclass
class SearchTrace:
    """The search for one query; complete when the search is over.

    Attributes:
        nodes: the tree of all clues that a beam came to; the first one is the empty clue.
        steps: what each step saw and chose. Where the documents leave a clue a single continuation,
            the steps behind it saw it all computed at once.
        found: numbers of the nodes at which the clues that came back end, best first.
    """

    root: Node = field(repr=False)
    nodes: list[TraceNode] = field(default_factory=list)
    steps: list[TraceStep] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    _raw: list[tuple[list[Node], list[list[Node]]]] = field(default_factory=list, repr=False)

    def add_step(
        self, seen: Sequence[Sequence[Node]], beams: Sequence[Sequence[tuple[Node, float]]]
    ) -> None:
        """Keep a step: the nodes that each group's beams stood at, and those that they go to."""
        unique = {id(node): node for group in seen for node in group}
        chosen = [[node for node, _ in group] for group in beams]
        self._raw.append((list(unique.values()), chosen))

    def finish(self, found: Sequence[Node]) -> None:
        """Make `nodes` and `steps` of what was kept; `found` are the clues that came back."""
        numbers: dict[int, int] = {}
        for node, depth in _visited(self.root):
            parent = -1 if node.parent is None else numbers[id(node.parent)]
            state = "passed" if any(child.step >= 0 for child in node.children.values()) else "left"
            if node.finished or node.dropped:
                state = "found" if node.finished else "dropped"
            numbers[id(node)] = len(self.nodes)
            entry = TraceNode(
                node.token, parent, depth, node.step, node.group, node.score, len(node.following),
                node.entropy, node.dropped_mass, state, node.row,
            )  # fmt: skip
            self.nodes.append(entry)
        self.found = [numbers[id(node)] for node in found]
        for seen, chosen in self._raw:
            self.steps.append(
                TraceStep(
                    [numbers[id(node)] for node in seen],
                    [[numbers[id(node)] for node in group] for group in chosen],
                    [len(node.following) for node in seen],
                    [node.entropy for node in seen],
                    [node.dropped_mass for node in seen],
                )
            )
        self._raw.clear()

    def clue(self, number: int) -> list[int]:
        """The token ids from the empty clue to a node."""
        tokens = []
        while number >= 0:
            tokens.append(self.nodes[number].token)
            number = self.nodes[number].parent
        return [token for token in reversed(tokens) if token >= 0]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON; NaN where there is no number."""
        return {
            "nodes": [asdict(node) for node in self.nodes],
            "steps": [asdict(step) for step in self.steps],
            "found": self.found,
        }

    def __str__(self) -> str:
        """A table of the steps: means over the different nodes that the beams stood at."""
        lines = ["step  nodes  allowed (median)  entropy (nats)  dropped mass  chosen  found"]
        for number, step in enumerate(self.steps):
            chosen = {node for group in step.chosen for node in group}
            found = sum(self.nodes[node].state == "found" for node in chosen)
            allowed = np.median(step.allowed) if step.allowed else 0
            lines.append(
                f"{number:4}{len(step.seen):7}{allowed:18.0f}{_mean(step.entropy):16.2f}"
                f"{_mean(step.dropped_mass):14.3f}{len(chosen):8}{found:7}"
            )
        return "\n".join(lines)


def _visited(root: Node) -> Iterator[tuple[Node, int]]:
    """The nodes that a beam came to, parents first, with the tokens of the clue up to each."""
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        ordered = sorted(node.children.values(), key=lambda child: child.score)
        waiting += [(child, depth + (child.token >= 0)) for child in ordered if child.step >= 0]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")


__all__ = ["SearchTrace", "TraceNode", "TraceStep"]
