"""The constraint as a logits processor: only tokens that GetNext allows (paper, "Knowledge-guided
Constraint Decoding")."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from transformers import LogitsProcessor

from gemkr_hf.decoding.clue_rules import ClueRules, is_one_of
from gemkr_hf.decoding.device import to_device
from gemkr_hf.index import FMIndex, Intervals
from gemkr_hf.index.bit_vectors import KERNEL
from gemkr_hf.utils.deprecation import with_new_keys

DROPPED = -1e9
"""Score of a dropped clue. transformers fails on rows in which all scores are -inf."""


class _Beams(NamedTuple):
    """The clues of n rows: their intervals in the index, and whether they have ended, bool (n,)."""

    intervals: Intervals
    finished: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "_Beams":
        return _Beams(self.intervals.take(rows), self.finished[rows])


@dataclass
class _Generation:
    """State of a `generate` call: rows of the last step, int64 (n, length), and their clues."""

    prompt_length: int
    rows: NDArray[np.int64]
    beams: _Beams


class FMIndexConstraint(LogitsProcessor):
    """Allow only clues: token sequences of the indexed documents.

    - The first token may be any that occurs in a document; each further one must follow the clue so
      far in some document (GetNext).
    - From `min_length` tokens on, a clue that a single document contains (ValidDistinct) must end.
    - A clue must end at `max_length` tokens, and at the end of its document. Where it also occurs
      elsewhere in the same document, it may end.
    - A clue that must end although several documents contain it is dropped: only an end token is
      allowed, at a score of -1e9, so that a beam search ranks it last.

    It works in `GeMKRForRetrieval.generate`, and in transformers' own greedy search, sampling and
    beam search for any causal language model, without a list around it:
    `model.generate(**inputs, logits_processor=constraint)`.

    A row's clue is what follows the prompt, whose length is that of the first call. A call
    continues a generation if each of its rows, without the last token, is a row of the previous
    call; otherwise it starts a new generation. So one constraint can be used for any number of
    `generate` calls, in several threads.

    Args:
        index: the documents.
        eos_token_id: one or more end tokens of a clue.
        min_length: l_min of the paper, in tokens without the end token.
        max_length: l_max of the paper, in tokens without the end token.
        pad_token_id: also allowed after an end token.
        prompt_length: length of the prompt in all rows; needed if the clue begins in the prompt, or
            if decoding does not go step by step.
        whole_documents: a clue is a whole document, from its first token to its last, or to
            `max_length` (paper, Table 4, "Full Document w/ Constraints").
        ambiguity_penalty: subtracted from a clue's score for each token beyond `min_length`, which
            it needs because it is still ambiguous.
        renormalize: return log-probabilities over the allowed tokens. Otherwise the scores of
            allowed tokens are not changed.
        keep_ambiguous: do not drop clues that several documents contain: they are clues of the
            first of these documents (like the paper's released code, with `min_length` equal to
            `max_length`).

    Raises:
        ValueError: if a length, an id or the penalty is out of range.

    Examples:
        >>> import torch
        >>> index = FMIndex.build([[3, 4, 5], [3, 6]])
        >>> constraint = FMIndexConstraint(index, eos_token_id=1, min_length=1, max_length=3)
        >>> def allowed(ids):
        ...     scores = constraint(torch.tensor([ids]), torch.zeros(1, 8))
        ...     return torch.isfinite(scores)[0].nonzero()
        >>> allowed([0]).flatten().tolist()  # a prompt of one token
        [3, 4, 5, 6]
        >>> allowed([0, 3]).flatten().tolist()
        [4, 6]
        >>> allowed([0, 3, 6]).flatten().tolist()  # distinctive
        [1]
    """

    def __init__(
        self,
        index: FMIndex,
        eos_token_id: int | Sequence[int],
        min_length: int = 10,
        max_length: int = 15,
        pad_token_id: int | None = None,
        prompt_length: int | None = None,
        whole_documents: bool = False,
        ambiguity_penalty: float = 0.0,
        renormalize: bool = False,
        keep_ambiguous: bool = False,
        **renamed: Any,
    ) -> None:
        whole_documents = _new_keywords(renamed).get("whole_documents", whole_documents)
        ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        self.rules = ClueRules(
            index,
            ends,
            min_length,
            max_length,
            whole_documents,
            ambiguity_penalty,
            renormalize,
            keep_ambiguous,
        )
        if prompt_length is not None and prompt_length < 0:
            raise ValueError(f"prompt_length must not be negative, got {prompt_length}")
        self.prompt_length = prompt_length
        # Fingerprint of the knowledge base's tokenizer, which a model compares with its own.
        self.tokenizer_fingerprint: str | None = None
        after_end = ends if pad_token_id is None else {*ends, pad_token_id}
        self._after_end = np.array(sorted(after_end), dtype=np.int64)
        self._local = threading.local()

    @property
    def index(self) -> FMIndex:
        """The index of the documents."""
        return self.rules.index

    @property
    def min_length(self) -> int:
        """Minimum number of tokens of a clue."""
        return self.rules.min_length

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a clue, without the end token."""
        return self.rules.max_length

    # transformers expects a list of processors, whose length it takes and over which it iterates.
    # As its own only element, the constraint can be passed without a list.

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator["FMIndexConstraint"]:
        yield self

    def reset(self) -> None:
        """Start a new generation with the next call.

        Only needed if a prompt is a row of the previous call and one more token, as the output of
        `generate` is; `GeMKRForRetrieval.generate` and `diverse_beam_search` call it themselves.
        """
        self._local.generation = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Forbid tokens that do not continue a clue.

        The ids are read once, and the allowed tokens are sent to the scores' device as one vector
        of positions: nothing else waits for the device.

        Args:
            input_ids: int64 (rows, length), prompts and the tokens generated so far.
            scores: float (rows, vocab_size), logits or log-probabilities.

        Returns:
            float (rows, vocab_size): a copy with -inf for forbidden tokens. Every row allows at
            least an end token.

        Raises:
            ValueError: if an end token is not in the model's vocabulary, or a row is shorter than
                `prompt_length`.
        """
        vocab_size = scores.shape[-1]
        if self.rules.ends[-1] >= vocab_size:
            raise ValueError(
                f"The end token {self.rules.ends[-1]} is not in the model's vocabulary of "
                f"{vocab_size}: the constraint was made with another tokenizer"
            )
        ids = np.ascontiguousarray(input_ids.detach().cpu().numpy(), dtype=np.int64)
        generation = self._advance(ids)
        self._local.generation = generation
        clue_length = ids.shape[1] - generation.prompt_length
        if clue_length == 0:
            masked = self._mask_first(scores)
            return masked.log_softmax(-1) if self.rules.renormalize else masked
        positions, penalized, costs = self._allowed(generation.beams, clue_length, vocab_size)
        masked = _keep(scores, positions)
        if self.rules.renormalize:
            masked = masked.log_softmax(-1)
        if len(penalized):
            costs = np.minimum(costs, -_lowest(scores.dtype)).astype(np.float32)
            indices = to_device(penalized, scores.device)
            differences = to_device(-costs, scores.device).to(scores.dtype)
            masked.view(-1).index_add_(0, indices, differences)
        return masked

    # -- state of the beams ------------------------------------------------------------------------

    def _advance(self, ids: NDArray[np.int64]) -> _Generation:
        """The state after a call with these rows, int64 (rows, length)."""
        length = ids.shape[1]
        before: _Generation | None = getattr(self._local, "generation", None)
        beams = None if before is None else self._continue(before, ids)
        if before is not None and beams is not None:
            return _Generation(before.prompt_length, ids, beams)
        prompt_length = length if self.prompt_length is None else self.prompt_length
        if prompt_length > length:
            raise ValueError(
                f"prompt_length={prompt_length} is beyond the rows' length of {length}"
            )
        return _Generation(prompt_length, ids, self._start(ids[:, prompt_length:]))

    def _continue(self, before: _Generation, ids: NDArray[np.int64]) -> _Beams | None:
        """The beams with one more token; None if the rows do not continue the previous call."""
        count, length = ids.shape
        rows = before.rows
        if length != rows.shape[1] + 1 or len(rows) == 0:
            return None
        # With inputs_embeds alone rows start empty, and only their number can be compared.
        if length == 1 and count != len(rows):
            return None
        parents = np.empty(count, dtype=np.int64)
        if not _find_rows(rows, ids, parents):
            return None
        return self._append(before.beams.take(parents), ids[:, -1])

    def _start(self, clues: NDArray[np.int64]) -> _Beams:
        """The beams of clues int64 (n, length), from their first tokens."""
        beams = _Beams(self.rules.begin(len(clues)), np.zeros(len(clues), dtype=bool))
        for tokens in clues.T:
            beams = self._append(beams, tokens)
        return beams

    def _append(self, beams: _Beams, tokens: NDArray[np.int64]) -> _Beams:
        finished = beams.finished | is_one_of(tokens, self.rules.ends)
        return _Beams(self.index.extend(beams.intervals, tokens), finished)

    # -- what is allowed ---------------------------------------------------------------------------

    def _mask_first(self, scores: torch.Tensor) -> torch.Tensor:
        """Mask the first token: all rows allow the same tokens, most of the vocabulary."""
        vocab_size, device = scores.shape[-1], scores.device
        masks = self._local.__dict__.setdefault("first", {})
        if (vocab_size, device) not in masks:
            first = self.rules.next(self.rules.begin(), np.zeros(1, np.int64), vocab_size)
            # -inf for tokens that begin no clue. Without any clue, the end of a dropped one.
            added = torch.full((vocab_size,), -torch.inf)
            added[torch.from_numpy(first.tokens)] = 0.0
            if len(first.tokens) == 0:
                added[torch.from_numpy(self.rules.ends)] = _lowest(scores.dtype)
            masks[vocab_size, device] = added.to(device)
        return scores + masks[vocab_size, device].to(scores.dtype)

    def _allowed(
        self, beams: _Beams, clue_length: int, vocab_size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The allowed tokens.

        Returns:
            int64 positions row * vocab_size + token of all allowed tokens, then those of them whose
            score is lowered, and by how much, float32.
        """
        rules = self.rules
        open_rows = (~beams.finished).nonzero()[0]
        intervals = beams.intervals
        if len(open_rows) < len(beams.finished):
            intervals = intervals.take(open_rows)
        lengths = np.full(len(open_rows), clue_length)
        following = rules.next(intervals, lengths, vocab_size)
        most_ends = max(len(rules.ends), len(self._after_end))
        positions = np.empty(len(following.tokens) + len(beams.finished) * most_ends, np.int64)
        total, num_continuing, num_kept = _fill_positions(
            beams.finished, open_rows, following.dropped, following.offsets, following.tokens,
            rules.ends, self._after_end, vocab_size, positions,
        )  # fmt: skip
        dropped = positions[num_kept:total]
        costs = np.full(len(dropped), -DROPPED, dtype=np.float32)
        if rules.ambiguity_penalty > 0 and rules.penalty(lengths[:1]).any():
            penalized = np.concatenate([positions[:num_continuing], dropped])
            penalty = np.full(num_continuing, rules.ambiguity_penalty, dtype=np.float32)
            return positions[:total], penalized, np.concatenate([penalty, costs])
        return positions[:total], dropped, costs

    # -- copies ------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # transformers copies processors for assisted decoding; the state belongs to its thread.
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


