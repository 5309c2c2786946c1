"""Rules: which token sequences are clues (paper, "Knowledge-guided Constraint Decoding")."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.decoding.clue_pieces import Scope
from gemkr_hf.index import FMIndex, Intervals
from gemkr_hf.utils.deprecation import renamed_fields

Int64 = NDArray[np.int64]


class Next(NamedTuple):
    """What may follow each of n clues.

    Attributes:
        ended: bool (n,), the clue is finished, and a single document contains it.
        dropped: bool (n,), the clue cannot continue and is not a result: no document or several
            contain it.
        offsets: int64 (n + 1,).
        tokens: int64 (offsets[-1],); ``tokens[offsets[i]:offsets[i + 1]]`` may follow clue i, in
            ascending order, then the end tokens if it may also end. Empty for a clue that is ended
            or dropped.
    """

    ended: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    offsets: Int64
    tokens: Int64


@renamed_fields({"whole": "whole_documents"})
@dataclass(frozen=True)
class ClueRules:
    """The rules of a clue, over intervals of an index.

    Args:
        index: the documents.
        eos_token_ids: end tokens of a clue.
        min_length: l_min of the paper, in tokens without the end token.
        max_length: l_max of the paper, in tokens without the end token.
        whole_documents: a clue is a whole document, from its first token to its last.
        ambiguity_penalty: subtracted from a clue's score for each token beyond `min_length`; the
            clue has these tokens because it was ambiguous without them.
        renormalize: score tokens by the distribution over the allowed tokens instead of all tokens.
        keep_ambiguous: a clue that must end although several documents contain it is a clue of the
            first of them.

    Attributes:
        ends: int64, the end tokens in ascending order.

    Raises:
        ValueError: if a length, an id or the penalty is out of range.
    """

    index: FMIndex
    eos_token_ids: Sequence[int]
    min_length: int = 10
    max_length: int = 15
    whole_documents: bool = False
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
        if self.whole_documents and self.keep_ambiguous:
            raise ValueError("keep_ambiguous is for clues, not for whole documents")
        ends = np.unique(np.array(self.eos_token_ids, dtype=np.int64))
        object.__setattr__(self, "ends", ends)
        indexed = bool(np.isin(ends, self.index.tokens).any())
        object.__setattr__(self, "_ends_are_indexed", indexed)

    def begin(self, n: int = 1) -> Intervals:
        """Intervals of `n` empty clues."""
        return self.index.root(n, at_start=self.whole_documents)

    def penalty(self, lengths: Int64) -> NDArray[np.float64]:
        """The penalty of the next token of n clues of these lengths, float64 (n,)."""
        penalized = lengths >= self.min_length
        return np.where(penalized & (not self.whole_documents), self.ambiguity_penalty, 0.0)

    def next(self, intervals: Intervals, lengths: Int64, vocab_size: int) -> Next:
        """Which clues have ended, and which tokens may follow the others.

        Args:
            intervals: intervals of n clues.
            lengths: int64 (n,), their numbers of tokens.
            vocab_size: vocabulary size of the model.
        """
        count = len(lengths)
        distinct = np.zeros(count, dtype=np.bool_)
        stopped = lengths >= self.max_length
        check = stopped if self.whole_documents else stopped | (lengths >= self.min_length)
        if check.any():
            checked = check.nonzero()[0]
            distinct[checked] = self.index.is_distinct(intervals.take(checked))
        if self.whole_documents and stopped.any():
            # A document of max_length tokens that others begin with: it alone ends there.
            cut = (stopped & ~distinct).nonzero()[0]
            distinct[cut] = self.index.document_ends(intervals.take(cut)) == 1
        if not self.whole_documents:
            stopped |= distinct
        continuing = (~stopped).nonzero()[0]
        offsets, indexed = self.index.successors(
            intervals if len(continuing) == count else intervals.take(continuing)
        )
        sizes = np.zeros(count, dtype=np.int64)
        sizes[continuing] = offsets[1:] - offsets[:-1]
        tokens = indexed.astype(np.int64)
        if vocab_size < self.index.vocab_size or self._ends_are_indexed:
            # A document may contain end tokens; a clue may not.
            writable = (tokens < vocab_size) & ~is_one_of(tokens, self.ends)
            sizes = np.bincount(np.repeat(np.arange(count), sizes)[writable], minlength=count)
            tokens = tokens[writable]
        stuck = ~stopped & (sizes == 0)
        if stuck.any():  # the document ends here
            stopped |= stuck
            at_end = stuck.nonzero()[0]
            distinct[at_end] = self.index.is_distinct(intervals.take(at_end))
        may_end = self._may_end(intervals, lengths, stopped)
        if len(may_end):
            end_rows = may_end.repeat(len(self.ends))
            rows = np.concatenate([np.repeat(np.arange(count), sizes), end_rows])
            tokens = np.concatenate([tokens, np.tile(self.ends, len(may_end))])
            tokens = tokens[np.argsort(rows, kind="stable")]
            sizes[may_end] += len(self.ends)
        all_offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(sizes, out=all_offsets[1:])
        if self.keep_ambiguous:  # no clue is dropped, except the empty one of an empty index
            distinct |= lengths > 0
        return Next(stopped & distinct, stopped & ~distinct, all_offsets, tokens)

    def _may_end(self, intervals: Intervals, lengths: Int64, stopped: NDArray[np.bool_]) -> Int64:
        """Numbers of the clues that may also end: their only document ends with them."""
        # From `min_length` on, clues that did not end are ambiguous.
        longest = self.max_length if self.whole_documents else self.min_length
        maybe = ~stopped & (lengths > 0) & (lengths < longest)
        if maybe.any():
            # A clue that occurs once either ends or continues.
            maybe &= self.index.occurrences(intervals) > 1
        rows = maybe.nonzero()[0]
        if len(rows) and not self.whole_documents:
            rows = rows[self.index.is_distinct(intervals.take(rows))]
        if not len(rows):
            return rows
        ends = self.index.document_ends(intervals.take(rows))
        return rows[ends == 1 if self.whole_documents else ends > 0]

    def next_of_piece(
        self, scope: Scope, positions: Int64, length: int, vocab_size: int
    ) -> tuple[bool, Int64]:
        """Whether a further piece of a clue is finished, and the tokens that may follow it.

        The rules are those of a first piece, in the documents of the scope.
        """
        distinct = len(scope.rows_with(positions)) == 1
        following = scope.following(positions)
        following = following[(following < vocab_size) & ~is_one_of(following, self.ends)]
        ended = (
            length >= self.max_length
            or (length >= self.min_length and distinct)
            or len(following) == 0
        )
        if not ended and 0 < length < self.min_length and distinct and scope.at_end(positions):
            following = np.concatenate([following, self.ends])
        return ended, following

    def lookup(self, clues: Sequence[Sequence[int]]) -> Int64:
        """The document's row of n finished clues, int64 (n,); -1 if there is none."""
        rows = self.rows_of(self.index.search(clues, at_start=self.whole_documents), clues)
        if self.keep_ambiguous:
            for number in np.flatnonzero(rows < 0).tolist():
                if self.index.count([clues[number]])[0] > 0:
                    rows[number] = self.first_row_of(clues[number])
        return rows

    def rows_of(self, intervals: Intervals, clues: Sequence[Sequence[int]]) -> Int64:
        """The document's row of n clues, int64 (n,); -1 if it is not a single one.

        Args:
            intervals: intervals of the clues.
            clues: their tokens; needed for whole documents only.
        """
        rows = self.index.document_of(intervals)
        if self.whole_documents:
            ambiguous = np.flatnonzero(rows < 0).tolist()
            # A whole document that others begin with: it alone ends there.
            rows[ambiguous] = self.index.find_documents([clues[number] for number in ambiguous])
        return rows

    def first_row_of(self, clue: Sequence[int]) -> int:
        """The row of the first document that contains a clue."""
        return int(self.index.locate(clue)[0, 0])


def is_one_of(tokens: NDArray[np.integer], few: Int64) -> NDArray[np.bool_]:
    """Which of n tokens are among a few others, bool (n,); fast for one or two."""
    result = tokens == few[0]
    for token in few[1:]:
        result |= tokens == token
    return result


__all__ = ["ClueRules", "Next", "is_one_of"]
