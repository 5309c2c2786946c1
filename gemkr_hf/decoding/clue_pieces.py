"""Clues of several pieces, for documents that one short passage cannot distinguish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.index import FMIndex

Int64 = NDArray[np.int64]

MOST_DOCUMENTS = 64
_MOST_OCCURRENCES = 1024


@dataclass(frozen=True)
class Scope:
    """The documents that contain all pieces of a clue so far: its next piece comes from these.

    Attributes:
        rows: int64 (m,), the documents.
        text: int64 (n,), their tokens, with -1 after each document.
        owners: int64 (n,), for each token, the number of its document in ``rows``.
    """

    rows: Int64
    text: Int64
    owners: Int64

    @classmethod
    def of_documents(cls, index: FMIndex, rows: Int64) -> Scope:
        documents = [np.append(index.extract(int(row)).astype(np.int64), -1) for row in rows]
        owners = np.repeat(np.arange(len(rows)), [len(document) for document in documents])
        return cls(rows, np.concatenate(documents), owners)

    @classmethod
    def of_piece(cls, index: FMIndex, piece: ArrayLike) -> Scope | None:
        """The documents that contain a first piece; None if they are more than `MOST_DOCUMENTS`."""
        occurrences = index.locate(piece, limit=_MOST_OCCURRENCES)
        rows = np.unique(occurrences[:, 0])
        if len(occurrences) == _MOST_OCCURRENCES or len(rows) > MOST_DOCUMENTS:
            return None
        return cls.of_documents(index, rows)

    def begin(self) -> Int64:
        """Positions after an empty piece: before every token."""
        return np.flatnonzero(self.text >= 0)

    def extend(self, positions: Int64, token: int) -> Int64:
        """Positions after the piece with one more token."""
        return positions[self.text[positions] == token] + 1

    def following(self, positions: Int64) -> Int64:
        """The tokens that may follow, in ascending order."""
        tokens = np.unique(self.text[positions])
        return tokens[tokens >= 0]

    def at_end(self, positions: Int64) -> bool:
        """Whether one of the documents ends with the piece."""
        return bool((self.text[positions] < 0).any())

    def rows_with(self, positions: Int64) -> Int64:
        """The rows of the documents that contain the piece."""
        return self.rows[np.unique(self.owners[positions])]


__all__ = ["MOST_DOCUMENTS", "Scope"]
