"""From documents to the Burrows-Wheeler transform of their reversed texts.

Every document is written backwards and followed by symbol 0. A clue then grows at its *front* in
this text, which is the direction in which an FM-index searches, and no clue holds a 0, so none
reaches from one document into another.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydivsufsort import divsufsort

from gemkr_hf.index.bits import KERNEL, empty_lines, fill_counts, set_bit


class Transform(NamedTuple):
    """What suffix sorting leaves behind.

    symbols : int32[rows], the Burrows-Wheeler transform.
    same_document : lines (``bits.py``), 1 where a row is of the same document as the row before.
    marks : lines, 1 where a row's text position is sampled.
    samples : uint32[ones of marks], these positions.
    end_rows : uint32[documents], the row of the 0 behind each document.
    """

    symbols: NDArray[np.int32]
    same_document: NDArray[np.uint64]
    marks: NDArray[np.uint64]
    samples: NDArray[np.uint32]
    end_rows: NDArray[np.uint32]


@njit(**KERNEL)
def _reverse_documents(tokens, starts, symbol_of, text):
    """Write ``text``; ``starts[d]`` is where document d begins in it."""
    token = 0
    for document in range(starts.shape[0] - 1):
        end = starts[document + 1] - 1
        text[end] = 0
        for position in range(end - 1, starts[document] - 1, -1):
            text[position] = symbol_of[tokens[token]]
            token += 1


@njit(**KERNEL)
def _whole_symbols(byte_positions, width, positions):
    """Of the sorted suffixes of a text's bytes those that begin with a whole symbol."""
    found = 0
    for row in range(byte_positions.shape[0]):
        position = byte_positions[row]
        if position % width == 0:
            positions[found] = position // width
            found += 1


@njit(**KERNEL)
def _transform(text, positions, starts, document_of, rate, symbols, same, marks, samples, end_rows):
    before, found = -1, 0
    for row in range(positions.shape[0]):
        position = np.int64(positions[row])
        document = document_of[position]
        # Before the first symbol of all stands, as before every document, a 0.
        symbols[row] = text[position - 1] if position > 0 else 0
        if document == before:
            set_bit(same, row)
        before = document
        # A document's own beginning is always sampled: a walk never has to pass a 0.
        if (position - starts[document]) % rate == 0:
            set_bit(marks, row)
            samples[found] = position
            found += 1
        if text[position] == 0:
            end_rows[document] = row
    fill_counts(same)
    fill_counts(marks)


def sort_suffixes(text: NDArray[np.int32], num_symbols: int) -> NDArray[np.uint32]:
    """Suffix array of ``text``, int32[n] with values in [0, num_symbols): uint32[n].

    pydivsufsort sorts bytes; symbols of one width in big-endian order sort as their bytes do, and
    of the sorted positions only the whole symbols' are kept. Three bytes are enough for any
    vocabulary and cost a quarter less than four.
    """
    positions = np.empty(len(text), dtype=np.uint32)
    if len(text) == 0:
        return positions
    width = max(1, (int(num_symbols - 1).bit_length() + 7) // 8)
    if width > 3:
        raise ValueError(f"An index holds at most 2**24 different tokens, got {num_symbols}")
    big_endian = text.astype(">u4").view(np.uint8).reshape(-1, 4)
    _whole_symbols(
        divsufsort(np.ascontiguousarray(big_endian[:, 4 - width :]).ravel()), width, positions
    )
    return positions


def transform_documents(
    tokens: NDArray[np.int32], starts: NDArray[np.int64], symbol_of: NDArray[np.int32], rate: int
) -> Transform:
    """Suffix-sort reversed documents.

    Parameters
    ----------
    tokens : int32[total], the documents' tokens one after the other.
    starts : int64[documents + 1], where each document begins in the text, one symbol 0 behind each.
    symbol_of : int32[vocab_size], the symbol (from 1) of each token that occurs.
    rate : int, every how many tokens of a document a text position is kept.
    """
    length, documents = int(starts[-1]), len(starts) - 1
    text = np.empty(length, dtype=np.int32)
    _reverse_documents(tokens, starts, symbol_of, text)
    positions = sort_suffixes(text, int(symbol_of.max(initial=0)) + 1)
    lengths = np.diff(starts)
    num_samples = int(((lengths + rate - 1) // rate).sum())
    result = Transform(
        np.empty(length, dtype=np.int32),
        empty_lines(length),
        empty_lines(length),
        np.empty(num_samples, dtype=np.uint32),
        np.empty(documents, dtype=np.uint32),
    )
    document_of = np.repeat(np.arange(documents, dtype=np.int32), lengths)
    _transform(text, positions, starts, document_of, rate, *result)
    return result


__all__ = ["Transform", "sort_suffixes", "transform_documents"]
