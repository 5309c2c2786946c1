"""Diverse beam search over the tree of clues: what beams share is computed once.

A beam search that keeps a row of keys and values for each beam copies the prompt for all of them,
and computes the beginning of a clue once for each beam that shares it. Here a query has one row:
its prompt, and behind it the tokens of all clues begun so far, each of which attends to the prompt
and to the tokens of its own clue alone. A token is computed once, whichever beams and groups come
by; nothing is copied when beams are chosen anew; and where the documents leave a clue a single
continuation, all of it is computed in one pass, before the search has come there. The search itself
goes on token by token over what is known, so that it finds what it would find otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemkr_hf.decoding.clue import Clue
from gemkr_hf.decoding.clue_pieces import Scope
from gemkr_hf.decoding.clue_rules import ClueRules
from gemkr_hf.decoding.clue_tree import Node
from gemkr_hf.decoding.search_trace import SearchTrace
from gemkr_hf.decoding.tree_attention import make_engine, on
from gemkr_hf.index import Intervals
from gemkr_hf.utils.deprecation import renamed_attributes

Int64 = NDArray[np.int64]


@dataclass
class _Query:
    """The open beams of each group, with what they are chosen by, and the best finished clues.

    documents : in a search for documents, the best score of each that was found, by its row.
    computed : all nodes of which it is known what may follow.
    known, fruitless : documents found when clues were last begun anew to some effect, and clues
        that were begun since.
    """

    root: Node
    beams: list[list[tuple[Node, float]]]
    trace: SearchTrace | None
    found: list[Node] = field(default_factory=list)
    documents: dict[int, float] = field(default_factory=dict)
    computed: list[Node] = field(default_factory=list)
    known: int = 0
    fruitless: int = 0
    steps: int = 0
    done: bool = False


class TreeSearch:
    """Diverse beam search for a batch of queries, over one model and one constraint.

    A model that `supports_tree_attention` computes every token once; any other causal language
    model computes the open clues of each pass behind copies of the prompt's keys and values, and
    finds the same.

    Args:
        model: a causal language model, or a GeMKR of one.
        constraint: FMIndexConstraint or ClueRules.
        num_beams, num_beam_groups, diversity_penalty, score_eos: as `DiverseBeamSearch` has them.
        wanted: most clues to keep for each query; in a search for documents, most documents.
        documents: search for different documents instead of clues: where the beams have ended
            before `wanted` documents are found, the search begins again from the best of what was
            not chosen.
        merge_clues: in a search for documents, follow all beams to their ends, so that all clues of
            a document can be counted together. Otherwise a beam within a document that is found
            already makes room for others, and the search ends when no beam can change the `wanted`
            best documents.
        max_pieces: in a search for documents, pieces that a clue may have: where a piece with
            `max_length` tokens is still of several documents (at most 64), another one is begun
            behind the prompt that only these documents hold, until a single one holds them all.
        patience: in a search for documents, clues that are begun anew in a row without a new
            document before the search gives up: there may be fewer documents that a clue can tell
            from all others than are wanted.
        static_cache, compile: as `TreeAttention` has them.

    Raises:
        ValueError: if a number is out of range, or the model is none for `static_cache` or
            `compile`.
    """

    def __init__(
        self,
        model: Any,
        constraint: Any,
        num_beams: int = 20,
        num_beam_groups: int = 4,
        diversity_penalty: float = 0.5,
        wanted: int = 20,
        documents: bool = False,
        merge_clues: bool = True,
        max_pieces: int = 1,
        patience: int = 512,
        score_eos: bool = False,
        static_cache: bool = False,
        compile: bool | Mapping[str, Any] = False,
    ) -> None:
        for name, value in (
            ("num_beams", num_beams), ("num_beam_groups", num_beam_groups), ("wanted", wanted),
            ("max_pieces", max_pieces),
        ):  # fmt: skip
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        if num_beams % num_beam_groups != 0:
            raise ValueError(
                f"num_beams={num_beams} must be a multiple of num_beam_groups={num_beam_groups}."
            )
        if diversity_penalty < 0:
            raise ValueError(f"diversity_penalty must not be negative, but is {diversity_penalty}.")
        if max_pieces > 1 and not documents:
            raise ValueError("max_pieces above 1 needs documents=True: pieces name a document")
        self.rules: ClueRules = getattr(constraint, "rules", constraint)
        if max_pieces > 1 and self.rules.whole:
            raise ValueError("A whole document has one piece: leave max_pieces at 1")
        self.model = model
        self.engine = make_engine(model, static_cache, compile)
        self.index = self.rules.index
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        if self.rules.ends[-1] >= self.vocab_size:
            raise ValueError(
                f"The end token {self.rules.ends[-1]} is not in the model's vocabulary of "
                f"{self.vocab_size}: the constraint was made with another tokenizer"
            )
        self.num_groups = num_beam_groups
        self.width = num_beams // num_beam_groups
        self.penalty = diversity_penalty
        self.wanted = wanted
        self.documents = documents
        self.merge_clues = merge_clues
        self.max_pieces = max_pieces
        self.patience = patience
        self.score_eos = score_eos
        self.traces: list[SearchTrace] = []
        self._ends = frozenset(self.rules.ends.tolist())

    @torch.no_grad()
    def run(
        self, inputs: Mapping[str, torch.Tensor], return_trace: bool = False
    ) -> list[list[Clue]]:
        """Search.

        Args:
            inputs: the model's: `input_ids` (batch, length) int64, padded on the left, its
                `attention_mask`, and whatever else the prompt needs.
            return_trace: keep what each step saw and chose in `traces`, a `SearchTrace` a query.

        Returns:
            The clues of each query, best first.
        """
        queries = self._prefill(inputs, return_trace)
        while open_queries := [query for query in queries if not query.done]:
            self.engine.keep([query.root.query for query in open_queries])
            nodes = {
                id(node): node
                for query in open_queries
                for group in query.beams
                for node, _ in group
                if node.gains is None
            }
            self._expand(list(nodes.values()))
            chosen = [self._advance(query) for query in open_queries]
            self._look_up([node for nodes in chosen for node in nodes])
            while open_queries:
                for query in open_queries:
                    self._collect(query)
                # What takes a free place may be finished at once, and free it again.
                refilled = [(query, self._refill(query)) for query in open_queries]
                self._look_up([node for _, nodes in refilled for node in nodes])
                open_queries = [query for query, nodes in refilled if nodes]
        self.traces = [query.trace for query in queries if query.trace is not None]
        for query in queries:
            if query.trace is not None:
                query.trace.finish(query.found)
        return [[self._as_found(node) for node in query.found] for query in queries]

    def _as_found(self, node: Node) -> Clue:
        pieces = node.pieces()
        if node.token in self._ends:
            pieces = (*pieces[:-1], pieces[-1][:-1])
        late = 0 if self.rules.whole else max(0, len(pieces[0]) - self.rules.min_length)
        log_prob = node.score + late * self.rules.ambiguity_penalty
        return Clue(pieces, node.score, log_prob, group=node.group, row=node.row)

    # -- what the model and the index say ----------------------------------------------------------

    def _prefill(self, inputs: Mapping[str, torch.Tensor], trace: bool) -> list[_Query]:
        logits = self.engine.prefill(inputs)
        begin = self.rules.begin()
        # The empty clue is followed by the same tokens in every query.
        first = self.rules.next(begin, np.zeros(1, np.int64), self.vocab_size)
        self._queries = []
        for query in range(len(logits)):
            root = Node(query, None, -1, 0.0)
            root.lower, root.upper = begin.lower[:, 0], begin.upper[:, 0]
            root.following = first.tokens
            beams = [[(root, 0.0)] for _ in range(self.num_groups)]
            kept = SearchTrace(root) if trace else None
            self._queries.append(_Query(root, beams, kept, done=len(first.tokens) == 0))
        if len(first.tokens):
            self._score(logits, [query.root for query in self._queries])
        return self._queries

    def _look_up(self, nodes: Sequence[Node]) -> None:
        """Where new nodes' clues stand in the documents, and what may follow them."""
        indexed = []
        for node in nodes:
            if len(node.lower) or len(node.places) or node.found or node.token < 0:
                continue
            if node.token in self._ends:
                node.found = True
                if self.rules.whole and self.documents:
                    node.row = int(self._rows_of([node.parent])[0])  # type: ignore[list-item]
            elif node.scope is not None:
                self._look_up_in_scope(node, node.scope)
            else:
                indexed.append(node)
        if not indexed:
            return
        before = _intervals([node.parent for node in indexed])  # type: ignore[misc]
        intervals = self.index.extend(before, np.array([node.token for node in indexed]))
        depths = np.array([node.depth for node in indexed])
        following = self.rules.next(intervals, depths, self.vocab_size)
        for number, node in enumerate(indexed):
            node.lower, node.upper = intervals.lower[:, number], intervals.upper[:, number]
            start, end = following.offsets[number : number + 2]
            node.following = following.tokens[start:end]
            self._close(node, bool(following.ended[number]), bool(following.dropped[number]))
        if self.documents and not self.rules.whole:
            several = [node for node in indexed if node.row < 0]
        else:
            several = [node for node in indexed if self.documents and node.found]
        if several:
            for node, row in zip(several, self._rows_of(several).tolist(), strict=True):
                node.row = row
                if node.found and row < 0 and self.rules.keep_ambiguous:
                    node.row = self.rules.first_row_of(node.tokens())

    def _look_up_in_scope(self, node: Node, scope: Scope) -> None:
        before = node.parent.places  # type: ignore[union-attr]
        node.places = scope.extend(before, node.token)
        holding = scope.holding(node.places)
        node.row = int(holding[0]) if len(holding) == 1 else -1
        ended, node.following = self.rules.next_of_piece(
            scope, node.places, node.depth, self.vocab_size
        )
        self._close(node, ended and node.row >= 0, ended and node.row < 0)

    def _close(self, node: Node, ended: bool, dropped: bool) -> None:
        node.dropped = dropped
        if ended and self.score_eos:
            node.following = self.rules.ends
        else:
            node.found = ended
        if node.found or dropped:
            node.following = node.following[:0]

    def _rows_of(self, nodes: Sequence[Node]) -> Int64:
        clues = [node.tokens() for node in nodes] if self.rules.whole else []
        return self.rules.rows_of(_intervals(nodes), clues)

    def _expand(self, nodes: Sequence[Node]) -> None:
        """Compute these nodes, and those that must follow them, in one pass."""
        needed = list(nodes)
        order: list[Node] = []
        while nodes:
            order += nodes
            forced = [
                node.child(int(node.following[0])) for node in nodes if len(node.following) == 1
            ]
            self._look_up(forced)
            nodes = [node for node in forced if len(node.following) and node.gains is None]
        if self.rules.renormalize:
            # What is certain needs no model, until something else depends on it.
            for node in order:
                if len(node.following) == 1:
                    self._set_gains(node, np.zeros(1, dtype=np.float32))
            order = [node for node in order if node.gains is None]
        elif order and len(self._queries) > 1:
            order = _evened_out(order, needed)
        if order:
            pending = [node for last in order for node in last.piece() if not node.computed]
            unique = list({id(node): node for node in pending}.values())
            at = {id(node): place for place, node in enumerate(unique)}
            logits = self.engine.compute(unique)
            if unique != order:
                rows = np.array([at[id(node)] for node in order])
                logits = logits[on(rows, logits.device)]
            self._score(logits, order)

    def _score(self, logits: torch.Tensor, nodes: Sequence[Node]) -> None:
        """What each token that may follow these nodes adds to a clue's score."""
        sizes = np.array([len(node.following) for node in nodes])
        rows = np.repeat(np.arange(len(nodes)), sizes)
        at = on(np.stack([rows, np.concatenate([node.following for node in nodes])]), logits.device)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        allowed, total = logits[at[0], at[1]], torch.logsumexp(logits, dim=-1)
        parts = [allowed - total[at[0]]]
        if self._queries[0].trace is not None:
            parts += [total - (logits.softmax(-1) * logits).sum(-1)]
        values = torch.cat(parts).cpu().numpy()  # the one time that the device is waited for
        cuts = np.cumsum(sizes)
        log_probs, entropies = values[: cuts[-1]], values[cuts[-1] :]
        for number, node in enumerate(nodes):
            part = log_probs[cuts[number] - sizes[number] : cuts[number]]
            if len(entropies):
                node.entropy = float(entropies[number])
                node.dropped_mass = max(0.0, 1.0 - float(np.exp(part.astype(np.float64)).sum()))
            if self.rules.renormalize:
                part = part - np.logaddexp.reduce(part) if len(part) > 1 else np.zeros_like(part)
            self._set_gains(node, part)

    def _set_gains(self, node: Node, log_probs: NDArray[np.floating]) -> None:
        node.gains = log_probs
        ends = int(node.following[0]) in self._ends
        if node.scope is None and not ends and self.rules.ambiguity_penalty > 0:
            cost = self.rules.penalty(np.array([node.depth]))
            node.gains = log_probs - cost.astype(log_probs.dtype)
        self._queries[node.query].computed.append(node)
        if len(log_probs) == 1 and node.children:
            # It was begun before its score was known.
            self._child(node, 0)

    def _child(self, node: Node, place: int) -> Node:
        """The node of a token that may follow, with its score."""
        child = node.child(int(node.following[place]))
        child.score = node.score + float(_gains(node)[place])
        return child

    # -- the search --------------------------------------------------------------------------------

    def _advance(self, query: _Query) -> list[Node]:
        """Append a token to every beam, group after group; the new nodes."""
        used: dict[int, int] = {}
        new: list[Node] = []
        seen = [[node for node, _ in beams] for beams in query.beams]
        for number, beams in enumerate(query.beams):
            if not beams:
                continue
            sizes = [len(_gains(node)) for node, _ in beams]
            guides = np.concatenate([guide + _gains(node) for node, guide in beams])
            if used and self.penalty > 0:
                tokens = np.concatenate([node.following for node, _ in beams])
                for token, times in used.items():
                    guides[tokens == token] -= self.penalty * times
            # As in core: of the best (1 + end tokens) * width, those that end and are among the
            # first `width` are finished, and the best that do not end go on.
            best = largest(guides, max(2, 1 + len(self.rules.ends)) * self.width)
            starts = np.cumsum([0, *sizes])
            owners = np.searchsorted(starts, best, side="right") - 1
            going_on: list[tuple[Node, float]] = []
            ended: list[tuple[Node, float]] = []
            for rank, (place, owner) in enumerate(zip(best.tolist(), owners.tolist(), strict=True)):
                node = beams[owner][0]
                at = place - int(starts[owner])
                ends = int(node.following[at]) in self._ends
                if (ends and rank >= self.width) or (not ends and len(going_on) == self.width):
                    continue
                child = self._child(node, at)
                if child.group < 0:
                    child.group, child.step = number, query.steps
                (ended if ends else going_on).append((child, float(guides[place])))
            for child, _ in going_on:
                used[child.token] = used.get(child.token, 0) + 1
            query.beams[number] = going_on + ended
            new += [child for child, _ in query.beams[number]]
        query.steps += 1
        if query.trace is not None:
            query.trace.add_step(seen, query.beams)
        return new

    def _collect(self, query: _Query) -> None:
        """Take finished clues out of the beams, and see whether the search can find any better."""
        for number, beams in enumerate(query.beams):
            going_on = []
            for node, guide in beams:
                if node.found and node.row < 0 and self.documents:
                    continue
                if node.found:
                    self._keep_found(query, node)
                elif not node.dropped:
                    going_on.append((node, guide))
                elif (piece := self._next_piece(query, node)) is not None:
                    going_on.append((piece, guide))
            query.beams[number] = going_on
        query.found.sort(key=lambda node: -node.score)
        if self.documents:
            last = self._keep_documents(query)
        else:
            del query.found[self.wanted :]
            full = len(query.found) >= self.wanted
            last = query.found[-1].score if full else -np.inf
        best = max((node.score for beams in query.beams for node, _ in beams), default=-np.inf)
        query.done = best <= last

    def _keep_found(self, query: _Query, node: Node) -> None:
        """Keep a finished clue once, by its better score where it ended in several ways."""
        for place, known in enumerate(query.found):
            both_end = node.token in self._ends and known.token in self._ends
            if node is known or (both_end and node.parent is known.parent):
                if node.score > known.score:
                    query.found[place] = node
                return
        query.found.append(node)

    def _next_piece(self, query: _Query, node: Node) -> Node | None:
        """Where a clue whose pieces several documents hold goes on; None if it is given up."""
        if node.num_pieces() >= self.max_pieces:
            return None
        if (known := node.children.get(-1)) is not None:
            return known
        if node.scope is None:
            scope = Scope.of_piece(self.index, node.tokens())
        else:
            scope = Scope.of_documents(self.index, node.scope.holding(node.places))
        if scope is None:
            return None
        piece = Node(node.query, node, -1, node.score)
        piece.scope, piece.places = scope, scope.begin()
        piece.group, piece.step = node.group, query.steps
        # The model writes a further piece as it would write the first, among fewer tokens.
        root = query.root
        _, begins = self.rules.next_of_piece(scope, piece.places, 0, self.vocab_size)
        following, _, at = np.intersect1d(
            begins, root.following, assume_unique=True, return_indices=True
        )
        if len(following) == 0:
            return None
        piece.following, gains = following, _gains(root)[at]
        if self.rules.renormalize:
            gains = gains - np.logaddexp.reduce(gains)
        node.children[-1] = piece
        self._set_gains(piece, gains)
        return piece

    def _keep_documents(self, query: _Query) -> float:
        """See which documents are found; the score that a clue has to beat to change that."""
        query.documents = {}
        for node in query.found:
            query.documents.setdefault(node.row, node.score)
        if self.merge_clues:
            return -np.inf
        query.documents = dict(list(query.documents.items())[: self.wanted])
        query.found = [node for node in query.found if node.row in query.documents]
        query.beams = [
            [
                (node, guide)
                for node, guide in beams
                # Only a better clue of a document that is found can still change anything.
                if node.score > query.documents.get(node.row, -np.inf)
            ]
            for beams in query.beams
        ]
        full = len(query.documents) >= self.wanted
        return min(query.documents.values()) if full else -np.inf

    def _refill(self, query: _Query) -> list[Node]:
        """Begin again from the best of what was not chosen where all beams have ended before as
        many documents were found as are wanted; the nodes that were put there."""
        missing = self.wanted - len(query.documents)
        if not self.documents or missing <= 0 or any(query.beams):
            return []
        if len(query.documents) > query.known:
            query.known, query.fruitless = len(query.documents), 0
        if query.fruitless >= self.patience:
            return []
        # Not fewer than there are beams: some will run into documents that are found.
        places_left = self.num_groups * self.width
        nodes = [node for node in query.computed if node.row not in query.documents]
        scores: list[NDArray[np.floating]] = [np.empty(0)]
        places = [np.empty((0, 2), np.int64)]
        for number, node in enumerate(nodes):
            values = node.score + _gains(node)
            for token, child in node.children.items():
                if child.group >= 0:
                    values[node.following == token] = -np.inf
            best = largest(values, places_left)
            best = best[values[best] > -np.inf]
            scores.append(values[best])
            places.append(np.stack([np.full(len(best), number), best], axis=1))
        at = np.concatenate(places)
        new = []
        for choice in largest(np.concatenate(scores), places_left).tolist():
            number, place = at[choice].tolist()
            child = self._child(nodes[number], place)
            child.group = min(range(self.num_groups), key=lambda group: len(query.beams[group]))
            child.step = query.steps
            query.beams[child.group].append((child, child.score))
            new.append(child)
        query.fruitless += len(new)
        if new:
            query.done = False
            query.steps += 1
            if query.trace is not None:
                query.trace.add_step([[]] * self.num_groups, query.beams)
        return new


