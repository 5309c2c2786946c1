"""Beam search for different documents: what `DocumentSearch` adds to the search for clues."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.decoding.clue_pieces import Scope
from gemkr_hf.decoding.clue_tree import Node
from gemkr_hf.decoding.tree_scorer import TreeScorer
from gemkr_hf.modeling.generation_gemkr import (
    Beam,
    BeamSearch,
    DiverseBeamSearch,
    HypothesisPool,
    Query,
    largest,
)


@dataclass(frozen=True)
class DocumentSettings:
    """What a search for documents does beyond one for clues; see `TreeSearch` for the fields."""

    wanted: int
    merge_clues: bool = True
    max_pieces: int = 1
    patience: int = 512


@dataclass
class _Progress:
    """State of one query.

    Attributes:
        documents: row -> best score of each document that was found.
        found_before: number of documents when a restart last found a new one.
        restarts: number of beams that restarts have opened since then.
    """

    documents: dict[int, float]
    found_before: int = 0
    restarts: int = 0


class DocumentSearch(BeamSearch):
    """Search for different documents.

    A clue that ends but is ambiguous may continue with a further piece; a document that is found
    may free its beams; and where all beams have ended before enough documents are found, the search
    restarts from the best continuations that were not chosen.

    Args:
        settings: see `BeamSearch`.
        scorer: see `BeamSearch`.
        roots: see `BeamSearch`.
        on_step: see `BeamSearch`.
        document_settings: the settings that only this search has.
    """

    scorer: TreeScorer

    def __init__(
        self,
        settings: DiverseBeamSearch,
        scorer: TreeScorer,
        roots: Sequence[Node],
        on_step: Callable[[Query, list[list[Node]]], None] | None,
        document_settings: DocumentSettings,
    ) -> None:
        super().__init__(settings, scorer, roots, on_step)
        self.document_settings = document_settings
        self.roots = roots
        self.progress = [_Progress({}) for _ in roots]

    def pool_size(self) -> float:
        """All clues are kept: a document may have many."""
        return math.inf

    def settle(self, queries: Sequence[Query]) -> None:
        """Collect and close; then restart queries, whose new beams may end at once as well."""
        while queries:
            super().settle(queries)
            restarted = [(query, self._restart(query)) for query in queries]
            self.scorer.advance([node for _, nodes in restarted for node in nodes])
            queries = [query for query, nodes in restarted if nodes]

    def collect(self, query: Query) -> None:
        """Also handle clues that must end while several documents contain them: begin a further
        piece of each if that is possible, and drop it otherwise."""
        for group, beams in enumerate(query.beams):
            kept = []
            for node, guide in beams:
                following = self._next_piece(query, node) if node.dropped else node
                if following is not None and not (node.finished and node.row < 0):
                    kept.append(Beam(following, guide))
            query.beams[group] = kept
        super().collect(query)

    def close(self, query: Query) -> None:
        """Close a query if no open beam can change its documents.

        Without `merge_clues` only the best documents are kept, and only beams that may still lead
        to another document or to a better clue of one of these. With `merge_clues` all beams are
        followed to their ends.
        """
        ranked = query.pool.ranked()
        documents: dict[int, float] = {}
        for score, node in ranked:
            documents.setdefault(node.row, score)
        worst = -math.inf
        if not self.document_settings.merge_clues:
            documents = dict(list(documents.items())[: self.document_settings.wanted])
            query.pool = HypothesisPool(self.pool_size())
            for score, node in ranked:
                if node.row in documents:
                    query.pool.add(node, score)
            query.beams = [
                [beam for beam in beams if self._is_useful(beam.hypothesis, documents)]
                for beams in query.beams
            ]
            if len(documents) >= self.document_settings.wanted:
                worst = min(documents.values())
        self.progress[query.number].documents = documents
        query.closed = query.best_open_score() <= worst

    def _is_useful(self, node: Node, documents: dict[int, float]) -> bool:
        return node.score > documents.get(node.row, -math.inf)

    def _next_piece(self, query: Query, node: Node) -> Node | None:
        """The node that begins the next piece of an ambiguous clue; None if there is none."""
        if node.num_pieces() >= self.document_settings.max_pieces:
            return None
        if -1 in node.children:
            return node.children[-1]
        if node.scope is None:
            scope = Scope.of_piece(self.scorer.rules.index, node.token_ids())
        else:
            scope = Scope.of_documents(
                self.scorer.rules.index, node.scope.rows_with(node.positions)
            )
        if scope is None:
            return None
        piece = Node(node.query, node, -1, node.score)
        piece.scope, piece.positions = scope, scope.begin()
        piece.group, piece.step = node.group, query.steps
        # Scores of the first token are those after the prompt, as for the first piece.
        root = self.roots[query.number]
        _, first_tokens = self.scorer.rules.next_of_piece(
            scope, piece.positions, 0, self.scorer.vocab_size
        )
        following, _, positions = np.intersect1d(
            first_tokens, root.following, assume_unique=True, return_indices=True
        )
        if len(following) == 0:
            return None
        piece.following, log_probs = following, root.log_probs[positions]
        if self.scorer.rules.renormalize:
            log_probs = log_probs - np.logaddexp.reduce(log_probs)
        node.children[-1] = piece
        self.scorer.set_log_probs(piece, log_probs)
        return piece

    def _restart(self, query: Query) -> list[Node]:
        """Start beams from the best continuations that no beam has chosen, if all beams have ended
        before enough documents were found; returns the new nodes."""
        progress = self.progress[query.number]
        found = len(progress.documents)
        if found >= self.document_settings.wanted or any(query.beams):
            return []
        if found > progress.found_before:
            progress.found_before, progress.restarts = found, 0
        if progress.restarts >= self.document_settings.patience:
            return []
        # Start as many beams as there were: some will lead to documents that are known already.
        number = self.settings.num_beams
        nodes = [n for n in self.scorer.scored[query.number] if n.row not in progress.documents]
        scores: list[NDArray[np.floating]] = [np.empty(0)]
        choices = [np.empty((0, 2), np.int64)]
        for number_of_node, node in enumerate(nodes):
            values = node.score + node.log_probs
            for token, child in node.children.items():
                if child.group >= 0:  # a beam has chosen it
                    values[node.following == token] = -np.inf
            best = largest(values, number)
            best = best[values[best] > -np.inf]
            scores.append(values[best])
            choices.append(np.stack([np.full(len(best), number_of_node), best], axis=1))
        of_nodes = np.concatenate(choices)
        new = []
        for choice in largest(np.concatenate(scores), number).tolist():
            number_of_node, position = of_nodes[choice].tolist()
            child = nodes[number_of_node].child(position)
            child.group = min(range(len(query.beams)), key=lambda group: len(query.beams[group]))
            child.step = query.steps
            query.beams[child.group].append(Beam(child, child.score))
            new.append(child)
        progress.restarts += len(new)
        if new:
            query.closed = False
            query.steps += 1
            if self.on_step is not None:
                self.on_step(query, [[] for _ in query.beams])
        return new


__all__ = ["DocumentSearch", "DocumentSettings"]
