"""Token sequences of different lengths as flat arrays."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.index.bit_vectors import MAX_BITS

_CHUNK = 1 << 20


class Ragged(NamedTuple):
    """Concatenated sequences: sequence i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]


class Documents(NamedTuple):
    """The documents of one shard.

    Attributes:
        tokens: int32[total], concatenated.
        starts: uint32[documents + 1], start of each document in the index's text, in which one
            symbol ends each document.
    """

    tokens: NDArray[np.int32]
    starts: NDArray[np.uint32]


def as_tokens(sequence: ArrayLike) -> NDArray[np.int64]:
    """Convert a sequence of token ids (list, NumPy array, CPU tensor) to int64[length].

    Raises:
        ValueError: if it is not a flat sequence of integers.
    """
    tokens = np.asarray(sequence)
    if tokens.ndim != 1 or (tokens.dtype.kind not in "iu" and tokens.size):
        raise ValueError(
            "Expected a batch of token-id sequences such as [[5, 8], [13]], got an element "
            f"{_shorten(sequence)}"
        )
    return tokens.astype(np.int64, copy=False)


def as_batch(sequences: Iterable[ArrayLike]) -> Ragged:
    """Concatenate a batch of token-id sequences of any length.

    >>> as_batch([[5, 8], [], [13]])
    Ragged(tokens=array([ 5,  8, 13]), offsets=array([0, 2, 2, 3]))
    """
    if isinstance(sequences, np.ndarray) and sequences.ndim == 2:
        count, length = sequences.shape
        return Ragged(as_tokens(sequences.ravel()), np.arange(count + 1, dtype=np.int64) * length)
    arrays = [as_tokens(sequence) for sequence in sequences]
    if len(arrays) == 1:
        return Ragged(arrays[0], np.array([0, len(arrays[0])]))
    offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    return Ragged(np.concatenate([np.empty(0, np.int64), *arrays]), offsets)


def document_shards(
    documents: Iterable[ArrayLike], vocab_size: int | None, shard_tokens: int
) -> Iterator[Documents]:
    """Split documents into parts of at most ``shard_tokens`` tokens, with at least one document.

    Without documents, there is one empty part.

    Raises:
        ValueError: if a token is negative or not below `vocab_size`, or a document is too long for
            a shard.
    """
    writer, row = _DocumentWriter(vocab_size), 0
    for document in documents:
        tokens = np.asarray(document)
        if tokens.ndim != 1 or (tokens.dtype.kind not in "iu" and tokens.size):
            tokens = as_tokens(document)
        if len(tokens) >= MAX_BITS - 1:
            raise ValueError(f"Document {row} has {len(tokens)} tokens, too many for one shard")
        if writer.lengths and writer.num_tokens + len(tokens) > shard_tokens:
            yield writer.finish()
            writer = _DocumentWriter(vocab_size, first_row=row)
        writer.add(tokens)
        row += 1
    if writer.lengths or row == 0:
        yield writer.finish()


class _DocumentWriter:
    """Concatenates documents in chunks: one check and copy per document would be slow."""

    def __init__(self, vocab_size: int | None, first_row: int = 0) -> None:
        self._limit = 2**31 - 1 if vocab_size is None else vocab_size
        self._first_row = first_row
        self._parts: list[NDArray[np.int32]] = []
        self._open: list[NDArray[np.integer]] = []
        self._open_tokens = 0
        self.num_tokens = 0
        self.lengths: list[int] = []

    def add(self, tokens: NDArray[np.integer]) -> None:
        self._open.append(tokens)
        self.lengths.append(len(tokens))
        self.num_tokens += len(tokens)
        self._open_tokens += len(tokens)
        if self._open_tokens >= _CHUNK or len(self._open) >= _CHUNK:
            self._close()

    def _close(self) -> None:
        filled = [tokens for tokens in self._open if len(tokens)]
        joined = np.concatenate(filled) if filled else np.empty(0, np.int32)
        if joined.dtype.kind == "f":  # int64 and uint64 together
            joined = np.concatenate([tokens.astype(np.int64) for tokens in filled])
        if len(joined) and not (joined.min() >= 0 and joined.max() < self._limit):
            self._raise_invalid()
        self._parts.append(joined.astype(np.int32, copy=False))
        self._open, self._open_tokens = [], 0

    def _raise_invalid(self) -> None:
        first = self._first_row + len(self.lengths) - len(self._open)
        for row, tokens in enumerate(self._open, start=first):
            invalid = [token for token in tokens.tolist() if not 0 <= token < self._limit]
            if invalid:
                raise ValueError(
                    f"Document {row} contains token {invalid[0]}, which is not in "
                    f"[0, vocab_size={self._limit})"
                )

    def finish(self) -> Documents:
        self._close()
        starts = np.zeros(len(self.lengths) + 1, dtype=np.int64)
        np.cumsum(np.array(self.lengths, dtype=np.int64) + 1, out=starts[1:])
        if starts[-1] > MAX_BITS:
            raise ValueError(
                f"A shard holds less than 2**32 tokens, got {starts[-1]}: reduce shard_tokens"
            )
        tokens = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        return Documents(tokens, starts.astype(np.uint32))


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = ["Documents", "Ragged", "as_batch", "as_tokens", "document_shards"]