@njit(**KERNEL)
def _find_rows(previous, rows, parents):  # type: ignore[no-untyped-def]
    """Find the previous row that each row continues by one token; False if one has none."""
    for number in range(rows.shape[0]):
        parent = -1
        for step in range(previous.shape[0]):
            # Most beams keep their row, and rows differ in their last tokens.
            candidate = (number + step) % previous.shape[0]
            position = previous.shape[1] - 1
            while position >= 0 and previous[candidate, position] == rows[number, position]:
                position -= 1
            if position < 0:
                parent = candidate
                break
        if parent < 0:
            return False
        parents[number] = parent
    return True


@njit(**KERNEL)
def _fill_positions(  # type: ignore[no-untyped-def]
    finished, open_rows, dropped, offsets, tokens, ends, after_end, vocab_size, positions
):
    """Fill ``positions`` with row * vocab_size + token of all allowed tokens.

    First come those of rows that continue, then of rows that end or have ended, then of dropped
    rows. Returns how many there are in all, up to the first kind, and up to the second kind.
    """
    total = 0
    for number in range(open_rows.shape[0]):
        start = open_rows[number] * vocab_size
        for index in range(offsets[number], offsets[number + 1]):
            positions[total] = start + tokens[index]
            total += 1
    num_continuing = total
    for number in range(open_rows.shape[0]):
        if offsets[number] == offsets[number + 1] and not dropped[number]:
            for token in ends:
                positions[total] = open_rows[number] * vocab_size + token
                total += 1
    for row in range(finished.shape[0]):
        if finished[row]:
            for token in after_end:
                if token < vocab_size:
                    positions[total] = row * vocab_size + token
                    total += 1
    num_kept = total
    for number in range(open_rows.shape[0]):
        if dropped[number]:
            for token in ends:
                positions[total] = open_rows[number] * vocab_size + token
                total += 1
    return total, num_continuing, num_kept


def _new_keywords(renamed: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments by their new names; a TypeError for unknown ones."""
    unknown = sorted(set(renamed) - {"whole"})
    if unknown:
        raise TypeError(f"FMIndexConstraint() got an unexpected keyword argument '{unknown[0]}'")
    return with_new_keys(renamed, {"whole": "whole_documents"})


def _lowest(dtype: torch.dtype) -> float:
    """The score of dropped clues; half precision would turn -1e9 into -inf."""
    return max(DROPPED, torch.finfo(dtype).min / 2)


def _keep(scores: torch.Tensor, positions: NDArray[np.int64]) -> torch.Tensor:
    """A copy of the scores with -inf everywhere but at the positions."""
    indices = to_device(positions, scores.device)
    kept = torch.full_like(scores, -torch.inf, memory_format=torch.contiguous_format)
    kept.view(-1).index_copy_(0, indices, scores.reshape(-1).index_select(0, indices))
    return kept


__all__ = ["DROPPED", "FMIndexConstraint"]
