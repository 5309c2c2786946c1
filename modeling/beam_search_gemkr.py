"""Diverse beam search (Vijayakumar et al. 2016) that computes the prompt once per query.

transformers no longer ships group beam search, and its beam search computes the prompt once per
beam. This one is a `custom_generate` of core's `generate`, which prepares inputs, processors and
cache as for its own strategies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteriaList,
)
from transformers.generation import EosTokenCriteria, GenerateBeamDecoderOnlyOutput

from .hypotheses_gemkr import Hypothesis, HypothesisPool

# At or below this a continuation is forbidden: processors mask with -inf, or with a very low number
# where transformers cannot bear -inf.
FORBIDDEN = -1e8


@dataclass
class BeamSearchOutput(GenerateBeamDecoderOnlyOutput):
    """What diverse beam search found, best first within each query.

    Core's output of beam search with the groups; what core gives on demand (`output_scores`,
    `output_logits`, `output_attentions`, `output_hidden_states`) is here too.

    sequences : int64 tensor (batch_size * num_return_sequences, longest)
        Prompt, clue and end token, padded on the right. Rows beyond what was found hold the prompt
        and padding.
    sequences_scores : float tensor (batch_size * num_return_sequences,)
        log of Eq. 1, divided by length ** length_penalty; -inf in rows beyond what was found.
    beam_indices : int64 tensor (batch_size * num_return_sequences, longest), with `output_scores`
        The row of `scores[step]` that each token was chosen in, -1 behind the clue.
    cache : Cache of the open beams after the last step.
    beam_groups : int64 tensor (batch_size * num_return_sequences,)
        The group that found the clue, -1 in rows beyond what was found.
    """

    beam_groups: torch.Tensor | None = None


@dataclass
class DiverseBeamSearch:
    """Settings of the search; calling it is core's `custom_generate`.

    num_beams : int
        Beams per query, in all groups together.
    num_beam_groups : int
        Groups, which choose one after the other; must divide `num_beams`.
    diversity_penalty : float
        Taken from a token's log-probability for every beam of an earlier group that chose the same
        token in this step. It guides the choice and is no part of the scores.
    num_return_sequences : int
        Finished hypotheses to keep per query; may exceed `num_beams`.
    length_penalty : float
        Scores are divided by length ** length_penalty; 0 is Eq. 1.
    score_eos : bool
        Whether the end token counts where it is the only allowed one. Off, the score is Eq. 1 over
        the clue's tokens, and such a hypothesis finishes whatever its rank. On, with one group and
        no penalty, sequences and scores are those of core's beam search. An end token that the
        model chooses among others always counts.
    shared_prompt : bool
        Compute the prompt once per query. Otherwise it is computed once per beam, as core does: in
        single precision products of other shapes round otherwise, so that scores then equal core's
        to the last bit.
    tree_search : bool
        Leave the search to the constraint where it brings one of its own that finds the same faster
        (a method `search_tree`), and nothing is wanted that this one cannot: a length penalty, a
        scored end token, other processors or stopping criteria, `output_...` options.

    Raises:
        ValueError: if a number is out of range.
    """

    num_beams: int = 20
    num_beam_groups: int = 4
    diversity_penalty: float = 0.5
    num_return_sequences: int = 1
    length_penalty: float = 0.0
    score_eos: bool = False
    shared_prompt: bool = True
    tree_search: bool = True

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_beam_groups", "num_return_sequences"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.num_beams % self.num_beam_groups != 0:
            raise ValueError(
                f"num_beams={self.num_beams} must be a multiple of "
                f"num_beam_groups={self.num_beam_groups}."
            )
        if self.diversity_penalty < 0:
            raise ValueError(
                f"diversity_penalty must not be negative, but is {self.diversity_penalty}."
            )

    @torch.no_grad()
    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> torch.Tensor | BeamSearchOutput:
        """Search; the arguments are those that core hands to a `custom_generate`."""
        record = _Record(generation_config)
        search = _Search(self, input_ids, generation_config, stopping_criteria)
        if self._may_leave(search, logits_processor, record, model_kwargs):
            inputs = model.prepare_inputs_for_generation(
                input_ids, is_first_iteration=True, **model_kwargs
            )
            found = logits_processor[0].search_tree(model, inputs, self, generation_config)  # type: ignore[attr-defined]
            if found is not None:
                search.take(found)
                return search.output()
        logits, model_kwargs = self._prefill(model, input_ids, model_kwargs, record)
        while True:
            # A processor may write into what it gets.
            record.keep(logits=logits.clone() if record.wants("output_logits") else None)
            log_probs = nn.functional.log_softmax(logits, dim=-1)
            log_probs = logits_processor(search.sequences, log_probs)  # type: ignore[arg-type]
            record.keep(scores=log_probs)
            search.advance(log_probs)
            cache = model_kwargs.get("cache")
            if search.is_done():
                return search.output(cache=cache, **record.kept)
            if cache is not None:
                cache.reorder_cache(search.parents)
            inputs = model.prepare_inputs_for_generation(
                search.sequences,
                next_sequence_length=1 if model_kwargs["use_cache"] else None,
                **model_kwargs,
            )
            outputs = model(**inputs, return_dict=True)
            model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)
            record.keep(attentions=outputs.attentions, hidden_states=outputs.hidden_states)
            logits = _last_logits(outputs, search.sequences)

    def _may_leave(
        self,
        search: _Search,
        logits_processor: LogitsProcessorList,
        record: _Record,
        model_kwargs: dict[str, Any],
    ) -> bool:
        """Whether a constraint's own search gives all that is wanted."""
        outputs = ("scores", "logits", "attentions", "hidden_states")
        return (
            self.tree_search
            and self.shared_prompt
            and len(logits_processor) == 1
            and hasattr(logits_processor[0], "search_tree")
            and self.length_penalty == 0
            and not self.score_eos
            and search.prompt_length > 0
            and len(search.extra_criteria) == 0
            and model_kwargs.get("use_cache", True)
            and not getattr(model_kwargs.get("cache"), "is_compileable", False)
            and not any(record.wants(f"output_{name}") for name in outputs)
        )

    def _prefill(
        self,
        model: Any,
        input_ids: torch.Tensor,
        model_kwargs: dict[str, Any],
        record: _Record,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Compute each prompt once, then share it among the query's beams."""
        if getattr(model_kwargs.get("cache"), "is_compileable", False):
            raise ValueError(
                "Diverse beam search shares one prompt among its beams, which a static cache "
                "cannot; leave cache_implementation out."
            )
        model_kwargs.setdefault("use_cache", True)
        rows = input_ids
        if not self.shared_prompt:
            rows, model_kwargs = self._for_beams(input_ids), self._all_for_beams(model_kwargs)
        inputs = model.prepare_inputs_for_generation(rows, is_first_iteration=True, **model_kwargs)
        outputs = model(**inputs, return_dict=True)
        model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)
        logits = _last_logits(outputs, input_ids)
        times = self.num_beams if self.shared_prompt else 1
        record.keep(
            attentions=_repeat(outputs.attentions, times),
            hidden_states=_repeat(outputs.hidden_states, times),
        )
        if not self.shared_prompt:
            return logits, model_kwargs
        if model_kwargs["use_cache"]:
            model_kwargs["cache"].batch_repeat_interleave(self.num_beams)
        return self._for_beams(logits), self._all_for_beams(model_kwargs)

    def _for_beams(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.repeat_interleave(self.num_beams, dim=0)

    def _all_for_beams(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Each query's rows once for each of its beams."""
        return {
            key: self._for_beams(value)
            if isinstance(value, torch.Tensor) and value.dim() > 0
            else value
            for key, value in arguments.items()
        }


class _Record:
    """What `generate` was asked to return besides the sequences, step by step."""

    def __init__(self, generation_config: GenerationConfig) -> None:
        self._config = generation_config
        self.kept: dict[str, tuple[Any, ...]] = {}

    def wants(self, option: str) -> bool:
        """Whether an `output_...` option was given."""
        return bool(self._config.return_dict_in_generate and getattr(self._config, option))

    def keep(self, **parts: Any) -> None:
        """Append the parts of one step that are wanted, under their names in the output."""
        for name, part in parts.items():
            if part is not None and self.wants(f"output_{name}"):
                self.kept[name] = (*self.kept.get(name, ()), part)


def _repeat(layers: tuple[torch.Tensor, ...] | None, times: int) -> Any:
    return layers and tuple(layer.repeat_interleave(times, dim=0) for layer in layers)


def _last_logits(outputs: Any, like: torch.Tensor) -> torch.Tensor:
    """(rows, vocab_size) in float32, as core's beam search takes them."""
    return outputs.logits[:, -1].to(device=like.device, dtype=torch.float32)


class _Search:
    """The beams and pools of one batch of queries.

    scores : float tensor (batch, groups, width), sums of log-probabilities; -inf is an empty beam.
    guides : the same less the diversity penalties paid so far; beams are chosen by these.
    sequences : int64 tensor (batch * groups * width, length), prompts included.
    parents : int64 tensor (batch * groups * width,), the row that each beam continues.
    """

    def __init__(
        self,
        settings: DiverseBeamSearch,
        input_ids: torch.Tensor,
        generation_config: GenerationConfig,
        stopping_criteria: StoppingCriteriaList,
    ) -> None:
        self.settings = settings
        self.input_ids = input_ids
        self.config = generation_config
        self.prompt_length = input_ids.shape[1]
        ends = generation_config._eos_token_tensor
        self.eos_token_ids = input_ids.new_empty(0) if ends is None else ends.to(input_ids.device)
        # Length and end tokens are looked after here.
        self.extra_criteria = StoppingCriteriaList(
            criterion
            for criterion in stopping_criteria
            if not isinstance(criterion, (MaxLengthCriteria, EosTokenCriteria))
        )
        # Under a length penalty a longer beam may overtake, and core keeps a pool of all beams.
        wanted = settings.num_return_sequences
        size = wanted if settings.length_penalty == 0 else max(wanted, settings.num_beams)
        self.pools = [HypothesisPool(size) for _ in range(len(input_ids))]
        self.width = settings.num_beams // settings.num_beam_groups
        # Only the first beam of each group is open: the others would repeat it.
        shape = (len(input_ids), settings.num_beam_groups, self.width)
        self.scores = torch.full(shape, -torch.inf, device=input_ids.device)
        self.scores[:, :, 0] = 0
        self.guides = self.scores.clone()
        self.sequences = input_ids.repeat_interleave(settings.num_beams, dim=0)
        # The row that each of a beam's tokens was chosen in, (rows, clue length).
        self.history = input_ids.new_empty(len(self.sequences), 0)
        self.parents = torch.arange(len(self.sequences), device=input_ids.device)

    @property
    def clue_length(self) -> int:
        """Tokens that every open beam has written."""
        return self.sequences.shape[1] - self.prompt_length

    def advance(self, log_probs: torch.Tensor) -> None:
        """Append a token to every beam, given processed log-probabilities (rows, vocab_size)."""
        log_probs = log_probs.masked_fill(log_probs <= FORBIDDEN, -torch.inf)
        if not self.settings.score_eos and len(self.eos_token_ids) > 0:
            log_probs = self._finish_forced(log_probs)
        batch, groups, width = self.scores.shape
        vocab = log_probs.shape[-1]
        log_probs = log_probs.view(batch, groups, width, vocab)
        first_rows = torch.arange(batch, device=log_probs.device)[:, None] * groups * width
        chosen = log_probs.new_zeros(batch, vocab)
        choices = []
        for group in range(groups):
            step = log_probs[:, group]
            totals = (step + self.scores[:, group, :, None]).flatten(1)
            guides = step + self.guides[:, group, :, None]
            if group > 0 and self.settings.diversity_penalty > 0:
                guides = guides - self.settings.diversity_penalty * chosen[:, None]
            choice = self._choose(totals, guides.flatten(1), first_rows + group * width, group)
            choices.append(choice)
            alive = (choice[0] > -torch.inf).to(chosen.dtype)
            chosen.scatter_add_(1, choice[3], alive)
        self.scores, self.guides, parents, tokens = (
            torch.stack(parts, dim=1) for parts in zip(*choices, strict=True)
        )
        self.parents = parents.flatten()
        self.sequences = torch.cat([self.sequences[self.parents], tokens.view(-1, 1)], dim=-1)
        self.history = torch.cat([self.history[self.parents], self.parents[:, None]], dim=-1)
        self._close_pools()

    def _choose(
        self, totals: torch.Tensor, guides: torch.Tensor, first_rows: torch.Tensor, group: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The next beams of one group, and its finished hypotheses into the pools.

        As in core: of the best (1 + end tokens) * width continuations those that end and rank among
        the first `width` are finished, and the best that do not end go on.

        Args:
            totals, guides: float tensor (batch, width * vocab_size).
            first_rows: int64 tensor (batch, 1), row of the group's first beam.

        Returns:
            scores, guides, rows and tokens of the new beams, each (batch, width).
        """
        width = self.width
        vocab = totals.shape[-1] // width
        candidates = min(max(2, 1 + len(self.eos_token_ids)) * width, totals.shape[-1])
        guides, index = guides.topk(candidates)
        scores, tokens = totals.gather(1, index), index % vocab
        rows = index // vocab + first_rows
        ends = self._ends(rows, tokens)
        top = torch.arange(candidates, device=tokens.device) < width
        self._collect(ends & top & (scores > -torch.inf), scores, rows, tokens, group)
        guides, going_on = guides.masked_fill(ends, -torch.inf).topk(width)
        scores = scores.gather(1, going_on).masked_fill(guides == -torch.inf, -torch.inf)
        return scores, guides, rows.gather(1, going_on), tokens.gather(1, going_on)

    def _ends(self, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Which continuations are the last of their hypothesis, bool (batch, candidates)."""
        if self.sequences.shape[1] + 1 >= self.config.max_length:
            return torch.ones_like(tokens, dtype=torch.bool)
        ends = torch.isin(tokens, self.eos_token_ids)
        if len(self.extra_criteria) > 0:
            continued = torch.cat([self.sequences[rows.flatten()], tokens.view(-1, 1)], dim=-1)
            ends = ends | self.extra_criteria(continued, None).view_as(ends)
        return ends

    def _finish_forced(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Move the beams that can only end to their pools, with the score of Eq. 1."""
        allowed = log_probs > -torch.inf
        ends = allowed[:, self.eos_token_ids]
        forced = ends.any(-1) & (allowed.sum(-1) == ends.sum(-1))
        tokens = self.eos_token_ids[log_probs[:, self.eos_token_ids].argmax(-1)]
        rows = torch.arange(len(log_probs), device=log_probs.device)
        for group in range(self.scores.shape[1]):
            shape = self.scores.shape
            scores = self.scores[:, group]
            finished = forced.view(shape)[:, group] & (scores > -torch.inf)
            self._collect(
                finished,
                scores,
                rows.view(shape)[:, group],
                tokens.view(shape)[:, group],
                group,
                scored_tokens=self.clue_length,
            )
        return log_probs.masked_fill(forced[:, None], -torch.inf)

    def _collect(
        self,
        finished: torch.Tensor,
        scores: torch.Tensor,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        group: int,
        scored_tokens: int | None = None,
    ) -> None:
        """Put the marked continuations, all (batch, candidates), into their queries' pools."""
        queries, places = finished.nonzero(as_tuple=True)
        if len(queries) == 0:
            return
        length = self.clue_length + 1 if scored_tokens is None else scored_tokens
        scores = scores[queries, places] / max(length, 1) ** self.settings.length_penalty
        rows = rows[queries, places]
        clues = torch.cat(
            [self.sequences[rows, self.prompt_length :], tokens[queries, places][:, None]], dim=-1
        )
        histories = torch.cat([self.history[rows], rows[:, None]], dim=-1)
        for query, score, clue, history in zip(
            queries.tolist(), scores.tolist(), clues.tolist(), histories.tolist(), strict=True
        ):
            self.pools[query].add(Hypothesis(score, tuple(clue), group, tuple(history)))

    def take(self, found: list[list[tuple[tuple[int, ...], float, int]]]) -> None:
        """Take the clues that another search found: tokens, score and group, for each query."""
        for pool, clues in zip(self.pools, found, strict=True):
            for tokens, score, group in clues:
                pool.add(Hypothesis(score, tokens, group))

    def _close_pools(self) -> None:
        """Close the queries that no open beam can improve, by core's default rule."""
        scale = self.clue_length**self.settings.length_penalty
        best = self.scores.flatten(1).amax(1) / scale
        for pool, score in zip(self.pools, best.tolist(), strict=True):
            pool.close_if_beaten(score)

    def is_done(self) -> bool:
        """Whether no query can find anything more."""
        return all(pool.closed for pool in self.pools)

    def output(self, **others: Any) -> torch.Tensor | BeamSearchOutput:
        """The best `num_return_sequences` of every query, in core's form; `others` are the parts of
        the output that the search does not know."""
        wanted = self.settings.num_return_sequences
        found = [pool.ranked()[:wanted] for pool in self.pools]
        longest = max((len(clue.tokens) for clues in found for clue in clues), default=0)
        prompts = self.input_ids.repeat_interleave(wanted, dim=0)
        padding = self._padding_id()
        clues = prompts.new_full((len(prompts), longest), padding)
        scores = self.scores.new_full((len(prompts),), -torch.inf)
        groups = prompts.new_full((len(prompts),), -1)
        indices = torch.full_like(clues, -1)
        for query, hypotheses in enumerate(found):
            for rank, hypothesis in enumerate(hypotheses):
                row = query * wanted + rank
                clues[row, : len(hypothesis.tokens)] = clues.new_tensor(hypothesis.tokens)
                scores[row] = hypothesis.score
                groups[row] = hypothesis.group
                indices[row, : len(hypothesis.rows)] = indices.new_tensor(hypothesis.rows)
        sequences = torch.cat([prompts, clues], dim=-1)
        if not self.config.return_dict_in_generate:
            return sequences
        return BeamSearchOutput(
            sequences=sequences,  # type: ignore[arg-type]
            sequences_scores=scores,
            beam_indices=indices if self.config.output_scores else None,  # type: ignore[arg-type]
            beam_groups=groups,
            **others,
        )

    def _padding_id(self) -> int:
        if self.config._pad_token_tensor is not None:
            return int(self.config._pad_token_tensor)
        return int(self.eos_token_ids[0]) if len(self.eos_token_ids) > 0 else 0


__all__ = ["FORBIDDEN", "BeamSearchOutput", "DiverseBeamSearch"]
