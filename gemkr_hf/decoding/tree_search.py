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

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemkr_hf.decoding.constraint import FMIndexConstraint
from gemkr_hf.index import Intervals

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class FoundClue:
    """A finished clue.

    Attributes
    ----------
    tokens : its token ids, without an end token.
    score : sum of the log-probabilities of its tokens (Eq. 1).
    group : the group of beams that found it first.
    row : the document that alone holds it, in a search for documents; else -1.
    """

    tokens: tuple[int, ...]
    score: float
    group: int
    row: int = -1


class _Node:
    """A token of a clue that was begun; the root is a query's empty clue."""

    __slots__ = (
        "children", "columns", "depth", "ends", "following", "group", "log_probs", "lower",
        "parent", "query", "row", "score", "token", "upper",
    )  # fmt: skip

    def __init__(self, query: int, parent: _Node | None, token: int, score: float) -> None:
        self.query = query
        self.parent = parent
        self.token = token
        self.score = score
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.ends = False
        # Where its clue stands in the index, int64[shards] each.
        self.lower: Int64 = np.empty(0, np.int64)
        self.upper: Int64 = np.empty(0, np.int64)
        # Where behind the prompt the keys and values of its clue's tokens are; empty: not computed.
        self.columns: tuple[int, ...] = ()
        self.children: dict[int, _Node] = {}
        # What may follow, and the log-probabilities of that.
        self.following: Int64 | None = None
        self.log_probs: NDArray[np.float32] | None = None
        self.group = -1
        # The one document that holds its clue; -1 where there are several, or it was not looked up.
        self.row: int = -1 if parent is None else parent.row

    def clue(self) -> tuple[int, ...]:
        """The tokens from the root to here."""
        node, tokens = self, []
        while node.parent is not None:
            tokens.append(node.token)
            node = node.parent
        return tuple(reversed(tokens))


@dataclass
class _Query:
    """The open beams of each group, with what they are chosen by, and the best finished clues.

    documents : in a search for documents, the best score of each that was found, by its row.
    computed : all nodes of which it is known what may follow.
    """

    beams: list[list[tuple[_Node, float]]]
    found: list[_Node] = field(default_factory=list)
    documents: dict[int, float] = field(default_factory=dict)
    computed: list[_Node] = field(default_factory=list)
    refills: int = 0
    done: bool = False


