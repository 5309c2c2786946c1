"""The tree of all clues that a search has written so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.decoding.clue_pieces import Scope
from gemkr_hf.modeling.generation_gemkr import Hypothesis

Int64 = NDArray[np.int64]
NO_POSITION: Int64 = np.empty(0, np.int64)


class Node(Hypothesis):
    """A token of a clue; the root is a query's empty clue.

    All beams that write the same tokens share a node. The attributes of `Hypothesis` hold, and:

    Attributes:
        query: the query's number in the batch.
        token: -1 for the root and for a node that begins a further piece.
        score: NaN until the parent's log-probabilities are known.
        depth: tokens of the clue's last piece.
        children: by token.
        lower, upper: int64 (shards,), its interval in the index; of length 0 until it is looked up.
        scope, positions: the documents that a further piece is restricted to, and the positions
            after the piece in them.
        computed: whether the model has computed the token.
        columns: of `TreeAttention`: the cache columns, counted after the prompt, that hold the keys
            and values of its piece's tokens.
        row: the row of the only document that contains the clue; -1 if there are several, or if it
            was not looked up.
        entropy, dropped_mass: of the model's distribution after it, if they are wanted; else NaN.
    """

    __slots__ = (
        "children", "columns", "computed", "dropped_mass", "entropy", "lower", "positions", "query",
        "scope", "upper",
    )  # fmt: skip

    def __init__(self, query: int, parent: Node | None, token: int, score: float) -> None:
        super().__init__(parent, token, score)
        self.query = query
        self.depth = 0 if parent is None or token < 0 else parent.depth + 1
        self.lower = self.upper = self.positions = NO_POSITION
        self.scope: Scope | None = None
        self.computed = False
        self.columns: tuple[int, ...] = ()
        self.children: dict[int, Node] = {}
        self.entropy = self.dropped_mass = float("nan")
        if parent is not None and token >= 0:
            self.scope, self.row = parent.scope, parent.row

    def child(self, position: int) -> Node:
        """The node of the token `following[position]`, with its score."""
        child = self.unscored_child(position)
        child.score = self.score + float(self.log_probs[position])
        return child

    def unscored_child(self, position: int) -> Node:
        """The node of the token `following[position]`, whose score may not be known yet."""
        token = int(self.following[position])
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
        """The token ids of all pieces of the clue, first piece first."""
        nodes = self.piece()
        begin = nodes[0].parent if nodes else self
        tokens = tuple(node.token for node in nodes)
        earlier = begin.parent.pieces() if begin is not None and begin.parent else ()
        return (*earlier, tokens) if tokens else earlier

    def token_ids(self) -> tuple[int, ...]:
        """The token ids of all pieces, one after the other."""
        return tuple(token for piece in self.pieces() for token in piece)

    def num_pieces(self) -> int:
        """Number of pieces, including one that begins here."""
        node, number = self, 1
        while node.parent is not None:
            number += node.token < 0
            node = node.parent
        return number

    def key(self) -> int:
        """Id of the node of the clue's last token, with or without an end token after it."""
        return id(self.parent if self.finished and self.end is None else self)


__all__ = ["NO_POSITION", "Node"]
