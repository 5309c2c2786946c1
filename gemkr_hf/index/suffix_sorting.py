"""From documents to the Burrows-Wheeler transform of their reversed texts.

Every document is written backwards and followed by symbol 0. A clue then grows at its *front* in
this text, which is the direction in which an FM-index searches, and no clue holds a 0, so none
reaches from one document into another. Suffixes that are equal up to their 0 stand in the order of
their documents, so that row d of the transform is the end of document d.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydivsufsort import divsufsort

from gemkr_hf.index.bit_vectors import KERNEL, BitVector, bit_vector, pack

SAME, MARKED = 1, 2
_INSERTION = 12
_PATIENCE = 48
_BLOCK_ROWS = 1 << 18
_KEPT = np.int32(1 << 30)


class Transform(NamedTuple):
    """What suffix sorting leaves behind.

    symbols : uint32[rows], the Burrows-Wheeler transform.
    same_document : bits, set where a row is of the same document as the row before.
    marks : bits, set where a row's text position is kept.
    positions : uint64[words], these positions, packed.
    anchors : uint64[words], the rows of the text positions 0, anchor rate, 2 * anchor rate, ...
    width : bits of a position or row
    """

    symbols: NDArray[np.uint32]
    same_document: BitVector
    marks: BitVector
    positions: NDArray[np.uint64]
    anchors: NDArray[np.uint64]
    width: int


@njit(**KERNEL)
def _reverse_documents(tokens, starts, symbol_of, text):
    """Write ``text``; ``starts[d]`` is where document d begins in it."""
    token = 0
    for document in range(starts.shape[0] - 1):
        end = np.int64(starts[document + 1]) - 1
        text[end] = 0
        for position in range(end - 1, np.int64(starts[document]) - 1, -1):
            text[position] = symbol_of[tokens[token]]
            token += 1


# -- sorting ---------------------------------------------------------------------------------------


@njit(**KERNEL)
def _distribute(text, nexts, positions):
    """Suffixes by their first symbol, those of one symbol in the order of the text."""
    for position in range(text.shape[0]):
        symbol = text[position]
        positions[nexts[symbol]] = position
        nexts[symbol] += 1


@njit(**KERNEL)
def _key(text, position, bits, symbols):
    """The next symbols in one integer, up to a 0, from which on it is zeros."""
    key = np.uint64(0)
    for place in range(symbols):
        symbol = text[position + place]
        key = (key << np.uint64(bits)) | np.uint64(symbol)
        if symbol == 0:
            return key << np.uint64(bits * (symbols - 1 - place))
    return key


@njit(**KERNEL)
def _median(a, b, c):
    return max(min(a, b), min(max(a, b), c))


@njit(**KERNEL)
def _pivot(keys, first, last):
    size = last - first
    middle = keys[first + size // 2]
    if size <= 200:
        return _median(keys[first], middle, keys[last - 1])
    step = size // 8
    return _median(
        _median(keys[first], keys[first + step], keys[first + 2 * step]),
        _median(keys[first + 3 * step], middle, keys[first + 5 * step]),
        _median(keys[first + 6 * step], keys[first + 7 * step], keys[last - 1]),
    )


@njit(**KERNEL)
def _insertion_sort(text, positions, first, last, depth):
    """Sort a few suffixes that agree in ``depth`` symbols; returns the symbols compared."""
    work = 0
    for number in range(first + 1, last):
        position = positions[number]
        at = number - 1
        while at >= first:
            other, place = positions[at], depth
            while text[position + place] == text[other + place] and text[position + place] != 0:
                place += 1
            work += place - depth
            here, there = text[position + place], text[other + place]
            if here > there or (here == there and position > other):
                break
            positions[at + 1] = positions[at]
            at -= 1
        positions[at + 1] = position
    return work


@njit(**KERNEL)
def _sort_buckets(text, positions, starts, first, last, bits, symbols, patience):
    """Sort the suffixes that begin with the symbols ``first`` to ``last``: quicksort in three
    parts on keys of several symbols. False where that would take too long."""
    largest = 0
    for symbol in range(first, last):
        largest = max(largest, starts[symbol + 1] - starts[symbol])
    keys = np.empty(largest, np.uint64)
    # Parts still to sort: first and last row, symbols that agree, whether the keys are fresh.
    stack = np.empty((4096, 4), np.int64)
    last_symbol = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    budget = patience * (starts[last] - starts[first]) + patience * 4096
    for symbol in range(first, last):
        base = starts[symbol]
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = base, starts[symbol + 1], 1, 0
        top = 1
        while top > 0:
            top -= 1
            low, high, depth, fresh = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            if high - low < 2:
                continue
            if high - low <= _INSERTION:
                budget -= _insertion_sort(text, positions, low, high, depth)
                if budget < 0:
                    return False
                continue
            if fresh == 0:
                budget -= high - low
                if budget < 0:
                    return False
                for row in range(low, high):
                    keys[row - base] = _key(text, np.int64(positions[row]) + depth, bits, symbols)
            pivot = _pivot(keys, low - base, high - base)
            less, row, more = low, low, high
            while row < more:
                key, position = keys[row - base], positions[row]
                if key < pivot:
                    keys[row - base], positions[row] = keys[less - base], positions[less]
                    keys[less - base], positions[less] = key, position
                    less += 1
                    row += 1
                elif key > pivot:
                    more -= 1
                    keys[row - base], positions[row] = keys[more - base], positions[more]
                    keys[more - base], positions[more] = key, position
                else:
                    row += 1
            if top + 3 > stack.shape[0]:
                larger = np.empty((2 * stack.shape[0], 4), np.int64)
                larger[:top] = stack[:top]
                stack = larger
            stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = low, less, depth, 1
            stack[top + 1, 0], stack[top + 1, 1] = more, high
            stack[top + 1, 2], stack[top + 1, 3] = depth, 1
            top += 2
            if pivot & last_symbol == 0:
                # Equal up to their document's end.
                positions[less:more].sort()
            else:
                stack[top, 0], stack[top, 1] = less, more
                stack[top, 2], stack[top, 3] = depth + symbols, 0
                top += 1
    return True


def sort_suffixes(
    text: NDArray[np.int32], num_symbols: int, threads: int = 1, patience: int = _PATIENCE
) -> NDArray[np.uint32]:
    """Suffix array of ``text``, int32[n] with values in [0, num_symbols) and a 0 last: uint32[n].

    A suffix ends at its first 0; of suffixes that are equal the one that stands first comes first.
    Texts that repeat themselves at length, which a quicksort compares for ever, are left to
    `divsufsort`.
    """
    length = len(text)
    positions = np.empty(length, dtype=np.uint32)
    if length == 0:
        return positions
    starts = np.zeros(num_symbols + 1, dtype=np.int64)
    np.cumsum(np.bincount(text, minlength=num_symbols), out=starts[1:])
    _distribute(text, starts[:-1].copy(), positions)
    bits = max(1, int(num_symbols - 1).bit_length())
    symbols = min(8, 64 // bits)
    # Many more parts than threads, each of whole symbols and of about the same size.
    cuts = np.searchsorted(starts, np.linspace(starts[1], length, 32 * threads + 1)).tolist()
    cuts[0], cuts[-1] = 1, num_symbols

    def sort(part: int) -> bool:
        first, last = cuts[part], cuts[part + 1]
        return first >= last or _sort_buckets(
            text, positions, starts, first, last, bits, symbols, patience
        )

    with ThreadPoolExecutor(threads) as pool:
        if all(list(pool.map(sort, range(len(cuts) - 1)))):
            return positions
    return _sort_repetitive(text, num_symbols)


def _sort_repetitive(text: NDArray[np.int32], num_symbols: int) -> NDArray[np.uint32]:
    """`sort_suffixes` by pydivsufsort, which sorts bytes: symbols of one width in big-endian order
    sort as their bytes do, and of the sorted positions only the whole symbols' are kept. Each
    document's 0 becomes a symbol of its own, which puts equal suffixes into the text's order."""
    ends = np.flatnonzero(text == 0)
    unlike = text.astype(np.int64) + (len(ends) - 1)
    unlike[ends] = np.arange(len(ends))
    width = max(1, (int(num_symbols + len(ends) - 2).bit_length() + 7) // 8)
    big_endian = unlike.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    byte_positions = divsufsort(np.ascontiguousarray(big_endian).ravel())
    return (byte_positions[byte_positions % width == 0] // width).astype(np.uint32)


# -- the transform ---------------------------------------------------------------------------------


@njit(**KERNEL)
def _mark_kept(starts, rate, text):
    """Set the high bit of the symbols whose positions are kept: every ``rate``-th of a document. A
    document's own beginning is always kept: a walk never has to pass a 0."""
    for document in range(starts.shape[0] - 1):
        start, end = np.int64(starts[document]), np.int64(starts[document + 1])
        for position in range(start, end, rate):
            text[position] |= _KEPT


