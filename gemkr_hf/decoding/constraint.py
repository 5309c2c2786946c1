"""The constraint: at every step only the tokens that GetNext allows (paper, "Knowledge-guided
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

DROPPED = -1e9
"""Score of a clue that is no answer. transformers cannot bear a row of nothing but -inf."""


class _Beams(NamedTuple):
    """What is known of each row's clue: where it stands in the index, and whether it has ended.

    intervals : Intervals of n clues
    finished : bool[n]
    """

    intervals: Intervals
    finished: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "_Beams":
        return _Beams(self.intervals.take(rows), self.finished[rows])


@dataclass
class _Generation:
    """One run of `generate`: the rows of its last step, and what they stand for.

    rows : int64 (n, length)
    """

    prompt_length: int
    rows: NDArray[np.int64]
    beams: _Beams


class FMIndexConstraint(LogitsProcessor):
    """Allows only clues: token sequences of the indexed documents.

    - The first token may be any that occurs, every further one must follow the clue so far
      somewhere in the documents (GetNext).
    - From `min_length` tokens on a clue that only one document holds (ValidDistinct) must end.
    - With `max_length` tokens a clue must end, and so it must where its document ends. Where
      another place in the same document goes on, it may end.
    - A clue that must end although several documents hold it is dropped: it may only end, at a
      score of -1e9, so that a beam search brings back any other before it.

    Works in `GeMKRForRetrieval.generate`, and in transformers' own greedy search, sampling and beam
    search for any causal language model, where it passes bare:
    `model.generate(**inputs, logits_processor=constraint)`.

    A row's clue is what follows the prompt. The prompt's length is taken from the first call of a
    generation. A call continues the generation before it if each of its rows, without the last
    token, is a row of the call before; otherwise it begins a new one, so that one constraint serves
    any number of `generate` calls, one after the other in each thread.

    Args:
        index: FMIndex.
        eos_token_id: int or sequence of them. What ends a clue.
        min_length, max_length: l_min and l_max of the paper, in tokens without the end token.
        pad_token_id: what may also follow an end token.
        prompt_length: the prompt's length where a clue is begun in the prompt, or decoding does not
            go step by step. All rows of all calls then share it.
        whole: A clue is all of a document, from its first token to its last, or as far as
            `max_length` (paper, Table 4, "Full Document w/ Constraints").
        ambiguity_penalty: taken from a clue's score for each token that it has because it was still
            ambiguous with `min_length`, so that short distinctive clues come first.
        renormalize: return log-probabilities of the distribution over the allowed tokens alone.
            Otherwise scores are left as they are.
        keep_ambiguous: do not drop clues that must end although several documents hold them; the
            first of these is the clue's (as the paper's released code has it, with `min_length`
            equal to `max_length`).

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
        whole: bool = False,
        ambiguity_penalty: float = 0.0,
        renormalize: bool = False,
        keep_ambiguous: bool = False,
    ) -> None:
        ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        self.rules = ClueRules(
            index,
            ends,
            min_length,
            max_length,
            whole,
            ambiguity_penalty,
            renormalize,
            keep_ambiguous,
        )
        if prompt_length is not None and prompt_length < 0:
            raise ValueError(f"prompt_length must not be negative, got {prompt_length}")
        self.prompt_length = prompt_length
        # Of the tokenizer whose tokens these are, where it is known: a model compares it.
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
        """Tokens that a clue has at least."""
        return self.rules.min_length

    @property
    def max_length(self) -> int:
        """Tokens that a clue has at most, without the end token."""
        return self.rules.max_length

    # transformers takes a list of processors and asks `len()` of what it gets, then iterates. Being
    # its own only element lets the constraint pass bare.

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator["FMIndexConstraint"]:
        yield self

    def reset(self) -> None:
        """Forget the generation under way: the next call begins a new one.

        Only needed where a prompt is one token longer than a row before it and begins like it, as
        what `generate` returned does; `GeMKRForRetrieval.generate` and `diverse_beam_search` call
        it themselves.
        """
        self._local.generation = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Forbid what is no clue.

        The ids are read once, and what is allowed goes to the scores' device as one vector of
        places: no other step waits for the device.

        Args:
            input_ids: int64 tensor (rows, length), prompts and what was written.
            scores: float tensor (rows, vocab_size), logits or log-probabilities.

        Returns:
            float tensor (rows, vocab_size): a copy, -inf where a token is forbidden. Every row
            allows, at least an end token.

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
        places, lowered, by = self._allowed(generation.beams, clue_length, vocab_size)
        masked = _keep(scores, places)
        if self.rules.renormalize:
            masked = masked.log_softmax(-1)
        if len(lowered):
            by = np.minimum(by, -_lowest(scores.dtype)).astype(np.float32)
            at = to_device(lowered, scores.device)
            masked.view(-1).index_add_(0, at, to_device(-by, scores.device).to(scores.dtype))
        return masked

    # -- following the beams -----------------------------------------------------------------------

    def _advance(self, ids: NDArray[np.int64]) -> _Generation:
        """The generation after this call's rows, int64 (rows, length)."""
        length = ids.shape[1]
        before: _Generation | None = getattr(self._local, "generation", None)
        beams = None if before is None else self._continued(before, ids)
        if before is not None and beams is not None:
            return _Generation(before.prompt_length, ids, beams)
        prompt_length = length if self.prompt_length is None else self.prompt_length
        if prompt_length > length:
            raise ValueError(
                f"prompt_length={prompt_length} is beyond the rows' length of {length}"
            )
        return _Generation(prompt_length, ids, self._begun(ids[:, prompt_length:]))

    def _continued(self, before: _Generation, ids: NDArray[np.int64]) -> _Beams | None:
        """One token further than the call before; None if these rows do not continue it."""
        count, length = ids.shape
        known = before.rows
        if length != known.shape[1] + 1 or len(known) == 0:
            return None
        # Rows without anything in common with the call before them (inputs_embeds only): beams that
        # grew from the empty row are as many as it was.
        if length == 1 and count != len(known):
            return None
        parents = np.empty(count, dtype=np.int64)
        if not _find_rows(known, ids, parents):
            return None
        return self._appended(before.beams.take(parents), ids[:, -1])

    def _begun(self, clues: NDArray[np.int64]) -> _Beams:
        """From nothing, all the tokens that the clues have already."""
        beams = _Beams(self.rules.begin(len(clues)), np.zeros(len(clues), dtype=bool))
        for tokens in clues.T:
            beams = self._appended(beams, tokens)
        return beams

    def _appended(self, beams: _Beams, tokens: NDArray[np.int64]) -> _Beams:
        finished = beams.finished | is_one_of(tokens, self.rules.ends)
        return _Beams(self.index.extend(beams.intervals, tokens), finished)

    # -- what is allowed ---------------------------------------------------------------------------

    def _mask_first(self, scores: torch.Tensor) -> torch.Tensor:
        """All rows allow the same tokens, and these are most of the vocabulary."""
        vocab_size, device = scores.shape[-1], scores.device
        known = self._local.__dict__.setdefault("first", {})
        if (vocab_size, device) not in known:
            first = self.rules.next(self.rules.begin(), np.zeros(1, np.int64), vocab_size)
            # What no clue begins with; if there is no clue, the end of one that is dropped.
            added = torch.full((vocab_size,), -torch.inf)
            added[torch.from_numpy(first.tokens)] = 0.0
            if len(first.tokens) == 0:
                added[torch.from_numpy(self.rules.ends)] = _lowest(scores.dtype)
            known[vocab_size, device] = added.to(device)
        return scores + known[vocab_size, device].to(scores.dtype)

    def _allowed(
        self, beams: _Beams, clue_length: int, vocab_size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The places, row * vocab_size + token, of everything that may come next; then those of
        them whose score is to be lowered, and by how much."""
        rules = self.rules
        going_on = (~beams.finished).nonzero()[0]
        intervals = beams.intervals
        if len(going_on) < len(beams.finished):
            intervals = intervals.take(going_on)
        lengths = np.full(len(going_on), clue_length)
        following = rules.next(intervals, lengths, vocab_size)
        room = len(following.tokens) + len(beams.finished) * max(
            len(rules.ends), len(self._after_end)
        )
        places = np.empty(room, dtype=np.int64)
        found, late, alive = _places(
            beams.finished, going_on, following.dropped, following.offsets, following.tokens,
            rules.ends, self._after_end, vocab_size, places,
        )  # fmt: skip
        dropped = places[alive:found]
        by = np.full(len(dropped), -DROPPED, dtype=np.float32)
        if rules.ambiguity_penalty > 0 and rules.penalty(lengths[:1]).any():
            lowered = np.concatenate([places[:late], dropped])
            cost = np.full(late, rules.ambiguity_penalty, dtype=np.float32)
            return places[:found], lowered, np.concatenate([cost, by])
        return places[:found], dropped, by

    # -- copies ------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # transformers copies processors for assisted decoding; a generation belongs to its thread.
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


@njit(**KERNEL)
def _find_rows(known, rows, parents):  # type: ignore[no-untyped-def]
    """The number of a known row that each row continues by one token; False if one has none."""
    for number in range(rows.shape[0]):
        found = -1
        for step in range(known.shape[0]):
            # Beams keep their places more often than not, and what they differ in comes last.
            candidate = (number + step) % known.shape[0]
            at = known.shape[1] - 1
            while at >= 0 and known[candidate, at] == rows[number, at]:
                at -= 1
            if at < 0:
                found = candidate
                break
        if found < 0:
            return False
        parents[number] = found
    return True


@njit(**KERNEL)
def _places(finished, following, dropped, offsets, tokens, ends, after_end, vocab_size, places):  # type: ignore[no-untyped-def]
    """Fill ``places`` with row * vocab_size + token of all that may come next, those of rows that
    are dropped last; returns how many there are, and how many of them are of rows that go on, and
    of rows that are not dropped."""
    found = 0
    for number in range(following.shape[0]):
        start = following[number] * vocab_size
        for at in range(offsets[number], offsets[number + 1]):
            places[found] = start + tokens[at]
            found += 1
    going_on = found
    for number in range(following.shape[0]):
        if offsets[number] == offsets[number + 1] and not dropped[number]:
            for token in ends:
                places[found] = following[number] * vocab_size + token
                found += 1
    for row in range(finished.shape[0]):
        if finished[row]:
            for token in after_end:
                if token < vocab_size:
                    places[found] = row * vocab_size + token
                    found += 1
    alive = found
    for number in range(following.shape[0]):
        if dropped[number]:
            for token in ends:
                places[found] = following[number] * vocab_size + token
                found += 1
    return found, going_on, alive


def _lowest(dtype: torch.dtype) -> float:
    """The score of what is dropped; what half precision cannot hold would be -inf."""
    return max(DROPPED, torch.finfo(dtype).min / 2)


def _keep(scores: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """A copy of the scores with -inf outside of the places."""
    at = to_device(places, scores.device)
    kept = torch.full_like(scores, -torch.inf, memory_format=torch.contiguous_format)
    kept.view(-1).index_copy_(0, at, scores.reshape(-1).index_select(0, at))
    return kept


__all__ = ["DROPPED", "FMIndexConstraint"]
