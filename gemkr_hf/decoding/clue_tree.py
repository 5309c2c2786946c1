"""The tree of all clues that a search has begun."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.decoding.clue_pieces import Scope

Int64 = NDArray[np.int64]
NOWHERE: Int64 = np.empty(0, np.int64)


class Node:
    """A token of a clue that was begun; the root is a query's empty clue.

    query : the query's row in the batch.
    parent : the token before; of the root None. A node without a token begins a further piece.
    score : of the clue so far; not known before the parent's scores are.
    depth : tokens of the clue's piece so far.
    lower, upper : its place in the index, int64[shards] each; empty where it was not looked up.
    scope, places : the documents that a further piece is written in, and where in them it stands.
    following : the tokens that may come next, int64[n]; an end token where the clue may end here.
    gains : what each of them adds to the score, float32[n]: log-probability less penalty.
    computed : whether the model has seen the token.
    columns : where behind the prompt the keys and values of its piece's tokens are.
    found : the clue is finished here.
    dropped : the clue cannot go on, and several documents hold it.
    row : the one document that holds the clue; -1 where there are several, or it was not looked up.
    group, step : of the beam that came here first, -1 where none did.
    entropy, dropped_mass : of the model's distribution behind it, if they were asked for.
    """

    __slots__ = (
        "children", "columns", "computed", "depth", "dropped", "dropped_mass", "entropy",
        "following", "found", "gains", "group", "lower", "parent", "places", "query", "row",
        "scope", "score", "step", "token", "upper",
    )  # fmt: skip

    def __init__(self, query: int, parent: Node | None, token: int, score: float) -> None:
        self.query = query
        self.parent = parent
        self.token = token
        self.score = score
        self.depth: int = 0 if parent is None or token < 0 else parent.depth + 1
        self.lower, self.upper = NOWHERE, NOWHERE
        self.scope: Scope | None = None
        self.places = NOWHERE
        self.following: Int64 = NOWHERE
        self.gains: NDArray[np.floating] | None = None
        self.computed = False
        self.columns: tuple[int, ...] = ()
        self.children: dict[int, Node] = {}
        self.found = False
        self.dropped = False
        self.row = -1
        self.group = -1
        self.step = -1
        self.entropy = float("nan")
        self.dropped_mass = float("nan")
        if parent is not None and token >= 0:
            self.scope, self.row = parent.scope, parent.row

    def child(self, token: int) -> Node:
        """The node behind this one; its score is not known before `gains` are."""
        child = self.children.get(token)
        if child is None:
            child = self.children[token] = Node(self.query, self, token, float("nan"))
        return child

    def piece(self) -> list[Node]:
        """The nodes of the clue's last piece up to this one."""
        nodes: list[Node] = []
        node = self
        while node.token >= 0 and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def pieces(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of all pieces of the clue, the first piece first."""
        nodes = self.piece()
        before = nodes[0].parent if nodes else self
        tokens = tuple(node.token for node in nodes)
        earlier = before.parent.pieces() if before is not None and before.parent else ()
        return (*earlier, tokens) if tokens else earlier

    def tokens(self) -> tuple[int, ...]:
        """All tokens of the clue."""
        return tuple(token for piece in self.pieces() for token in piece)

    def num_pieces(self) -> int:
        """Pieces of the clue, the one that is begun here included."""
        node, number = self, 1
        while node.parent is not None:
            number += node.token < 0
            node = node.parent
        return number


__all__ = ["NOWHERE", "Node"]
