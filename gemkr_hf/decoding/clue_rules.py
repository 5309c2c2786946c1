"""Which token sequences are clues (paper, "Knowledge-guided Constraint Decoding")."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.decoding.clue_pieces import Scope
from gemkr_hf.index import FMIndex, Intervals

Int64 = NDArray[np.int64]


class Next(NamedTuple):
    """What may come next in each of n clues.

    ended : bool[n], the clue is finished, and one document alone holds it.
    dropped : bool[n], the clue cannot go on, and no document or several hold it: no answer.
    offsets : int64[n + 1]
    tokens : int64[offsets[-1]], sorted in each row; `tokens[offsets[i]:offsets[i + 1]]` may follow
        clue i, none where it is ended or dropped. Behind them are the end tokens where it may also
        end here.
    """

    ended: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    offsets: Int64
    tokens: Int64


@dataclass(frozen=True)
class ClueRules:
    """The rules that a clue is written by, over intervals of an index.

    index : FMIndex
    eos_token_ids : what ends a clue
    min_length, max_length : l_min and l_max of the paper, in tokens without the end token
    whole : a clue is all of a document, from its first token to its last
    ambiguity_penalty : taken from a clue's score for each of its tokens that it only has because it
        was still ambiguous with `min_length`
    renormalize : score tokens by the distribution over what is allowed, instead of all tokens
    keep_ambiguous : what several documents hold when it must end is a clue of the first of them

    Raises:
        ValueError: if a length, an id or the penalty is out of range.
    """

    index: FMIndex
    eos_token_ids: Sequence[int]
    min_length: int = 10
    max_length: int = 15
    whole: bool = False
    ambiguity_penalty: float = 0.0
    renormalize: bool = False
    keep_ambiguous: bool = False
    ends: Int64 = field(init=False, repr=False)
    _ends_are_indexed: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.eos_token_ids) == 0 or min(self.eos_token_ids) < 0:
            raise ValueError(
                f"eos_token_id must be one or more token ids, got {list(self.eos_token_ids)}"
            )
        if self.min_length < 1:
            raise ValueError(f"min_length must be at least 1, got {self.min_length}")
        if self.max_length < self.min_length:
            raise ValueError(
                f"max_length={self.max_length} must not be below min_length={self.min_length}"
            )
        if not 0 <= self.ambiguity_penalty < float("inf"):
            raise ValueError(
                f"ambiguity_penalty must not be negative, got {self.ambiguity_penalty}"
            )
        if self.whole and self.keep_ambiguous:
            raise ValueError("keep_ambiguous is for clues, not for whole documents")
        ends = np.unique(np.array(self.eos_token_ids, dtype=np.int64))
        object.__setattr__(self, "ends", ends)
        indexed = bool(np.isin(ends, self.index.tokens).any())
        object.__setattr__(self, "_ends_are_indexed", indexed)

    def begin(self, n: int = 1) -> Intervals:
        """Intervals of `n` empty clues."""
        return self.index.root(n, at_start=self.whole)

    def penalty(self, lengths: Int64) -> NDArray[np.float64]:
        """What the next token of open clues costs beside its log-probability, float64[n]."""
        late = lengths >= self.min_length
        return np.where(late & (not self.whole), self.ambiguity_penalty, 0.0)

    def next(self, intervals: Intervals, lengths: Int64, vocab_size: int) -> Next:
        """What may come next.

        Args:
            intervals: Intervals of n clues.
            lengths: int64[n], tokens that each has.
            vocab_size: tokens that the model can write.
        """
        count = len(lengths)
        distinct = np.zeros(count, dtype=np.bool_)
        stopped = lengths >= self.max_length
        ask = stopped if self.whole else stopped | (lengths >= self.min_length)
        if ask.any():
            asked = ask.nonzero()[0]
            distinct[asked] = self.index.is_distinct(intervals.take(asked))
        if self.whole and stopped.any():
            # A document of so many tokens that others begin with: it alone ends there.
            cut = (stopped & ~distinct).nonzero()[0]
            distinct[cut] = self.index.document_ends(intervals.take(cut)) == 1
        if not self.whole:
            stopped |= distinct
        going_on = (~stopped).nonzero()[0]
        everything = len(going_on) == count
        offsets, indexed = self.index.successors(
            intervals if everything else intervals.take(going_on)
        )
        sizes = np.zeros(count, dtype=np.int64)
        sizes[going_on] = offsets[1:] - offsets[:-1]
        tokens = indexed.astype(np.int64)
        if vocab_size < self.index.vocab_size or self._ends_are_indexed:
            # In a document the end token is a word like any other; in a clue it is the end.
            writable = (tokens < vocab_size) & ~is_one_of(tokens, self.ends)
            sizes = np.bincount(np.repeat(np.arange(count), sizes)[writable], minlength=count)
            tokens = tokens[writable]
        stuck = ~stopped & (sizes == 0)
        if stuck.any():  # the document ends here
            stopped |= stuck
            at_end = stuck.nonzero()[0]
            distinct[at_end] = self.index.is_distinct(intervals.take(at_end))
        also = self._may_end(intervals, lengths, stopped)
        if len(also):
            rows = np.concatenate([np.repeat(np.arange(count), sizes), also.repeat(len(self.ends))])
            tokens = np.concatenate([tokens, np.tile(self.ends, len(also))])
            tokens = tokens[np.argsort(rows, kind="stable")]
            sizes[also] += len(self.ends)
        all_offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(sizes, out=all_offsets[1:])
        if self.keep_ambiguous:
            distinct |= lengths > 0
        return Next(stopped & distinct, stopped & ~distinct, all_offsets, tokens)

    def _may_end(self, intervals: Intervals, lengths: Int64, stopped: NDArray[np.bool_]) -> Int64:
        """The clues that one document ends with, though they can also go on."""
        # From `min_length` on, what is still open is ambiguous.
        longest = self.max_length if self.whole else self.min_length
        maybe = ~stopped & (lengths > 0) & (lengths < longest)
        if maybe.any():
            # What occurs once goes on or does not.
            maybe &= self.index.occurrences(intervals) > 1
        rows = maybe.nonzero()[0]
        if len(rows) and not self.whole:
            rows = rows[self.index.is_distinct(intervals.take(rows))]
        if not len(rows):
            return rows
        ends = self.index.document_ends(intervals.take(rows))
        return rows[ends == 1 if self.whole else ends > 0]

    def next_of_piece(
        self, scope: Scope, positions: Int64, length: int, vocab_size: int
    ) -> tuple[bool, Int64]:
        """Whether a further piece of a clue is finished, and what may come next; by the rules of a
        first piece, for the documents that hold all pieces so far."""
        alone = len(scope.rows_with(positions)) == 1
        following = scope.following(positions)
        following = following[(following < vocab_size) & ~is_one_of(following, self.ends)]
        ended = (
            length >= self.max_length
            or (length >= self.min_length and alone)
            or len(following) == 0
        )
        if not ended and 0 < length < self.min_length and alone and scope.at_end(positions):
            following = np.concatenate([following, self.ends])
        return ended, following

    def lookup(self, clues: Sequence[Sequence[int]]) -> Int64:
        """The document of each finished clue, int64[n], -1 where there is none."""
        rows = self.rows_of(self.index.search(clues, at_start=self.whole), clues)
        if self.keep_ambiguous:
            for number in np.flatnonzero(rows < 0).tolist():
                if self.index.count([clues[number]])[0] > 0:
                    rows[number] = self.first_row_of(clues[number])
        return rows

    def rows_of(self, intervals: Intervals, clues: Sequence[Sequence[int]]) -> Int64:
        """The document of each clue, int64[n]; -1 where it is not one document's alone. `clues`,
        their tokens, are needed for whole documents."""
        rows = self.index.document_of(intervals)
        if self.whole:
            several = np.flatnonzero(rows < 0).tolist()
            # A whole document that others begin with: it alone ends there.
            rows[several] = self.index.find_documents([clues[number] for number in several])
        return rows

    def first_row_of(self, clue: Sequence[int]) -> int:
        """The first of the documents that hold a clue."""
        return int(self.index.locate(clue)[0, 0])


def is_one_of(tokens: NDArray[np.integer], few: Int64) -> NDArray[np.bool_]:
    """Which tokens are among a few, bool[n]."""
    found = tokens == few[0]
    for token in few[1:]:
        found |= tokens == token
    return found


__all__ = ["ClueRules", "Next", "is_one_of"]