@njit(**KERNEL)
def _transform(text, positions, document_of, anchor_rate, first, last, symbols, flags, anchors):
    before = np.int32(-1) if first == 0 else document_of[positions[first - 1]]
    for row in range(first, last):
        position = np.int64(positions[row])
        document = document_of[position]
        # Before the first symbol of all stands, as before every document, a 0.
        symbols[row] = text[position - 1] & ~_KEPT if position > 0 else 0
        flag = SAME if document == before else 0
        if text[position] & _KEPT:
            flag |= MARKED
        flags[row] = flag
        if position % anchor_rate == 0:
            anchors[position // anchor_rate] = row
        before = document


@njit(**KERNEL)
def _kept(positions, flags, kept):
    found = 0
    for row in range(positions.shape[0]):
        if flags[row] & MARKED:
            kept[found] = positions[row]
            found += 1


def in_blocks(length: int, threads: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(first, last)`` for parts of ``range(length)``, in threads."""
    blocks = [(at, min(length, at + _BLOCK_ROWS)) for at in range(0, length, _BLOCK_ROWS)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda block: work(*block), blocks))


def transform_documents(
    tokens: NDArray[np.int32],
    starts: NDArray[np.uint32],
    symbol_of: NDArray[np.int32],
    rate: int,
    anchor_rate: int,
    threads: int = 1,
) -> Transform:
    """Suffix-sort reversed documents.

    Args:
        tokens: int32[total], the documents' tokens one after the other.
        starts: uint32[documents + 1], where each document begins in the text, one symbol 0 behind
            each.
        symbol_of: int32[vocab_size], the symbol (from 1) of each token that occurs.
        rate: int, every how many tokens of a document a text position is kept.
        anchor_rate: int, every how many text positions the row is kept.
    """
    length, documents = int(starts[-1]), len(starts) - 1
    text = np.empty(length, dtype=np.int32)
    _reverse_documents(tokens, starts, symbol_of, text)
    positions = sort_suffixes(text, int(symbol_of.max(initial=0)) + 1, threads)
    lengths = np.diff(starts).astype(np.int64)
    document_of = np.repeat(np.arange(documents, dtype=np.int32), lengths)
    symbols = np.empty(length, dtype=np.uint32)
    flags = np.empty(length, dtype=np.uint8)
    anchors = np.empty(-(-length // anchor_rate), dtype=np.uint32)
    _mark_kept(starts, rate, text)
    in_blocks(
        length,
        threads,
        lambda a, b: _transform(
            text, positions, document_of, anchor_rate, a, b, symbols, flags, anchors
        ),
    )
    kept = np.empty(int(((lengths + rate - 1) // rate).sum()), dtype=np.uint32)
    _kept(positions, flags, kept)
    width = max(1, (length - 1).bit_length())
    return Transform(
        symbols, bit_vector(flags, SAME), bit_vector(flags, MARKED), pack(kept, width),
        pack(anchors, width), width,
    )  # fmt: skip


__all__ = ["Transform", "in_blocks", "sort_suffixes", "transform_documents"]
