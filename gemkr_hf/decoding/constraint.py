"""The constraint: at every step only the tokens that GetNext allows (paper, "Knowledge-guided
Constraint Decoding")."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor

from gemkr_hf.index import FMIndex, Intervals


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
    """One run of `generate`: the rows of its last step, by their bytes, and what they stand for."""

    prompt_length: int
    rows: dict[bytes, int]
    length: int
    beams: _Beams


class FMIndexConstraint(LogitsProcessor):
    """Allows only clues: token sequences of the indexed documents.

    - The first token may be any that occurs, every further one must follow the clue so far
      somewhere in the documents (GetNext).
    - From `min_length` tokens on a clue that only one document holds (ValidDistinct) must end.
    - With `max_length` tokens a clue must end, and so it must where its document ends.

    Works in `GeMKRForRetrieval.generate`, and in transformers' own greedy search, sampling and beam
    search for any causal language model, where it passes bare:
    `model.generate(**inputs, logits_processor=constraint)`.

    A row's clue is what follows the prompt. The prompt's length is taken from the first call of a
    generation. A call continues the generation before it if each of its rows, without the last
    token, is a row of the call before; otherwise it begins a new one, so that one constraint serves
    any number of `generate` calls, one after the other in each thread.

    Parameters
    ----------
    index : FMIndex
    eos_token_id : int or sequence of them
        What ends a clue.
    min_length, max_length : int
        l_min and l_max of the paper, in tokens without the end token.
    pad_token_id : int, optional
        What may also follow an end token.
    prompt_length : int, optional
        The prompt's length where a clue is begun in the prompt, or decoding does not go step by
        step. All rows of all calls then share it.

    Raises
    ------
    ValueError
        If a length or an id is out of range.

    Examples
    --------
    >>> import torch
    >>> index = FMIndex.build([[3, 4, 5], [3, 6]])
    >>> constraint = FMIndexConstraint(index, eos_token_id=1, min_length=1, max_length=3)
    >>> def allowed(ids):
    ...     return torch.isfinite(constraint(torch.tensor([ids]), torch.zeros(1, 8)))[0].nonzero()
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
    ) -> None:
        ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        if not ends or min(ends) < 0:
            raise ValueError(f"eos_token_id must be one or more token ids, got {eos_token_id}")
        if min_length < 1:
            raise ValueError(f"min_length must be at least 1, got {min_length}")
        if max_length < min_length:
            raise ValueError(f"max_length={max_length} must not be below min_length={min_length}")
        if prompt_length is not None and prompt_length < 0:
            raise ValueError(f"prompt_length must not be negative, got {prompt_length}")
        self.index = index
        self.min_length = min_length
        self.max_length = max_length
        self.prompt_length = prompt_length
        self.eos_token_ids = np.array(ends, dtype=np.int64)
        after_end = ends if pad_token_id is None else {*ends, pad_token_id}
        self._after_end = np.array(sorted(after_end), dtype=np.int64)
        self._ends_are_indexed = bool(np.isin(self.eos_token_ids, index.tokens).any())
        self._local = threading.local()

    # transformers takes a list of processors and asks `len()` of what it gets, then iterates. Being
    # its own only element lets the constraint pass bare.

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator["FMIndexConstraint"]:
        yield self

    def reset(self) -> None:
        """Forget the generation under way: the next call begins a new one.

        Only needed where a prompt is exactly one token longer than the one row before it.
        """
        self._local.generation = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Forbid what is no clue.

        Parameters
        ----------
        input_ids : int64 tensor (rows, length), prompts and what was written
        scores : float tensor (rows, vocab_size), logits or log-probabilities

        Returns
        -------
        float tensor (rows, vocab_size) : a copy, -inf where a token is forbidden. Every row allows
        at least an end token.

        Raises
        ------
        ValueError
            If an end token is not in the model's vocabulary, or a row is shorter than
            `prompt_length`.
        """
        vocab_size = scores.shape[-1]
        if self.eos_token_ids.max() >= vocab_size:
            raise ValueError(
                f"The end token {self.eos_token_ids.max()} is not in the model's vocabulary of "
                f"{vocab_size}: the constraint was made with another tokenizer"
            )
        ids = np.ascontiguousarray(input_ids.detach().cpu().numpy(), dtype=np.int64)
        generation = self._advance(ids)
        self._local.generation = generation
        clue_length = generation.length - generation.prompt_length
        if clue_length == 0:
            # All rows allow the same tokens, and these are most of the vocabulary.
            forbidden = torch.from_numpy(self._forbidden_first(vocab_size)).to(scores.device)
            return scores.masked_fill(forbidden, -torch.inf)
        rows, tokens = self._allowed(generation.beams, clue_length, vocab_size)
        at = (
            torch.from_numpy(rows).to(scores.device),
            torch.from_numpy(tokens).to(scores.device),
        )
        return torch.full_like(scores, -torch.inf).index_put_(at, scores[at])

    # -- following the beams -----------------------------------------------------------------------

    def _advance(self, ids: NDArray[np.int64]) -> _Generation:
        """The generation after this call's rows, int64 (rows, length)."""
        length = ids.shape[1]
        before: _Generation | None = getattr(self._local, "generation", None)
        beams = None if before is None else self._continued(before, ids)
        if before is not None and beams is not None:
            prompt_length = before.prompt_length
        else:
            prompt_length = length if self.prompt_length is None else self.prompt_length
            if prompt_length > length:
                raise ValueError(
                    f"prompt_length={prompt_length} is beyond the rows' length of {length}"
                )
            beams = self._begun(ids[:, prompt_length:])
        rows = {row.tobytes(): number for number, row in enumerate(ids)}
        return _Generation(prompt_length, rows, length, beams)

    def _continued(self, before: _Generation, ids: NDArray[np.int64]) -> _Beams | None:
        """One token further than the call before; None if these rows do not continue it."""
        count, length = ids.shape
        if length != before.length + 1:
            return None
        # Rows without anything in common with the call before them (inputs_embeds only): beams that
        # grew from the empty row are as many as it was.
        if before.length == 0 and count != len(before.beams.finished):
            return None
        parents = [before.rows.get(row.tobytes(), -1) for row in ids[:, :-1]]
        if -1 in parents:
            return None
        return self._appended(before.beams.take(np.array(parents, dtype=np.int64)), ids[:, -1])

    def _begun(self, clues: NDArray[np.int64]) -> _Beams:
        """From nothing, all the tokens that the clues have already."""
        beams = _Beams(self.index.root(len(clues)), np.zeros(len(clues), dtype=bool))
        for tokens in clues.T:
            beams = self._appended(beams, tokens)
        return beams

    def _appended(self, beams: _Beams, tokens: NDArray[np.int64]) -> _Beams:
        finished = beams.finished | np.isin(tokens, self.eos_token_ids)
        return _Beams(self.index.extend(beams.intervals, tokens), finished)

    # -- what is allowed ---------------------------------------------------------------------------

    def _forbidden_first(self, vocab_size: int) -> NDArray[np.bool_]:
        """What no clue begins with, bool[vocab_size]."""
        forbidden = np.ones(vocab_size, dtype=bool)
        forbidden[self.index.tokens[self.index.tokens < vocab_size]] = False
        forbidden[self.eos_token_ids] = True
        if forbidden.all():
            forbidden[self.eos_token_ids] = False
        return forbidden

    def _allowed(
        self, beams: _Beams, clue_length: int, vocab_size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and token of everything that may come next: two int64[total]."""
        count = len(beams.finished)
        must_end = self.must_end(beams.intervals, np.full(count, clue_length))
        going_on = np.flatnonzero(~(must_end | beams.finished))
        offsets, tokens = self.index.successors(beams.take(going_on).intervals)
        rows = np.repeat(going_on, np.diff(offsets))
        keep = self.is_writable(tokens, vocab_size)
        rows, tokens = rows[keep], tokens[keep]
        stuck = np.bincount(rows, minlength=count) == 0
        ended = np.flatnonzero(stuck & ~beams.finished)
        over = np.flatnonzero(beams.finished)
        after_end = self._after_end[self._after_end < vocab_size]
        parts = (
            (rows, tokens.astype(np.int64)),
            (np.repeat(ended, len(self.eos_token_ids)), np.tile(self.eos_token_ids, len(ended))),
            (np.repeat(over, len(after_end)), np.tile(after_end, len(over))),
        )
        all_rows, all_tokens = (np.concatenate(part) for part in zip(*parts, strict=True))
        return all_rows, all_tokens

    def must_end(self, intervals: Intervals, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which clues are finished: from `min_length` on those that one document alone holds, and
        all of `max_length`.

        Parameters
        ----------
        intervals : Intervals of n clues
        lengths : int64[n], their tokens

        Returns
        -------
        bool[n]
        """
        ended = lengths >= self.max_length
        ask = np.flatnonzero(~ended & (lengths >= self.min_length))
        if len(ask):
            ended[ask] = self.index.is_distinct(intervals.take(ask))
        return ended

    def is_writable(self, tokens: NDArray[np.integer], vocab_size: int) -> NDArray[np.bool_]:
        """Which tokens a model of this vocabulary can write within a clue, bool[n]."""
        writable = tokens < vocab_size
        if self._ends_are_indexed:
            # In a document the end token is a word like any other; in a clue it is the end.
            writable &= ~np.isin(tokens, self.eos_token_ids)
        return writable

    # -- copies ------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # transformers copies processors for assisted decoding; a generation belongs to its thread.
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


__all__ = ["FMIndexConstraint"]