class TreeSearch:
    """Diverse beam search for a batch of queries, over one model and one constraint.

    Parameters
    ----------
    model : a causal language model with full attention that takes `position_ids`, or a GeMKR of one
    constraint : FMIndexConstraint
    num_beams, num_beam_groups, diversity_penalty
        As `DiverseBeamSearch` has them.
    wanted : int
        Most clues to keep for each query; in a search for documents, most documents.
    documents : bool
        Search for different documents instead of clues: clues that several documents hold are
        dropped, and where the beams have ended before `wanted` documents are found, the search
        begins again from the best of what was not chosen.
    merge_clues : bool
        In a search for documents, follow all beams to their ends, so that all clues of a document
        can be counted together. Otherwise a beam within a document that is found already makes room
        for others, and the search ends when no beam can change the `wanted` best documents.
    max_refills : int
        How often, at most, beams that ran out are replaced: a knowledge base may hold fewer
        documents that a clue can tell from all others than are wanted.

    Raises
    ------
    ValueError
        If the model is none that `supports_tree_search`.
    """

    def __init__(
        self,
        model: Any,
        constraint: FMIndexConstraint,
        num_beams: int = 20,
        num_beam_groups: int = 4,
        diversity_penalty: float = 0.5,
        wanted: int = 20,
        documents: bool = False,
        merge_clues: bool = True,
        max_refills: int = 32,
    ) -> None:
        if not supports_tree_search(model):
            raise ValueError(
                f"{type(model).__name__} cannot search a tree: it needs full attention by sdpa or "
                "eager; use diverse_beam_search."
            )
        self.model = model
        self.constraint = constraint
        self.index = constraint.index
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self.num_groups = num_beam_groups
        self.width = num_beams // num_beam_groups
        self.penalty = diversity_penalty
        self.wanted = wanted
        self.documents = documents
        self.merge_clues = merge_clues
        self.max_refills = max_refills

    @torch.no_grad()
    def run(self, inputs: Mapping[str, torch.Tensor]) -> list[list[FoundClue]]:
        """Search; `inputs` are the model's, with prompts padded on the left."""
        queries = self._prefill(inputs)
        while open_queries := [query for query in queries if not query.done]:
            nodes = {
                id(node): node
                for query in open_queries
                for group in query.beams
                for node, _ in group
                if node.log_probs is None
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
        return [
            [FoundClue(node.clue(), node.score, node.group, node.row) for node in query.found]
            for query in queries
        ]

    # -- what the model and the index say ----------------------------------------------------------

    def _prefill(self, inputs: Mapping[str, torch.Tensor]) -> list[_Query]:
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        self.prompt_mask = (torch.ones_like(ids) if mask is None else mask).bool()
        self.prompt_lengths: list[int] = self.prompt_mask.sum(1).tolist()
        # Positions count from each prompt's first token.
        positions = (self.prompt_mask.long().cumsum(1) - 1).clamp_min(0)
        arguments = {"position_ids": positions, **inputs}
        outputs = self.model(**arguments, use_cache=True, logits_to_keep=1, return_dict=True)
        self.cache = outputs.past_key_values
        self.num_columns = 0
        root = self.index.root()
        roots = []
        for query in range(len(ids)):
            node = _Node(query, None, -1, 0.0)
            node.lower, node.upper = root.lower[:, 0], root.upper[:, 0]
            roots.append(node)
        # The empty clue is followed by the same tokens in every query.
        roots[0].following = self._following(roots[:1])[0]
        for node in roots:
            node.following = roots[0].following
        self._queries = [_Query([[(node, 0.0)] for _ in range(self.num_groups)]) for node in roots]
        self._score(outputs.logits[:, -1], roots)
        return self._queries

    def _following(self, nodes: Sequence[_Node]) -> list[Int64]:
        """The tokens that may follow each of the nodes (GetNext)."""
        intervals = Intervals(
            np.stack([node.lower for node in nodes], axis=1),
            np.stack([node.upper for node in nodes], axis=1),
        )
        offsets, tokens = self.index.successors(intervals)
        parts = np.split(tokens.astype(np.int64), offsets[1:-1])
        return [part[self.constraint.is_writable(part, self.vocab_size)] for part in parts]

    def _look_up(self, nodes: Sequence[_Node]) -> None:
        """Where new nodes' clues stand in the index, and whether they must end there."""
        new = [node for node in nodes if len(node.lower) == 0]
        if not new:
            return
        before = Intervals(
            np.stack([node.parent.lower for node in new], axis=1),  # type: ignore[union-attr]
            np.stack([node.parent.upper for node in new], axis=1),  # type: ignore[union-attr]
        )
        intervals = self.index.extend(before, np.array([node.token for node in new]))
        depths = np.array([node.depth for node in new])
        ends = self.constraint.must_end(intervals, depths)
        open_nodes = []
        for number, node in enumerate(new):
            node.lower, node.upper = intervals.lower[:, number], intervals.upper[:, number]
            node.ends = bool(ends[number])
            if not node.ends:
                open_nodes.append(node)
        if self.documents:
            several = [number for number, node in enumerate(new) if node.row < 0]
            rows = self.index.document_of(intervals.take(np.array(several, dtype=np.int64)))
            for number, row in zip(several, rows.tolist(), strict=True):
                new[number].row = row
        if open_nodes:
            for node, following in zip(open_nodes, self._following(open_nodes), strict=True):
                node.following = following
                node.ends = len(following) == 0  # its document ends here

    def _expand(self, nodes: Sequence[_Node]) -> None:
        """Compute these tokens, and those that must follow them, in one pass."""
        order: list[_Node] = []
        while nodes:
            order += nodes
            forced = [self._child(node, 0) for node in nodes if len(node.following) == 1]  # type: ignore[arg-type]
            self._look_up(forced)
            nodes = [node for node in forced if not node.ends and not node.columns]
        if order:
            self._score(self._forward(order), order)

    def _child(self, node: _Node, place: int) -> _Node:
        """The node of a token that may follow; its score is not known before `node`'s are."""
        token = int(node.following[place])  # type: ignore[index]
        child = node.children.get(token)
        if child is None:
            child = node.children[token] = _Node(node.query, node, token, float("nan"))
        if node.log_probs is not None:
            child.score = node.score + float(node.log_probs[place])
        return child

    def _forward(self, nodes: Sequence[_Node]) -> torch.Tensor:
        """Logits behind each node, (nodes, vocab_size), in their order."""
        rows: list[list[_Node]] = [[] for _ in self.prompt_lengths]
        for node in nodes:
            rows[node.query].append(node)
        batch, width = len(rows), max(map(len, rows))
        total = self.num_columns + width
        ids = np.zeros((batch, width), dtype=np.int64)
        positions = np.zeros((batch, width), dtype=np.int64)
        seen = np.zeros((batch, width, total), dtype=bool)
        for query, row in enumerate(rows):
            positions[query] = self.prompt_lengths[query]
            for place, node in enumerate(row):
                above = node.parent.columns  # type: ignore[union-attr]
                node.columns = (*above, self.num_columns + place)
                ids[query, place] = node.token
                positions[query, place] = self.prompt_lengths[query] + node.depth - 1
                seen[query, place, list(node.columns)] = True
            # What only pads a row sees itself: a softmax over nothing is no number.
            for place in range(len(row), width):
                seen[query, place, self.num_columns + place] = True
        device = self.prompt_mask.device
        prompt = self.prompt_mask[:, None, :].expand(-1, width, -1)
        mask = torch.cat([prompt, torch.from_numpy(seen).to(device)], dim=2)[:, None]
        dtype = self.model.dtype
        bias = torch.zeros(mask.shape, dtype=dtype, device=device)
        bias.masked_fill_(~mask, torch.finfo(dtype).min)
        outputs = self.model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=bias,
            position_ids=torch.from_numpy(positions).to(device),
            past_key_values=self.cache,
            use_cache=True,
            return_dict=True,
        )
        self.num_columns = total
        places = torch.tensor(
            [(node.query, node.columns[-1] - (total - width)) for node in nodes], device=device
        )
        return outputs.logits[places[:, 0], places[:, 1]]

    def _score(self, logits: torch.Tensor, nodes: Sequence[_Node]) -> None:
        """The log-probabilities (of all the vocabulary, Eq. 1) of what may follow each node."""
        sizes = [len(node.following) for node in nodes]  # type: ignore[arg-type]
        rows = np.repeat(np.arange(len(nodes)), sizes)
        tokens = np.concatenate([node.following for node in nodes])  # type: ignore[misc]
        at = torch.from_numpy(np.stack([rows, tokens])).to(logits.device)
        logits = logits.float()
        scores = logits[at[0], at[1]] - torch.logsumexp(logits, dim=-1)[at[0]]
        parts = np.split(scores.cpu().numpy(), np.cumsum(sizes)[:-1])
        for node, part in zip(nodes, parts, strict=True):
            node.log_probs = part
            self._queries[node.query].computed.append(node)
            if len(part) == 1 and node.children:
                self._child(node, 0)  # it was begun before its score was known

    # -- the search --------------------------------------------------------------------------------

    def _advance(self, query: _Query) -> list[_Node]:
        """Append a token to every beam, group after group; the new nodes."""
        used: dict[int, int] = {}
        new: list[_Node] = []
        for number, beams in enumerate(query.beams):
            if not beams:
                continue
            sizes = [len(_known(node)) for node, _ in beams]
            guides = np.concatenate([guide + _known(node) for node, guide in beams])
            if used and self.penalty > 0:
                tokens = np.concatenate([node.following for node, _ in beams])
                for token, times in used.items():
                    guides[tokens == token] -= self.penalty * times
            best = _largest(guides, self.width)
            starts = np.cumsum([0, *sizes])
            owners = np.searchsorted(starts, best, side="right") - 1
            chosen = []
            for place, owner in zip(best.tolist(), owners.tolist(), strict=True):
                child = self._child(beams[owner][0], place - int(starts[owner]))
                if child.group < 0:
                    child.group = number
                chosen.append((child, float(guides[place])))
            for child, _ in chosen:
                used[child.token] = used.get(child.token, 0) + 1
            query.beams[number] = chosen
            new += [child for child, _ in chosen]
        return new

    def _collect(self, query: _Query) -> None:
        """Take finished clues out of the beams, and see whether the search can find any better."""
        for number, beams in enumerate(query.beams):
            for node, _ in beams:
                ambiguous = self.documents and node.row < 0
                if node.ends and not ambiguous and all(node is not one for one in query.found):
                    query.found.append(node)
            query.beams[number] = [(node, guide) for node, guide in beams if not node.ends]
        query.found.sort(key=lambda node: -node.score)
        if self.documents:
            last = self._keep_documents(query)
        else:
            del query.found[self.wanted :]
            full = len(query.found) >= self.wanted
            last = query.found[-1].score if full else -np.inf
        best = max((node.score for beams in query.beams for node, _ in beams), default=-np.inf)
        query.done = best <= last

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
            [(node, guide) for node, guide in beams if node.row not in query.documents]
            for beams in query.beams
        ]
        full = len(query.documents) >= self.wanted
        return min(query.documents.values()) if full else -np.inf

    def _refill(self, query: _Query) -> list[_Node]:
        """Begin again from the best of what was not chosen where all beams have ended before as
        many documents were found as are wanted; the nodes that were put there."""
        missing = self.wanted - len(query.documents)
        if (
            not self.documents
            or missing <= 0
            or any(query.beams)
            or query.refills >= self.max_refills
        ):
            return []
        # Not fewer than there are beams: some will run into documents that are found.
        places_left = self.num_groups * self.width
        query.refills += 1
        nodes = [node for node in query.computed if node.row not in query.documents]
        scores: list[NDArray[np.floating]] = [np.empty(0)]
        places = [np.empty((0, 2), np.int64)]
        for number, node in enumerate(nodes):
            values = node.score + _known(node)
            for token, child in node.children.items():
                if child.group >= 0:
                    values[node.following == token] = -np.inf
            best = _largest(values, places_left)
            best = best[values[best] > -np.inf]
            scores.append(values[best])
            places.append(np.stack([np.full(len(best), number), best], axis=1))
        at = np.concatenate(places)
        new = []
        for choice in _largest(np.concatenate(scores), places_left).tolist():
            number, place = at[choice].tolist()
            child = self._child(nodes[number], place)
            child.group = min(range(self.num_groups), key=lambda group: len(query.beams[group]))
            query.beams[child.group].append((child, child.score))
            new.append(child)
        if new:
            query.done = False
        return new


def supports_tree_search(model: Any) -> bool:
    """Whether each token of a model can be told which others to attend to.

    That needs full attention in all layers by the implementations "sdpa" or "eager", and
    `position_ids`; not so with flash attention, sliding windows, ALiBi or recurrent layers.
    """
    inner = getattr(model, "get_base_model", lambda: model)()
    language_model = getattr(inner, "language_model", inner)
    config = language_model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        window = None
    return (
        getattr(config, "_attn_implementation", None) in ("sdpa", "eager")
        and kinds == {"full_attention"}
        and window is None
        and not getattr(config, "alibi", False)
        and "position_ids" in inspect.signature(language_model.forward).parameters
    )


def _known(node: _Node) -> NDArray[np.float32]:
    assert node.log_probs is not None
    return node.log_probs


def _largest(values: NDArray[np.floating], number: int) -> Int64:
    """Places of the largest values, in descending order, the first among equals first."""
    if len(values) > number:
        least = np.partition(values, len(values) - number)[len(values) - number]
        places = np.flatnonzero(values >= least)
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")][:number]


__all__ = ["FoundClue", "TreeSearch", "supports_tree_search"]