def _evened_out(order: Sequence[Node], needed: Sequence[Node]) -> list[Node]:
    """As many nodes of each query as a pass has room for without padding the others much.

    A pass is as wide as the query with most nodes. What is needed now is computed now; of what must
    follow, every query computes as much as fits into what the queries need on average.
    """
    waiting = Counter(node.query for node in order)
    width = max(max(Counter(node.query for node in needed).values()), len(order) // len(waiting))
    room = dict.fromkeys(waiting, width)
    kept = []
    for node in order:  # parents stand before their children
        if room[node.query] > 0:
            room[node.query] -= 1
            kept.append(node)
    return kept


def _intervals(nodes: Sequence[Node]) -> Intervals:
    return Intervals(
        np.stack([node.lower for node in nodes], axis=1),
        np.stack([node.upper for node in nodes], axis=1),
    )


def _gains(node: Node) -> NDArray[np.floating]:
    assert node.gains is not None
    return node.gains


def largest(values: NDArray[np.floating], number: int) -> Int64:
    """Places of the largest values, in descending order, the first among equals first."""
    if len(values) > number:
        least = np.partition(values, len(values) - number)[len(values) - number]
        places = np.flatnonzero(values >= least)
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")][:number]


__getattr__ = renamed_attributes(__name__, {"FoundClue": "gemkr_hf.decoding.clue:Clue"})

__all__ = ["TreeSearch", "largest"]
