"""Trace of a search: the candidates and the choices of each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gemkr_hf.decoding.clue_tree import Node


@dataclass(frozen=True)
class TraceNode:
    """A token that a beam reached.

    Attributes:
        token: its id; -1 for the empty clue, and where a further piece of a clue begins.
        parent: number of the node before it, -1 for the empty clue.
        depth: tokens of the clue up to here, in all pieces.
        step: the step that chose it first; -1 for the empty clue.
        group: the beam group that chose it first.
        score: score of the clue up to here.
        allowed: number of tokens that may follow; 0 if the clue has ended.
        entropy: of the model's distribution over all tokens after it, in nats; NaN if the model did
            not compute it.
        dropped_mass: probability of the forbidden tokens in this distribution.
        state: "found" (a finished clue), "dropped" (ended, but several documents contain it),
            "left" (no beam continued it), or "passed" (a beam continued it).
        row: the row of the only document that contains the clue, in a search for documents; else
            -1.
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
        seen: numbers of the different nodes that the beams were at.
        chosen: for each group, numbers of the nodes that its beams moved to, best first.
        allowed, entropy, dropped_mass: those of the nodes in `seen`, see `TraceNode`.
    """

    seen: list[int]
    chosen: list[list[int]]
    allowed: list[int]
    entropy: list[float]
    dropped_mass: list[float]


@dataclass
class SearchTrace:
    """The search for one query; complete when the search has ended.

    Attributes:
        nodes: the tree of all clues that a beam reached; the first node is the empty clue.
        steps: the candidates and the choices of each step.
        found: numbers of the nodes at which the returned clues end, best first.
    """

    root: Node = field(repr=False)
    nodes: list[TraceNode] = field(default_factory=list)
    steps: list[TraceStep] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    _raw: list[tuple[list[Node], list[list[Node]]]] = field(default_factory=list, repr=False)

    def add_step(
        self, seen: Sequence[Sequence[Node]], beams: Sequence[Sequence[tuple[Node, float]]]
    ) -> None:
        """Record a step: the nodes that each group's beams were at, and their beams now."""
        unique = {id(node): node for group in seen for node in group}
        chosen = [[node for node, _ in group] for group in beams]
        self._raw.append((list(unique.values()), chosen))

    def finish(self, found: Sequence[Node]) -> None:
        """Set `nodes`, `steps` and `found` when the search has returned these clues."""
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
        """Plain lists and numbers, for JSON; NaN for unknown values."""
        return {
            "nodes": [asdict(node) for node in self.nodes],
            "steps": [asdict(step) for step in self.steps],
            "found": self.found,
        }

    def __str__(self) -> str:
        """A table of the steps: means over the different nodes that the beams were at."""
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
    """The nodes that a beam reached, parents first, with the number of tokens up to each."""
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        ordered = sorted(node.children.values(), key=lambda child: child.score)
        waiting += [(child, depth + (child.token >= 0)) for child in ordered if child.step >= 0]


def _mean(values: Sequence[float]) -> float:
    numbers = [value for value in values if value == value]
    return float(np.mean(numbers)) if numbers else float("nan")


__all__ = ["SearchTrace", "TraceNode", "TraceStep"]
