"""Diverse beam search over the tree of clues, for clues or for different documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from gemkr_hf.decoding.clue import Clue
from gemkr_hf.decoding.clue_tree import Node
from gemkr_hf.decoding.document_search import DocumentSearch, DocumentSettings
from gemkr_hf.decoding.search_trace import SearchTrace
from gemkr_hf.decoding.tree_scorer import TreeScorer
from gemkr_hf.modeling.generation_gemkr import BeamSearch, DiverseBeamSearch, Query
from gemkr_hf.utils.deprecation import renamed_attributes


class TreeSearch:
    """Diverse beam search for a batch of queries, with one model and one constraint.

    A model that `supports_tree_attention` computes every token once; any other causal language
    model computes the open clues of each pass on copies of the prompt's keys and values, with the
    same results.

    Args:
        model: a causal language model, or a GeMKR.
        constraint: FMIndexConstraint or ClueRules.
        num_beams: see `DiverseBeamSearch`.
        num_beam_groups: see `DiverseBeamSearch`.
        diversity_penalty: see `DiverseBeamSearch`.
        wanted: clues to return per query; documents in a search for documents.
        documents: search for different documents instead of clues. Where the beams have ended
            before `wanted` documents are found, the search restarts from the best continuations
            that were not chosen.
        merge_clues: in a search for documents, follow all beams to their ends, so that a
            document's clues can be counted together. False: a beam is closed if its only document
            is known already, by a better clue; the search ends when no beam can change the `wanted`
            best documents.
        max_pieces: in a search for documents, pieces that a clue may have. Where a piece of
            `max_length` tokens is contained in several documents (at most 64), the model writes a
            further piece, from these documents only, until a single one contains all pieces.
        patience: a search for documents ends after restarts have opened this many beams without
            a new document, since clues may distinguish fewer documents than are `wanted`.
        score_eos: see `DiverseBeamSearch`.
        static_cache: see `TreeAttention`.
        compile: see `TreeAttention`.

    Attributes:
        scorer: the `TreeScorer`.
        traces: a `SearchTrace` per query of the last run, with `return_trace`; else empty.

    Raises:
        ValueError: a number is out of range, or the model does not support `static_cache` or
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
        for name, value in (("wanted", wanted), ("max_pieces", max_pieces)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        self.settings = DiverseBeamSearch(
            num_beams,
            num_beam_groups,
            diversity_penalty,
            num_return_sequences=wanted,
            score_eos=score_eos,
        )
        self.scorer = TreeScorer(
            constraint, static_cache, compile, score_eos, find_documents=documents
        )
        if max_pieces > 1 and not documents:
            raise ValueError(
                "max_pieces above 1 needs documents=True: only a search for documents has pieces"
            )
        if max_pieces > 1 and self.scorer.rules.whole_documents:
            raise ValueError("A whole document has one piece: leave max_pieces at 1")
        self.scorer.bind(model)
        self.document_settings: DocumentSettings | None = None
        if documents:
            self.document_settings = DocumentSettings(wanted, merge_clues, max_pieces, patience)
        self.traces: list[SearchTrace] = []

    @torch.no_grad()
    def run(
        self, inputs: Mapping[str, torch.Tensor], return_trace: bool = False
    ) -> list[list[Clue]]:
        """Search.

        Args:
            inputs: inputs of the model: `input_ids` int64 (batch, length), padded on the left, its
                `attention_mask`, and whatever else the prompt needs.
            return_trace: keep the candidates and choices of each step in `traces`.

        Returns:
            The clues of each query, best first.
        """
        self.scorer.measure = return_trace
        roots = self.scorer.begin(inputs)
        self.traces = [SearchTrace(root) for root in roots] if return_trace else []

        def on_step(query: Query, before: list[list[Node]]) -> None:
            if return_trace:
                self.traces[query.number].add_step(before, query.beams)

        if self.document_settings is None:
            search = BeamSearch(self.settings, self.scorer, roots, on_step)
        else:
            search = DocumentSearch(
                self.settings, self.scorer, roots, on_step, self.document_settings
            )
        results = [[node for _, node in query.pool.ranked()] for query in search.run()]
        for trace, nodes in zip(self.traces, results, strict=False):  # no traces: nothing to do
            trace.finish(nodes)
        return [[self._clue(node) for node in nodes] for nodes in results]

    def _clue(self, node: Node) -> Clue:
        rules, pieces = self.scorer.rules, node.pieces()
        if node.token in rules.ends:
            pieces = (*pieces[:-1], pieces[-1][:-1])
        penalized = 0 if rules.whole_documents else max(0, len(pieces[0]) - rules.min_length)
        log_prob = node.score + penalized * rules.ambiguity_penalty
        return Clue(pieces, node.score, log_prob, group=node.group, row=node.row)


__getattr__ = renamed_attributes(__name__, {"FoundClue": "gemkr_hf.decoding.clue:Clue"})

__all__ = ["TreeSearch"]
