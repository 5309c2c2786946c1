"""From documents to the Burrows-Wheeler transform of their reversed texts.

Every document is reversed and followed by symbol 0. A clue then grows at its *front* in this text,
the direction in which an FM-index searches; no clue contains a 0, so none crosses the boundary of a
document. Suffixes that are equal up to their 0 are in the order of their documents: row d of the
transform is the end of document d.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydivsufsort import divsufsort

from gemkr_hf.index.bit_vectors import KERNEL, bit_vector, pack
from gemkr_hf.index.document_boundaries import DocumentMap
from gemkr_hf.index.threads import run_blocks

SAME, MARKED = 1, 2
_INSERTION_SORT_BELOW = 13
_COMPARISONS_PER_ROW = 48
_BLOCK_ROWS = 1 << 18
_STORED = np.int32(1 << 30)


@njit(**KERNEL)
def _reverse_documents(tokens, starts, symbol_of, text):
    """Write ``text``, in which document d starts at ``starts[d]``."""
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
    """Sort suffixes by their first symbol, stably."""
    for position in range(text.shape[0]):
        symbol = text[position]
        positions[nexts[symbol]] = position
        nexts[symbol] += 1


@njit(**KERNEL)
def _key(text, position, bits, symbols):
    """The next symbols in one integer, with zeros from the first 0 on."""
    key = np.uint64(0)
    for offset in range(symbols):
        symbol = text[position + offset]
        key = (key << np.uint64(bits)) | np.uint64(symbol)
        if symbol == 0:
            return key << np.uint64(bits * (symbols - 1 - offset))
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
    """Sort a few suffixes with ``depth`` common symbols; return the number of compared symbols."""
    work = 0
    for number in range(first + 1, last):
        position = positions[number]
        at = number - 1
        while at >= first:
            other, common = positions[at], depth
            while text[position + common] == text[other + common] and text[position + common] != 0:
                common += 1
            work += common - depth
            here, there = text[position + common], text[other + common]
            if here > there or (here == there and position > other):
                break
            positions[at + 1] = positions[at]
            at -= 1
        positions[at + 1] = position
    return work


@njit(**KERNEL)
def _sort_buckets(text, positions, starts, first, last, bits, symbols, comparisons):
    """Sort the suffixes that start with the symbols ``first`` to ``last`` by three-way quicksort on
    keys of several symbols. False if that takes more than ``comparisons`` per suffix."""
    largest = 0
    for symbol in range(first, last):
        largest = max(largest, starts[symbol + 1] - starts[symbol])
    keys = np.empty(largest, np.uint64)
    # Parts to sort: first and last row, number of common symbols, whether the keys are current.
    stack = np.empty((4096, 4), np.int64)
    last_symbol = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    budget = comparisons * (starts[last] - starts[first]) + comparisons * 4096
    for symbol in range(first, last):
        base = starts[symbol]
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = base, starts[symbol + 1], 1, 0
        top = 1
        while top > 0:
            top -= 1
            low, high, depth, current = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            if high - low < 2:
                continue
            if high - low < _INSERTION_SORT_BELOW:
                budget -= _insertion_sort(text, positions, low, high, depth)
                if budget < 0:
                    return False
                continue
            if current == 0:
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
                # Equal up to the end of their documents.
                positions[less:more].sort()
            else:
                stack[top, 0], stack[top, 1] = less, more
                stack[top, 2], stack[top, 3] = depth + symbols, 0
                top += 1
    return True


def sort_suffixes(
    text: NDArray[np.int32],
    num_symbols: int,
    threads: int = 1,
    comparisons: int = _COMPARISONS_PER_ROW,
) -> NDArray[np.uint32]:
    """Suffix array of a text.

    A suffix ends at its first 0; equal suffixes keep the order of the text. Very repetitive texts,
    which would take quicksort too many comparisons, are sorted by `divsufsort`.

    Args:
        text: int32[n], values in [0, num_symbols), the last one 0.
        num_symbols: size of the alphabet.
        threads: CPU cores to use.
        comparisons: maximum number per suffix before `divsufsort` is used.

    Returns:
        uint32[n].
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
            text, positions, starts, first, last, bits, symbols, comparisons
        )

    with ThreadPoolExecutor(threads) as pool:
        if all(list(pool.map(sort, range(len(cuts) - 1)))):
            return positions
    return _sort_repetitive(text, num_symbols)


