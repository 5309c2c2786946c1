"""Scores of constrained beams: the tokens that the index allows, and their log-probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemkr_hf.decoding.clue_rules import ClueRules
from gemkr_hf.decoding.clue_tree import Node
from gemkr_hf.decoding.device import to_device
from gemkr_hf.decoding.tree_attention import Engine, make_engine
from gemkr_hf.index import Intervals
from gemkr_hf.modeling.generation_gemkr import CACHE, GenerateCall, Query

Int64 = NDArray[np.int64]


class TreeScorer:
    """A `BeamScorer` over the tree of clues: what beams share is computed once.

    A beam search with a row of keys and values per beam copies the prompt for each beam, and
    computes the beginning of a clue for each beam that shares it. Here a query has one row: its
    prompt, then the tokens of all clues so far, each of which attends to the prompt and to its own
    clue only. A token is computed once, even if several beams or groups reach it; nothing is copied
    when beams change; and where the documents allow only one continuation (a forced one), it is
    computed to its end in one pass, ahead of the search.

    `model.generate(**inputs, scorer=TreeScorer(kb.constraint()))` finds what
    `logits_processor=kb.constraint()` finds, in about half the time.

    Args:
        constraint: FMIndexConstraint or ClueRules.
        static_cache: see `TreeAttention`.
        compile: see `TreeAttention`.
        score_eos: see `DiverseBeamSearch`, whose value `generate` uses.
        find_documents: set the `row` of all nodes, not only of whole documents.
        measure: set the `entropy` and `dropped_mass` of all nodes.
    """

    def __init__(
        self,
        constraint: Any,
        static_cache: bool = False,
        compile: bool | Mapping[str, Any] = False,
        score_eos: bool = False,
        find_documents: bool = False,
        measure: bool = False,
    ) -> None:
        self.rules: ClueRules = getattr(constraint, "rules", constraint)
        self.tokenizer_fingerprint = getattr(constraint, "tokenizer_fingerprint", None)
        self.prompt_length = getattr(constraint, "prompt_length", None)
        self.score_eos = score_eos
        self.find_documents = find_documents
        self.measure = measure
        self._engine_options = (static_cache, compile)
        self._model: Any = None
        self.engine: Engine

    @property
    def max_length(self) -> int:
        """Longest clue in tokens, without the end token."""
        return self.rules.max_length

    @property
    def num_ends(self) -> int:
        """Number of different end tokens."""
        return len(self.rules.ends)

    # -- BeamScorer ----------------------------------------------------------------------------

    def prefill(self, call: GenerateCall) -> list[Node]:
        """See `BeamScorer`.

        Raises:
            ValueError: if `generate` was called with an option that needs a row per beam.
        """
        length = call.input_ids.shape[1]
        outputs = ("scores", "logits", "attentions", "hidden_states")
        unsupported = {
            "logits processors, also those of generation settings": call.logits_processor,
            "stopping criteria": call.extra_criteria(),
            "output_" + "/".join(outputs): any(call.wants(name) for name in outputs),
            "use_cache=False": not call.model_kwargs.get("use_cache", True),
            "a static cache": getattr(call.model_kwargs.get(CACHE), "is_compileable", False),
            "inputs_embeds alone": length == 0,
            f"clues shorter than max_length={self.max_length} and an end token": (
                call.generation_config.max_length <= length + self.max_length
            ),
            "a clue that begins in the prompt": self.prompt_length not in (None, length),
        }
        for what, given in unsupported.items():
            if given:
                raise ValueError(
                    f"TreeScorer does not support {what}: leave it out, or pass the constraint as "
                    "logits_processor and no scorer"
                )
        self.score_eos = call.search.score_eos
        self.bind(call.model)
        inputs = call.model.prepare_inputs_for_generation(
            call.input_ids, is_first_iteration=True, **call.model_kwargs
        )
        return self.begin(inputs)

    def score(self, queries: Sequence[Query]) -> None:
        """See `BeamScorer`."""
        self.engine.keep([query.number for query in queries])
        nodes = {
            id(node): node
            for query in queries
            for beams in query.beams
            for node, _ in beams
            if node.log_probs is None
        }
        self._expand(list(nodes.values()))

    def ends(self, choices: Sequence[tuple[Node, int]]) -> list[bool]:
        """See `BeamScorer`."""
        return [int(node.following[position]) in self._ends for node, position in choices]

    def advance(self, hypotheses: Sequence[Node]) -> None:
        """Look up nodes in the index: whether a clue ends there, and what may follow."""
        indexed = []
        for node in hypotheses:
            if node.token in self._ends:
                node.finished = True
                if self.rules.whole_documents and self.find_documents:
                    node.row = int(self._rows_of([node.parent])[0])
            elif len(node.lower) or len(node.positions) or node.token < 0:
                continue  # looked up already
            elif node.scope is not None:
                self._look_up_in_scope(node)
            else:
                indexed.append(node)
        if not indexed:
            return
        before = _intervals([node.parent for node in indexed])
        intervals = self.rules.index.extend(before, np.array([node.token for node in indexed]))
        depths = np.array([node.depth for node in indexed])
        following = self.rules.next(intervals, depths, self.vocab_size)
        for number, node in enumerate(indexed):
            node.lower, node.upper = intervals.lower[:, number], intervals.upper[:, number]
            start, end = following.offsets[number : number + 2]
            node.following = following.tokens[start:end]
            self._finish(node, bool(following.ended[number]), bool(following.dropped[number]))
        if not self.find_documents:
            return
        if self.rules.whole_documents:
            unknown = [node for node in indexed if node.finished]
        else:
            unknown = [node for node in indexed if node.row < 0]
        if unknown:
            for node, row in zip(unknown, self._rows_of(unknown).tolist(), strict=True):
                node.row = row
                if node.finished and row < 0 and self.rules.keep_ambiguous:
                    node.row = self.rules.first_row_of(node.token_ids())

    # -- the model and the index ---------------------------------------------------------------

    def bind(self, model: Any) -> None:
        """Set the model that computes the scores.

        Raises:
            ValueError: if the model does not support a requested static cache or compilation, or
                its vocabulary lacks an end token.
        """
        if model is self._model:
            return
        self.engine = make_engine(model, *self._engine_options)
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self._ends = frozenset(self.rules.ends.tolist())
        if self.rules.ends[-1] >= self.vocab_size:
            raise ValueError(
                f"The end token {self.rules.ends[-1]} is not in the model's vocabulary of "
                f"{self.vocab_size}: the constraint was made with another tokenizer"
            )
        self._model = model

    def begin(self, inputs: Mapping[str, torch.Tensor]) -> list[Node]:
        """Compute prompts; returns the roots, one per query."""
        logits = self.engine.prefill(inputs)
        begin = self.rules.begin()
        # The empty clue is followed by the same tokens in every query.
        first = self.rules.next(begin, np.zeros(1, np.int64), self.vocab_size)
        roots = []
        for query in range(len(logits)):
            root = Node(query, None, -1, 0.0)
            root.lower, root.upper = begin.lower[:, 0], begin.upper[:, 0]
            root.following = first.tokens
            root.dropped = len(first.tokens) == 0
            roots.append(root)
        # All nodes of a query whose log-probabilities are known, in their order.
        self.scored: list[list[Node]] = [[] for _ in roots]
        if len(first.tokens):
            self._score_from_logits(logits, roots)
        return roots

    def _look_up_in_scope(self, node: Node) -> None:
        scope = node.scope
        assert scope is not None
        node.positions = scope.extend(node.parent.positions, node.token)
        rows = scope.rows_with(node.positions)
        node.row = int(rows[0]) if len(rows) == 1 else -1
        ended, node.following = self.rules.next_of_piece(
            scope, node.positions, node.depth, self.vocab_size
        )
        self._finish(node, ended and node.row >= 0, ended and node.row < 0)

    def _finish(self, node: Node, ended: bool, dropped: bool) -> None:
        node.dropped = dropped
        if ended and self.score_eos:
            node.following = self.rules.ends
        elif ended:
            node.finished, node.end = True, int(self.rules.eos_token_ids[0])
        if node.finished or dropped:
            node.following = node.following[:0]

    def _rows_of(self, nodes: Sequence[Node]) -> Int64:
        clues = [node.token_ids() for node in nodes] if self.rules.whole_documents else []
        return self.rules.rows_of(_intervals(nodes), clues)

    def _expand(self, nodes: Sequence[Node]) -> None:
        """Compute nodes, and the forced nodes after them, in one pass of the model.

        A node that allows a single token forces its only child, which is computed in advance.
        """
        needed = list(nodes)
        order: list[Node] = []
        while nodes:
            order += nodes
            forced = [node.unscored_child(0) for node in nodes if len(node.following) == 1]
            self.advance(forced)
            nodes = [node for node in forced if len(node.following) and node.log_probs is None]
        if self.rules.renormalize:
            # Renormalized, a forced token has probability 1. The model computes it when a later
            # token needs it.
            for node in order:
                if len(node.following) == 1:
                    self.set_log_probs(node, np.zeros(1, dtype=np.float32))
            order = [node for node in order if node.log_probs is None]
        elif order and len(self.scored) > 1:
            order = _balanced(order, needed)
        if order:
            pending = [node for last in order for node in last.piece() if not node.computed]
            unique = list({id(node): node for node in pending}.values())
            row_of = {id(node): row for row, node in enumerate(unique)}
            logits = self.engine.compute(unique)
            if unique != order:
                rows = np.array([row_of[id(node)] for node in order])
                logits = logits[to_device(rows, logits.device)]
            self._score_from_logits(logits, order)

    def _score_from_logits(self, logits: torch.Tensor, nodes: Sequence[Node]) -> None:
        """Set the log-probabilities of the tokens that may follow these nodes, from the logits."""
        sizes = np.array([len(node.following) for node in nodes])
        rows = np.repeat(np.arange(len(nodes)), sizes)
        tokens = np.concatenate([node.following for node in nodes])
        indices = to_device(np.stack([rows, tokens]), logits.device)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        allowed, total = logits[indices[0], indices[1]], torch.logsumexp(logits, dim=-1)
        parts = [allowed - total[indices[0]]]
        if self.measure:
            parts += [total - (logits.softmax(-1) * logits).sum(-1)]
        values = torch.cat(parts).cpu().numpy()  # the only synchronization with the device
        offsets = np.cumsum(sizes)
        log_probs, entropies = values[: offsets[-1]], values[offsets[-1] :]
        for number, node in enumerate(nodes):
            part = log_probs[offsets[number] - sizes[number] : offsets[number]]
            if self.measure:
                node.entropy = float(entropies[number])
                node.dropped_mass = max(0.0, 1.0 - float(np.exp(part.astype(np.float64)).sum()))
            if self.rules.renormalize:
                part = part - np.logaddexp.reduce(part) if len(part) > 1 else np.zeros_like(part)
            self.set_log_probs(node, part)

    def set_log_probs(self, node: Node, log_probs: NDArray[np.floating]) -> None:
        """Set the log-probabilities of the tokens that may follow, minus the ambiguity penalty."""
        node.log_probs = log_probs
        ends = int(node.following[0]) in self._ends
        if node.scope is None and not ends and self.rules.ambiguity_penalty > 0:
            cost = self.rules.penalty(np.array([node.depth]))
            node.log_probs = log_probs - cost.astype(log_probs.dtype)
        self.scored[node.query].append(node)
        if len(log_probs) == 1 and node.children:
            node.child(0)  # it was looked up before its score was known


def _balanced(order: Sequence[Node], needed: Sequence[Node]) -> list[Node]:
    """Select the nodes of a pass so that the queries of the batch need little padding.

    A pass is as wide as the query with most nodes. All needed nodes are selected, and forced nodes
    up to the width: the maximum of the needed nodes of a query and the mean of its nodes.
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


__all__ = ["TreeScorer"]
