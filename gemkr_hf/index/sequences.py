"""Token sequences of several lengths as flat arrays."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.index.bits import MAX_BITS


class Ragged(NamedTuple):
    """Sequences one after the other: number i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]


def as_tokens(sequence: ArrayLike) -> NDArray[np.int64]:
    """One sequence of token ids (list, NumPy array, CPU tensor) as int64[length].

    Raises
    ------
    ValueError
        If it is not a flat sequence of integers.
    """
    tokens = np.asarray(sequence)
    if tokens.size == 0 and tokens.ndim == 1:
        return tokens.astype(np.int64)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(
            "Expected a batch of token-id sequences such as [[5, 8], [13]], but found in it "
            f"{_shorten(sequence)}"
        )
    return tokens.astype(np.int64)


def as_batch(sequences: Iterable[ArrayLike]) -> Ragged:
    """A batch of token-id sequences, each of any length, as flat arrays.

    >>> as_batch([[5, 8], [], [13]])
    Ragged(tokens=array([ 5,  8, 13]), offsets=array([0, 2, 2, 3]))
    """
    if isinstance(sequences, np.ndarray) and sequences.ndim == 2:
        count, length = sequences.shape
        return Ragged(as_tokens(sequences.ravel()), np.arange(count + 1, dtype=np.int64) * length)
    arrays = [as_tokens(sequence) for sequence in sequences]
    offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    return Ragged(np.concatenate([np.empty(0, np.int64), *arrays]), offsets)


def collect_documents(
    documents: Iterable[ArrayLike], vocab_size: int | None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All documents' tokens in a row, and where each document begins in the index's text.

    Returns
    -------
    tokens : int32[total]
    starts : int64[documents + 1], one end symbol behind each document.

    Raises
    ------
    ValueError
        If a token is negative or not below `vocab_size`, or there are too many.
    """
    limit = 2**31 - 1 if vocab_size is None else vocab_size
    chunks: list[NDArray[np.int32]] = []
    starts = [0]
    for row, document in enumerate(documents):
        tokens = as_tokens(document)
        if len(tokens) and not (tokens.min() >= 0 and tokens.max() < limit):
            wrong = tokens[(tokens < 0) | (tokens >= limit)][0]
            raise ValueError(
                f"Document {row} holds token {wrong}, which is not in [0, vocab_size={limit})"
            )
        chunks.append(tokens.astype(np.int32))
        starts.append(starts[-1] + len(tokens) + 1)
    if starts[-1] > MAX_BITS:
        raise ValueError(f"One index holds at most 2**32 tokens, these are {starts[-1]}")
    tokens32 = np.concatenate([np.empty(0, np.int32), *chunks])
    return tokens32, np.array(starts, dtype=np.int64)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = ["Ragged", "as_batch", "as_tokens", "collect_documents"]