def _sort_repetitive(text: NDArray[np.int32], num_symbols: int) -> NDArray[np.uint32]:
    """`sort_suffixes` by pydivsufsort, which sorts bytes.

    Big-endian symbols of one width sort like their bytes; of the sorted positions, those at the
    start of a symbol are kept. Each document's 0 becomes a distinct symbol, which keeps equal
    suffixes in the order of the text.
    """
    ends = np.flatnonzero(text == 0)
    distinct = text.astype(np.int64) + (len(ends) - 1)
    distinct[ends] = np.arange(len(ends))
    width = max(1, (int(num_symbols + len(ends) - 2).bit_length() + 7) // 8)
    big_endian = distinct.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    byte_positions = divsufsort(np.ascontiguousarray(big_endian).ravel())
    return (byte_positions[byte_positions % width == 0] // width).astype(np.uint32)


# -- the transform ---------------------------------------------------------------------------------


@njit(**KERNEL)
def _mark_stored(starts, rate, text):
    """Set the high bit of the symbols whose positions are stored: every ``rate``-th of a document,
    always including its start, so that no walk passes a 0."""
    for document in range(starts.shape[0] - 1):
        start, end = np.int64(starts[document]), np.int64(starts[document + 1])
        for position in range(start, end, rate):
            text[position] |= _STORED


@njit(**KERNEL)
def _transform(text, positions, document_of, anchor_rate, first, last, symbols, flags, anchors):
    before = np.int32(-1) if first == 0 else document_of[positions[first - 1]]
    for row in range(first, last):
        position = np.int64(positions[row])
        document = document_of[position]
        # As before every document, there is a 0 before the first symbol of the text.
        symbols[row] = text[position - 1] & ~_STORED if position > 0 else 0
        flag = SAME if document == before else 0
        if text[position] & _STORED:
            flag |= MARKED
        flags[row] = flag
        if position % anchor_rate == 0:
            anchors[position // anchor_rate] = row
        before = document


def transform_documents(
    tokens: NDArray[np.int32],
    starts: NDArray[np.uint32],
    symbol_of: NDArray[np.int32],
    rate: int,
    anchor_rate: int,
    threads: int = 1,
) -> tuple[NDArray[np.uint32], DocumentMap]:
    """Suffix-sort reversed documents.

    Args:
        tokens: int32[total], the tokens of all documents.
        starts: uint32[documents + 1], start of each document in the text, with a 0 after each.
        symbol_of: int32[vocab_size], the symbol (from 1) of each token that occurs.
        rate: suffix-array sampling rate: tokens of a document per stored text position.
        anchor_rate: text positions per stored row.
        threads: CPU cores to use.

    Returns:
        symbols: uint32[rows], the Burrows-Wheeler transform.
        doc_map: map from its rows to documents.
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
    _mark_stored(starts, rate, text)
    run_blocks(
        length,
        _BLOCK_ROWS,
        lambda first, last: _transform(
            text, positions, document_of, anchor_rate, first, last, symbols, flags, anchors
        ),
        threads,
    )
    stored = positions[(flags & MARKED) != 0]
    width = max(1, (length - 1).bit_length())
    return symbols, DocumentMap(
        bit_vector(flags, SAME), bit_vector(flags, MARKED), pack(stored, width),
        pack(anchors, width), np.array([width, rate, anchor_rate], dtype=np.int64), starts,
    )  # fmt: skip
