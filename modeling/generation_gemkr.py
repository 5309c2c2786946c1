"""Diverse beam search (Vijayakumar et al. 2016) and the `generate` method that uses it.

transformers ("core" below) no longer ships group beam search. `DiverseBeamSearch` is a
`custom_generate` of core's `generate`, which prepares inputs, logits processors and cache as for
its own strategies. A `BeamScorer` computes which tokens may follow a beam, and their probabilities:
`RowScorer` runs the model on one row per beam, the library's `TreeScorer` on the tree of all beams.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers import generation as core

from .configuration_gemkr import GeMKRConfig

Processors = LogitsProcessor | list[LogitsProcessor] | None

# Keys and values, as an argument and in outputs: transformers renamed them in 5.24.
CACHE_NAMES = ("cache", "past_key_values")
CACHE = next(n for n in CACHE_NAMES if n in core.GenerateDecoderOnlyOutput.__dataclass_fields__)

# Processors forbid a token with -inf, or with a very low score where transformers needs a number.
FORBIDDEN = -1e8
IMAGE_INPUTS = ("pixel_values", "object_pixel_values", "object_features")


@dataclass
class BeamSearchOutput(core.GenerateBeamDecoderOnlyOutput):
    """Output of diverse beam search, best first within each query.

    It has all fields of core's beam search output, those on demand (`output_scores`,
    `output_logits`, `output_attentions`, `output_hidden_states`) included.

    Attributes:
        sequences: int64 (batch_size * num_return_sequences, longest), prompt, clue and end token,
            padded on the right. If fewer clues were found, the last rows hold the prompt only.
        sequences_scores: float (batch_size * num_return_sequences,), log of Eq. 1, divided by
            length ** length_penalty; -inf for rows without a clue.
        beam_indices: int64 (batch_size * num_return_sequences, longest), with `output_scores` only:
            the row of `scores[step]` in which each token was chosen; -1 after the clue.
        cache: Cache of the open beams after the last step (`past_key_values` before transformers
            5.24).
        beam_groups: int64 (batch_size * num_return_sequences,), the group that found each clue; -1
            for rows without a clue.
    """

    beam_groups: torch.Tensor | None = None


class Hypothesis:
    """A sequence of tokens that the search has written, open or finished.

    Attributes:
        parent: the hypothesis without the last token; None for the empty one.
        token: the last token, -1 for the empty hypothesis.
        score: sum of the log-probabilities of its tokens.
        depth: number of its tokens.
        following: int64 (n,), the tokens that may follow; set by the scorer.
        log_probs: float (n,), their log-probabilities; None until the scorer has set them.
        finished: it is a result, and nothing follows.
        end: if finished, the end token to append; None if `token` is an end token already.
        dropped: nothing may follow, but it is not a result.
        group, step: the group and the step that chose it first; -1 for the empty hypothesis.
        row: of `RowScorer`: its row in the batch. (A `Node` of the library: its document's row.)
    """

    def __init__(self, parent: Any, token: int, score: float, row: int = -1) -> None:
        self.parent, self.token, self.score, self.row = parent, token, score, row
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.following: NDArray[np.int64] = np.empty(0, np.int64)
        self.log_probs: Any = None
        self.finished = self.dropped = False
        self.end: int | None = None
        self.group = self.step = -1

    def child(self, position: int) -> Any:
        """The hypothesis with the token `following[position]` appended."""
        # In single precision, as core adds scores up.
        score = float(np.float32(self.score) + self.log_probs[position])
        return Hypothesis(self, int(self.following[position]), score)

    def path(self) -> list[Any]:
        """The hypotheses from the first token to this one."""
        return [] if self.parent is None else [*self.parent.path(), self]

    def output_ids(self) -> list[int]:
        """All tokens with the end token."""
        ids = [node.token for node in self.path()]
        return ids if self.end is None else [*ids, self.end]

    def key(self) -> Any:
        """Equal for hypotheses that count as the same result."""
        return tuple(self.output_ids())


class Beam(NamedTuple):
    """A hypothesis, and its score minus all diversity penalties: beams are chosen by this guide."""

    hypothesis: Any
    guide: float


class HypothesisPool:
    """The `size` best different hypotheses of one query.

    Of equal results (`Hypothesis.key`), which several groups may find, the best score is kept.
    """

    def __init__(self, size: float) -> None:
        self.size = size
        self._best: dict[Any, tuple[float, Any]] = {}

    def add(self, hypothesis: Any, score: float) -> None:
        """Keep a finished hypothesis if it is among the best."""
        key = hypothesis.key()
        if key in self._best and self._best[key][0] >= score:
            return
        self._best[key] = (score, hypothesis)
        if len(self._best) > self.size:
            # Among equal scores, the hypothesis that was added last is removed.
            del self._best[min(reversed(self._best), key=lambda key: self._best[key][0])]

    def worst(self) -> float:
        """The score that another hypothesis has to beat."""
        full = len(self._best) >= self.size
        return min(score for score, _ in self._best.values()) if full else -math.inf

    def ranked(self) -> list[tuple[float, Any]]:
        """Scores and hypotheses, best first; of equal scores the one found first."""
        return sorted(self._best.values(), key=lambda entry: -entry[0])


@dataclass
class Query:
    """One query of the batch: the beams of each group, and the finished hypotheses."""

    number: int
    beams: list[list[Beam]]
    pool: HypothesisPool
    steps: int = 0
    closed: bool = False

    def best_open_score(self) -> float:
        """The best score of the open beams; -inf if there are none."""
        scores = (hypothesis.score for beams in self.beams for hypothesis, _ in beams)
        return max(scores, default=-math.inf)


class BeamScorer(Protocol):
    """Computes what may follow the beams of a search; serves one search at a time.

    Attributes:
        num_ends: number of different end tokens.
    """

    @property
    def num_ends(self) -> int: ...

    def prefill(self, call: GenerateCall) -> list[Any]:
        """Compute the prompts; returns the empty `Hypothesis` of each query."""
        ...

    def score(self, queries: Sequence[Query]) -> None:
        """Set `following` and `log_probs` of all beams of these queries.

        May also mark beams as `finished` (only an end token can follow) or `dropped`.
        """
        ...

    def ends(self, choices: Sequence[tuple[Any, int]]) -> list[bool]:
        """Whether a token is the last one: for pairs of a hypothesis and a position in its
        `following`."""
        ...

    def advance(self, hypotheses: Sequence[Any]) -> None:
        """Called with the hypotheses that were chosen in a step, before the next `score`."""
        ...


class BeamSearch:
    """The loop of diverse beam search over a batch of queries.

    Args:
        settings: the numbers of beams and groups, and the penalties.
        scorer: what may follow the beams.
        roots: the empty hypothesis of each query, from the scorer.
        on_step: called after each step with the query and the hypotheses that each group's beams
            were at before it.
    """

    def __init__(
        self,
        settings: DiverseBeamSearch,
        scorer: BeamScorer,
        roots: Sequence[Any],
        on_step: Callable[[Query, list[list[Any]]], None] | None = None,
    ) -> None:
        self.settings, self.scorer, self.on_step = settings, scorer, on_step
        self.width = settings.num_beams // settings.num_beam_groups
        self.queries = [
            Query(
                number,
                # Only the first beam of each group is open: the others would repeat it.
                [[Beam(root, 0.0)] for _ in range(settings.num_beam_groups)],
                HypothesisPool(self.pool_size()),
                closed=root.dropped,
            )
            for number, root in enumerate(roots)
        ]

    def pool_size(self) -> float:
        """Hypotheses to keep for each query."""
        settings = self.settings
        if settings.length_penalty == 0:
            return settings.num_return_sequences
        # A longer hypothesis may overtake; core keeps a pool of `num_beams`.
        return max(settings.num_return_sequences, settings.num_beams)

    def run(self) -> list[Query]:
        """Search until no open beam can improve the results."""
        while open_queries := [query for query in self.queries if not query.closed]:
            self.scorer.score(open_queries)
            chosen = [self.choose(query) for query in open_queries]
            self.scorer.advance([hypothesis for of_query in chosen for hypothesis in of_query])
            self.settle(open_queries)
        return self.queries

    def choose(self, query: Query) -> list[Any]:
        """Append a token to every beam, group after group; returns the new hypotheses.

        As in core: of the best (1 + end tokens) * width continuations of a group, those that end
        and rank among the first `width` are finished, and the best `width` others stay open.
        """
        self.collect(query)  # beams that can only end leave before any group chooses
        before = [[hypothesis for hypothesis, _ in beams] for beams in query.beams]
        used: Counter[int] = Counter()
        new = []
        for group, beams in enumerate(query.beams):
            if not beams:
                continue
            guides = np.concatenate([guide + hypothesis.log_probs for hypothesis, guide in beams])
            if used and self.settings.diversity_penalty > 0:
                tokens = np.concatenate([hypothesis.following for hypothesis, _ in beams])
                for token, times in used.items():
                    guides[tokens == token] -= self.settings.diversity_penalty * times
            # Positions in the concatenated `following` of all beams of the group.
            best = largest(guides, num_candidates(self.width, self.scorer.num_ends))
            starts = np.cumsum([0, *(len(hypothesis.following) for hypothesis, _ in beams)])
            owners = np.searchsorted(starts, best, side="right") - 1
            choices = [
                (beams[owner].hypothesis, int(position - starts[owner]))
                for position, owner in zip(best, owners, strict=True)
            ]
            open_beams: list[Beam] = []
            finished: list[Beam] = []
            for rank, ends in enumerate(self.scorer.ends(choices)):
                left_out = rank >= self.width if ends else len(open_beams) == self.width
                if left_out:
                    continue
                hypothesis, position = choices[rank]
                child = hypothesis.child(position)
                child.finished = child.finished or ends
                if child.group < 0:
                    child.group, child.step = group, query.steps
                beam = Beam(child, float(guides[best[rank]]))
                (finished if ends else open_beams).append(beam)
            used.update(beam.hypothesis.token for beam in open_beams)
            query.beams[group] = open_beams + finished
            new += [beam.hypothesis for beam in query.beams[group]]
        query.steps += 1
        if self.on_step is not None:
            self.on_step(query, before)
        return new

    def settle(self, queries: Sequence[Query]) -> None:
        """Collect finished hypotheses, and close the queries that are done."""
        for query in queries:
            self.collect(query)
            self.close(query)

    def collect(self, query: Query) -> None:
        """Move finished hypotheses from the beams to the pool, and remove dropped ones."""
        for group, beams in enumerate(query.beams):
            for hypothesis, _ in beams:
                if hypothesis.finished:
                    length = max(hypothesis.depth, 1) ** self.settings.length_penalty
                    query.pool.add(hypothesis, hypothesis.score / length)
            query.beams[group] = [
                beam for beam in beams if not (beam.hypothesis.finished or beam.hypothesis.dropped)
            ]

    def close(self, query: Query) -> None:
        """Close a query that no open beam can improve, by core's default rule."""
        length = query.steps**self.settings.length_penalty
        query.closed = query.best_open_score() / length <= query.pool.worst()


def num_candidates(width: int, num_ends: int) -> int:
    """Number of continuations of a group that a step considers, as in core's beam search."""
    return max(2, 1 + num_ends) * width


def largest(values: NDArray[np.floating], number: int) -> NDArray[np.int64]:
    """Positions of the largest values in descending order, the first of equal values first."""
    if len(values) > number:
        least = np.partition(values, len(values) - number)[len(values) - number]
        positions = np.flatnonzero(values >= least)
    else:
        positions = np.arange(len(values))
    return positions[np.argsort(-values[positions], kind="stable")][:number]


@dataclass
class GenerateCall:
    """What core's `generate` hands to a `custom_generate`."""

    search: DiverseBeamSearch
    model: Any
    input_ids: torch.Tensor
    logits_processor: LogitsProcessorList
    stopping_criteria: core.StoppingCriteriaList
    generation_config: GenerationConfig
    model_kwargs: dict[str, Any]

    def wants(self, name: str) -> bool:
        """Whether `output_<name>` was asked for."""
        config = self.generation_config
        return bool(config.return_dict_in_generate and getattr(config, f"output_{name}"))

    def extra_criteria(self) -> core.StoppingCriteriaList:
        """The stopping criteria other than the length and the end tokens."""
        own = (core.MaxLengthCriteria, core.EosTokenCriteria)
        return core.StoppingCriteriaList(
            [one for one in self.stopping_criteria if not isinstance(one, own)]
        )


@dataclass
class DiverseBeamSearch:
    """Settings of the search; calling it is core's `custom_generate`.

    Args:
        num_beams: beams per query, in all groups together.
        num_beam_groups: groups, which choose one after the other; must divide `num_beams`.
        diversity_penalty: subtracted from a token's log-probability for each beam of an earlier
            group that chose this token in the same step. It is not part of the scores.
        num_return_sequences: finished hypotheses to keep per query; may exceed `num_beams`.
        length_penalty: scores are divided by length ** length_penalty; 0 is Eq. 1.
        score_eos: whether the end token counts where nothing else is allowed. False: the score is
            Eq. 1 over the clue's tokens, and such a hypothesis is finished whatever its rank. True:
            with one group and no penalty, sequences and scores are those of core's beam search. An
            end token that was one of several choices always counts.
        shared_prompt: compute the prompt once per query. False: once per beam, as core does; scores
            then equal core's to the last bit, since other matrix shapes round differently.
        scorer: what may follow the beams; by default a `RowScorer`.
        tree_search: deprecated, without effect: pass `scorer=TreeScorer(constraint)`.

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
    scorer: BeamScorer | None = None
    tree_search: bool | None = None

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
        if self.tree_search is not None:
            warnings.warn(
                "'tree_search' is deprecated: pass scorer=TreeScorer(constraint) instead.",
                FutureWarning,
                stacklevel=3,
            )

    @torch.no_grad()
    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: core.StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> torch.Tensor | BeamSearchOutput:
        """Search; the arguments are those that core hands to a `custom_generate`."""
        call = GenerateCall(
            self, model, input_ids, logits_processor, stopping_criteria, generation_config,
            model_kwargs,
        )  # fmt: skip
        scorer = self.scorer or RowScorer()
        queries = BeamSearch(self, scorer, scorer.prefill(call)).run()
        return self._output(call, queries, getattr(scorer, "recorded", {}))

    def _output(
        self, call: GenerateCall, queries: Sequence[Query], recorded: Mapping[str, Any]
    ) -> torch.Tensor | BeamSearchOutput:
        """The best `num_return_sequences` hypotheses of every query, in core's form."""
        number, config = self.num_return_sequences, call.generation_config
        missing = [(-math.inf, Hypothesis(None, -1, 0.0))] * number
        best = [e for query in queries for e in [*query.pool.ranked(), *missing][:number]]
        ids = [hypothesis.output_ids() for _, hypothesis in best]
        prompts = call.input_ids.repeat_interleave(number, dim=0)
        sequences = torch.cat([prompts, _padded(ids, padding_id(config), prompts)], dim=-1)
        if not config.return_dict_in_generate:
            return sequences
        rows = [[n.parent.row for n in h.path()] + [h.row] for _, h in best]
        indices = [row[: len(tokens)] for row, tokens in zip(rows, ids, strict=True)]
        return BeamSearchOutput(
            sequences=sequences,  # type: ignore[arg-type]
            sequences_scores=torch.tensor([score for score, _ in best], device=prompts.device),  # type: ignore[arg-type]
            beam_indices=_padded(indices, -1, prompts) if config.output_scores else None,  # type: ignore[arg-type]
            beam_groups=prompts.new_tensor([hypothesis.group for _, hypothesis in best]),
            **recorded,
        )


def _padded(rows: Sequence[list[int]], padding: int, like: torch.Tensor) -> torch.Tensor:
    longest = max(map(len, rows), default=0)
    return like.new_tensor([row + [padding] * (longest - len(row)) for row in rows])


def padding_id(config: GenerationConfig) -> int:
    """The padding token, or an end token if there is none."""
    for tensor in (config._pad_token_tensor, config._eos_token_tensor):
        if tensor is not None:
            return int(tensor.flatten()[0])
    return 0


class RowScorer:
    """The default scorer: the model and the logits processors on a row for each beam.

    A query has `num_beams` rows, in the order of groups and beams. Its prompt is computed once.
    """

    logits: torch.Tensor

    @property
    def num_ends(self) -> int:
        """See `BeamScorer`."""
        return len(self.ends_of_clues)

    def prefill(self, call: GenerateCall) -> list[Hypothesis]:
        """See `BeamScorer`.

        Raises:
            ValueError: if the cache is static.
        """
        if getattr(call.model_kwargs.get(CACHE), "is_compileable", False):
            raise ValueError(
                "Diverse beam search shares one prompt among its beams, which a static cache "
                "cannot; leave cache_implementation out."
            )
        self.call, self.num_beams = call, call.search.num_beams
        self.width = self.num_beams // call.search.num_beam_groups
        ends = call.generation_config._eos_token_tensor
        self.ends_of_clues = [] if ends is None else ends.tolist()
        # Each beam of an earlier group penalizes one token: one more candidate for each of them.
        self.num_following = num_candidates(self.width, self.num_ends) + self.num_beams
        self.extra_criteria = call.extra_criteria()
        self.recorded: dict[str, Any] = {}
        self.sequences = self._for_beams(call.input_ids)
        self.model_kwargs = {"use_cache": True, **call.model_kwargs}
        if call.search.shared_prompt:
            self._compute(call.input_ids, is_first_iteration=True)
            if self.model_kwargs["use_cache"]:
                self.model_kwargs[CACHE].batch_repeat_interleave(self.num_beams)
            self.logits = self._for_beams(self.logits)
            self.model_kwargs = self._all_for_beams(self.model_kwargs)
        else:
            self.model_kwargs = self._all_for_beams(self.model_kwargs)
            self._compute(self.sequences, is_first_iteration=True)
        self.computed = True
        return [Hypothesis(None, -1, 0.0, r) for r in range(0, len(self.sequences), self.num_beams)]

    def score(self, queries: Sequence[Query]) -> None:
        """See `BeamScorer`."""
        if not self.computed:
            self._append(queries)
        self.computed = False
        # A copy, since a processor may change its input.
        self._record("logits", self.logits.clone() if self.call.wants("logits") else None)
        log_probs = self.call.logits_processor(self.sequences, self.logits.log_softmax(-1))  # type: ignore[arg-type]
        self._record("scores", log_probs)
        log_probs = log_probs.masked_fill(log_probs <= FORBIDDEN, -torch.inf)
        best = log_probs.topk(min(self.num_following, log_probs.shape[-1]))
        values, tokens = best.values.cpu().numpy(), best.indices.cpu().numpy()
        for query in queries:
            for hypothesis in {id(h): h for beams in query.beams for h, _ in beams}.values():
                allowed = values[hypothesis.row] > -np.inf
                hypothesis.following = tokens[hypothesis.row, allowed]
                hypothesis.log_probs = values[hypothesis.row, allowed]
                hypothesis.dropped = not allowed.any()
                only_ends = set(hypothesis.following.tolist()) <= set(self.ends_of_clues)
                if only_ends and not hypothesis.dropped and not self.call.search.score_eos:
                    hypothesis.finished, hypothesis.end = True, int(hypothesis.following[0])

    def ends(self, choices: Sequence[tuple[Hypothesis, int]]) -> list[bool]:
        """See `BeamScorer`: an end token, the maximum length, or a stopping criterion."""
        if self.sequences.shape[1] + 1 >= self.call.generation_config.max_length:
            return [True] * len(choices)
        tokens = [int(hypothesis.following[position]) for hypothesis, position in choices]
        ends = [token in self.ends_of_clues for token in tokens]
        if len(self.extra_criteria) > 0 and choices:
            rows = [hypothesis.row for hypothesis, _ in choices]
            continued = torch.cat(
                [self.sequences[rows], self.sequences.new_tensor(tokens)[:, None]], dim=-1
            )
            stopped = self.extra_criteria(continued, None).tolist()  # type: ignore[arg-type]
            ends = [end or stop for end, stop in zip(ends, stopped, strict=True)]
        return ends

    def advance(self, hypotheses: Sequence[Hypothesis]) -> None:
        """See `BeamScorer`. Nothing to do: `score` appends the tokens of the open beams."""

    def _append(self, queries: Sequence[Query]) -> None:
        """Give each beam its row, append the beams' tokens and compute the logits after them."""
        parents = list(range(len(self.sequences)))
        tokens = [padding_id(self.call.generation_config)] * len(parents)
        for query in queries:
            row = query.number * self.num_beams
            [some_beam, *_] = [beam for beams in query.beams for beam in beams]
            for beams in query.beams:
                for number in range(self.width):
                    # Rows without a beam repeat another one: processors get valid rows only.
                    hypothesis = (beams[number] if number < len(beams) else some_beam).hypothesis
                    if number < len(beams):
                        hypothesis.row = row
                    parents[row], tokens[row] = hypothesis.parent.row, hypothesis.token
                    row += 1
        rows = self.sequences.new_tensor(parents)
        appended = self.sequences.new_tensor(tokens)[:, None]
        self.sequences = torch.cat([self.sequences[rows], appended], dim=-1)
        if self.model_kwargs.get(CACHE) is not None:
            self.model_kwargs[CACHE].reorder_cache(rows)
        self._compute(
            self.sequences, next_sequence_length=1 if self.model_kwargs["use_cache"] else None
        )

    def _compute(self, input_ids: torch.Tensor, **options: Any) -> None:
        """Run the model; `logits` is then float32 (rows, vocab_size), as core's beam search has."""
        model = self.call.model
        inputs = model.prepare_inputs_for_generation(input_ids, **options, **self.model_kwargs)
        outputs = model(**inputs, return_dict=True)
        self.model_kwargs = model._update_model_kwargs_for_generation(outputs, self.model_kwargs)
        self.logits = outputs.logits[:, -1].to(device=input_ids.device, dtype=torch.float32)
        for name in ("attentions", "hidden_states"):
            layers = getattr(outputs, name)
            if layers and len(input_ids) < len(self.sequences):
                layers = tuple(map(self._for_beams, layers))
            self._record(name, layers)
        if self.model_kwargs.get(CACHE) is not None:
            self.recorded[CACHE] = self.model_kwargs[CACHE]

    def _record(self, name: str, value: Any) -> None:
        """Keep a part of the output that was asked for."""
        if value is not None and self.call.wants(name):
            self.recorded[name] = (*self.recorded.get(name, ()), value)

    def _for_beams(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.repeat_interleave(self.num_beams, dim=0)

    def _all_for_beams(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Each query's rows once for each of its beams."""
        tensors = {
            n: v for n, v in arguments.items() if isinstance(v, torch.Tensor) and v.dim() > 0
        }
        return {**arguments, **{name: self._for_beams(value) for name, value in tensors.items()}}


def cache_argument(model: Any) -> str | None:
    """Name of the argument of a model's `forward` that takes keys and values; None if it has none.

    A model whose code is on the Hub may have another name than the installed transformers.
    """
    parameters = inspect.signature(model.forward).parameters
    return next((name for name in CACHE_NAMES if name in parameters), None)


def as_processor_list(logits_processor: Processors) -> LogitsProcessorList:
    """A bare processor, a list of them or None, as the list that core's `generate` needs."""
    if logits_processor is None:
        processors = LogitsProcessorList()
    elif isinstance(logits_processor, list):
        processors = LogitsProcessorList(logits_processor)
    elif callable(logits_processor):
        processors = LogitsProcessorList([logits_processor])
    else:
        hint = ": pass its constraint()" if hasattr(logits_processor, "constraint") else ""
        name = type(logits_processor).__name__
        raise TypeError(f"A {name} is not a logits processor{hint}.")
    for processor in processors:
        reset = getattr(processor, "reset", None)
        if callable(reset):
            reset()  # this call must not look like a continuation of the previous one
    return processors


def check_tokenizers(fingerprint: str | None, processors: Sequence[Any]) -> None:
    """Raise ValueError for the constraint of a knowledge base that another tokenizer indexed."""
    for processor in processors:
        other = getattr(processor, "tokenizer_fingerprint", None)
        if fingerprint and other and fingerprint != other:
            raise ValueError(
                f"This model was tuned with the tokenizer {fingerprint[:8]}, and the constraint's "
                f"knowledge base was made with {other[:8]}: their tokens are different words."
            )


SEARCH_SETTINGS = tuple(DiverseBeamSearch.__dataclass_fields__)


def search_arguments(
    search: DiverseBeamSearch, logits_processor: Processors, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments with which core's `generate` runs `search`, which expands the rows itself."""
    arguments = dict(arguments)
    processors = as_processor_list(logits_processor)
    allowed_tokens = arguments.pop("prefix_allowed_tokens_fn", None)
    if allowed_tokens is not None:
        # Core would count one row per query.
        processors.append(core.PrefixConstrainedLogitsProcessor(allowed_tokens, search.num_beams))
    return {
        **arguments,
        "logits_processor": processors,
        "custom_generate": search,
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
    }


class GeMKRGenerationMixin(core.GenerationMixin):
    """`generate` with the paper's diverse beam search as the default."""

    if TYPE_CHECKING:  # of the model that this is mixed into
        config: GeMKRConfig
        get_image_features: Callable
        vision_tower: PreTrainedModel

    def generate(  # type: ignore[override]
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Processors = None,
        custom_generate: str | Callable | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write knowledge clues for multi-modal queries, never an `<image>` or `<object>`.

        Diverse beam search with the defaults of `config.decoding`; `num_beams=1` and
        `do_sample=True` are core's greedy search and sampling.

        Args:
            inputs: as in transformers, like `generation_config` and `custom_generate`.
            logits_processor: the constraint, bare or in a list of processors.
            **kwargs: the inputs of `forward`, the fields of `DiverseBeamSearch`, and other
                arguments of core's `generate`. If `num_beams` is given without `num_beam_groups`,
                the configured groups are used as far as they divide it. `max_new_tokens` is by
                default the constraint's `max_length` and one for the end token, or else the
                configuration's.

        Returns:
            int64 tensor (batch_size * num_return_sequences, longest), prompts and clues; or a
            `BeamSearchOutput` with `return_dict_in_generate=True`.

        Raises:
            ValueError: if a setting is out of range, or the constraint is of another tokenizer.
        """
        if kwargs.get("pixel_values") is not None:
            kwargs = self._encode_images(kwargs)
        given = _given(generation_config, kwargs)
        processors = as_processor_list(logits_processor)
        constraints = [*processors, given.get("scorer")]
        check_tokenizers(self.config.tokenizer_fingerprint, constraints)
        if "scorer" not in given:  # a scorer contains a constraint
            configs = (generation_config, self.generation_config)
            defaults = (getattr(config, "suppress_tokens", None) for config in configs)
            suppressed = kwargs.get("suppress_tokens") or next(filter(None, defaults), ())
            slots = (self.config.image_token_id, self.config.object_token_id)
            kwargs["suppress_tokens"] = sorted({*suppressed, *slots})
        if "max_new_tokens" not in given and "max_length" not in given:
            lengths = (getattr(constraint, "max_length", None) for constraint in constraints)
            limits = [length + 1 for length in lengths if isinstance(length, int)]
            kwargs["max_new_tokens"] = max(limits or [self.config.decoding["max_new_tokens"]])
        if custom_generate is not None:
            kwargs.update(logits_processor=processors, custom_generate=custom_generate)
        else:
            decoding = {**self.config.decoding, **given}
            if decoding.get("do_sample") or decoding["num_beams"] == 1:
                kwargs["logits_processor"] = processors
            else:
                if "num_beam_groups" not in given:
                    groups = math.gcd(decoding["num_beams"], decoding["num_beam_groups"])
                    decoding["num_beam_groups"] = groups
                search = DiverseBeamSearch(
                    **{name: decoding[name] for name in SEARCH_SETTINGS if name in decoding}
                )
                arguments = {k: v for k, v in kwargs.items() if k not in SEARCH_SETTINGS}
                kwargs = search_arguments(search, processors, arguments)
        return super().generate(  # type: ignore[misc]
            inputs, generation_config=generation_config, **kwargs
        )

    @torch.no_grad()
    def _encode_images(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Replace images by their features, so that no beam and no step encodes them again."""
        names = (*IMAGE_INPUTS, "object_mask")
        images = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
        # Weights that a device map keeps elsewhere are on "meta", and move their inputs.
        if self.vision_tower is not None and self.vision_tower.device.type != "meta":
            device = self.vision_tower.device
            images = {name: value.to(device) for name, value in images.items()}
        features = self.get_image_features(**images)
        kept = {name: value for name, value in kwargs.items() if name not in IMAGE_INPUTS}
        return {**kept, "image_features": features.pooler_output}

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As in transformers; images belong to the prompt and are left out after it."""
        inputs = super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids,  # type: ignore[arg-type]
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        cache = kwargs.get(CACHE)
        # In assisted decoding, the assistant's first step is not core's first iteration.
        after_prompt = not is_first_iteration and cache is not None and cache.get_seq_length() > 0
        if after_prompt and kwargs.get("use_cache", True):
            for name in (*IMAGE_INPUTS, "object_mask", "image_features"):
                inputs.pop(name, None)
        return inputs


def _given(generation_config: GenerationConfig | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's settings: keyword arguments before the fields of a generation config."""
    names = (*SEARCH_SETTINGS, "do_sample", "max_new_tokens", "max_length")
    given = {name: getattr(generation_config, name, None) for name in names}
    given.update({name: kwargs[name] for name in names if name in kwargs})
    return {name: value for name, value in given.items() if value is not None}


__all__ = [
    "CACHE", "Beam", "BeamScorer", "BeamSearch", "BeamSearchOutput", "DiverseBeamSearch",
    "GeMKRGenerationMixin", "GenerateCall", "Hypothesis", "HypothesisPool", "Query", "RowScorer",
    "cache_argument", "largest", "search_arguments",
]  # fmt: skip
