"""Wavelet matrix over the Burrows-Wheeler transform: NumPy arrays, Numba kernels.

Symbols are dense: 0 ends a document, 1 to ``sigma`` are the tokens that occur, in their order.
Kernels go through the levels outside and through the batch inside: the cache misses of independent
rows overlap.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bits import (
    KERNEL,
    empty_lines,
    fill_counts,
    get_bit,
    rank,
    set_bit,
)

Int64 = NDArray[np.int64]


@njit(**KERNEL)
def _fill_level(symbols, bit, lines, partitioned):
    """Write one level's bits; stable partition of ``symbols`` by them. Returns the zeros."""
    for position in range(symbols.shape[0]):
        if (symbols[position] >> bit) & 1:
            set_bit(lines, position)
    zeros = symbols.shape[0] - fill_counts(lines)
    zero, one = 0, zeros
    for position in range(symbols.shape[0]):
        symbol = symbols[position]
        if (symbol >> bit) & 1:
            partitioned[one] = symbol
            one += 1
        else:
            partitioned[zero] = symbol
            zero += 1
    return zeros


@njit(**KERNEL)
def _first_positions(partitioned, first):
    """First position of each symbol behind the last level, where equal symbols stand together."""
    for position in range(partitioned.shape[0] - 1, -1, -1):
        first[partitioned[position]] = position


@njit(**KERNEL)
def _extend(levels, zeros, counts, shifts, lower, upper, symbols, out_lower, out_upper):
    """Backward step: rows of ``symbol + pattern`` from rows of ``pattern``; symbol -1 is no step.

    The output may be the input.
    """
    depth, length = levels.shape[0], counts[-1]
    for row in range(lower.shape[0]):
        symbol = symbols[row]
        low, high = max(0, lower[row]), min(length, upper[row])
        # A row that is answered already has a negative lower end, which no level touches.
        if low >= high or symbol == 0 or symbol < -1 or symbol >= shifts.shape[0]:
            low, high = 0, 0
        elif symbol == -1:
            low = -1 - low
        elif low == 0 and high == length:
            low, high = -1 - counts[symbol], counts[symbol + 1]
        out_lower[row], out_upper[row] = low, high
    for level in range(depth):
        lines, zero = levels[level], zeros[level]
        bit = depth - 1 - level
        for row in range(lower.shape[0]):
            low, high = out_lower[row], out_upper[row]
            if low < 0 or low >= high:
                continue
            ones_low, ones_high = rank(lines, low), rank(lines, high)
            if (symbols[row] >> bit) & 1:
                low, high = min(length, zero + ones_low), min(length, zero + ones_high)
            else:
                low, high = low - ones_low, high - ones_high
            out_lower[row], out_upper[row] = low, high
    for row in range(lower.shape[0]):
        low, high = out_lower[row], out_upper[row]
        if low < 0:
            out_lower[row] = -1 - low
        elif low >= high:
            out_lower[row], out_upper[row] = 0, 0
        else:
            shift = shifts[symbols[row]]
            out_lower[row] = min(length, max(0, low + shift))
            out_upper[row] = min(length, max(0, high + shift))


@njit(**KERNEL)
def _search(levels, zeros, counts, shifts, symbols, offsets, lower, upper):
    """Backward steps of whole sequences, all rows together, from the whole index on."""
    rows = lower.shape[0]
    column_symbols = np.empty(rows, np.int32)
    longest = 0
    for row in range(rows):
        lower[row], upper[row] = 0, counts[-1]
        longest = max(longest, offsets[row + 1] - offsets[row])
    for column in range(longest):
        for row in range(rows):
            place = offsets[row] + column
            column_symbols[row] = symbols[place] if place < offsets[row + 1] else -1
        _extend(levels, zeros, counts, shifts, lower, upper, column_symbols, lower, upper)


@njit(**KERNEL)
def _successors(levels, zeros, counts, alphabet, lower, upper, offsets, bound):
    """Tokens that stand in ``bwt[lower:upper]`` of each row, sorted, without the document end.

    Breadth first over all rows together; a node is a symbol's leading bits with its positions.
    """
    depth, length, sigma = levels.shape[0], counts[-1], alphabet.shape[0]
    rows = lower.shape[0]
    node_low = np.empty((2, bound), np.int64)
    node_high = np.empty((2, bound), np.int64)
    node_symbol = np.empty((2, bound), np.int32)
    node_row = np.empty((2, bound), np.int32)
    nodes = 0
    for row in range(rows):
        low, high = max(0, lower[row]), min(length, upper[row])
        # The whole index needs no search: every token that occurs.
        if low < high and not (low == 0 and high == length):
            node_low[0, nodes], node_high[0, nodes] = low, high
            node_symbol[0, nodes], node_row[0, nodes] = 0, row
            nodes += 1
    here, there = 0, 1
    for level in range(depth):
        lines, zero = levels[level], zeros[level]
        found = 0
        for node in range(nodes):
            low, high = node_low[here, node], node_high[here, node]
            symbol, row = node_symbol[here, node] << 1, node_row[here, node]
            ones_low = rank(lines, low)
            ones_high = ones_low + get_bit(lines, low) if high == low + 1 else rank(lines, high)
            # The bounds of `found` hold for every honest file; they are asked for the others.
            if high - ones_high > low - ones_low and found < bound:
                node_low[there, found], node_high[there, found] = low - ones_low, high - ones_high
                node_symbol[there, found], node_row[there, found] = symbol, row
                found += 1
            if ones_high > ones_low and found < bound:
                node_low[there, found] = min(length, zero + ones_low)
                node_high[there, found] = min(length, zero + ones_high)
                node_symbol[there, found], node_row[there, found] = symbol | 1, row
                found += 1
        nodes = found
        here, there = there, here
    tokens = np.empty(bound, np.int32)
    node, total = 0, 0
    for row in range(rows):
        offsets[row] = total
        if max(0, lower[row]) == 0 and upper[row] >= length and length > 0:
            for symbol in range(min(sigma, bound - total)):
                tokens[total] = alphabet[symbol]
                total += 1
        while node < nodes and node_row[here, node] == row:
            symbol = node_symbol[here, node]
            if 0 < symbol <= sigma and total < bound:
                tokens[total] = alphabet[symbol - 1]
                total += 1
            node += 1
    offsets[rows] = total
    return tokens[:total].copy()


@njit(**KERNEL)
def _step(levels, zeros, counts, shifts, row):
    """Symbol of ``bwt[row]`` and the row of the suffix that begins with it."""
    depth, length = levels.shape[0], counts[-1]
    symbol, position = 0, row
    for level in range(depth):
        lines = levels[level]
        ones = rank(lines, position)
        bit = get_bit(lines, position)
        symbol = symbol << 1 | bit
        position = min(length - 1, zeros[level] + ones) if bit else position - ones
    if symbol < shifts.shape[0]:
        position += shifts[symbol]
    return symbol, min(length - 1, max(0, position))


@njit(**KERNEL)
def _locate(levels, zeros, counts, shifts, marks, samples, rate, rows, positions):
    """Text position of each row's suffix: walk to a sampled one; -1 where a file is corrupt."""
    for number in range(rows.shape[0]):
        row = rows[number]
        positions[number] = -1
        for steps in range(rate):
            if get_bit(marks, row):
                sample = rank(marks, row)
                if sample < samples.shape[0]:
                    positions[number] = np.int64(samples[sample]) + steps
                break
            _, row = _step(levels, zeros, counts, shifts, row)


@njit(**KERNEL)
def _walk(levels, zeros, counts, shifts, alphabet, row, tokens):
    """The tokens before a suffix, nearest first."""
    for number in range(tokens.shape[0]):
        symbol, row = _step(levels, zeros, counts, shifts, row)
        tokens[number] = alphabet[symbol - 1] if 0 < symbol <= alphabet.shape[0] else -1


@njit(**KERNEL)
def _decode(levels, zeros, counts, shifts, symbols):
    for row in range(symbols.shape[0]):
        symbols[row] = _step(levels, zeros, counts, shifts, row)[0]


@dataclass(frozen=True)
class WaveletMatrix:
    """The transform in a form that answers rank; all arrays read-only.

    Attributes
    ----------
    levels : uint64[depth, lines, 8], the bits of the symbols, most significant first (``bits.py``).
    zeros : int64[depth], zeros of each level.
    counts : int64[sigma + 2], how many symbols are smaller; the last is the number of rows.
    shifts : int64[sigma + 1], from a position behind the last level to the row of the next suffix.
    alphabet : int32[sigma], the token of symbol 1, 2, ...
    """

    levels: NDArray[np.uint64]
    zeros: Int64
    counts: Int64
    shifts: Int64
    alphabet: NDArray[np.int32]

    @classmethod
    def build(cls, symbols: NDArray[np.int32], alphabet: NDArray[np.int32]) -> "WaveletMatrix":
        """From the transform's symbols, int32[rows]; they are overwritten."""
        sigma, length = len(alphabet), len(symbols)
        depth = max(1, int(sigma).bit_length())
        levels = empty_lines(depth, length)
        zeros = np.zeros(depth, dtype=np.int64)
        counts = np.zeros(sigma + 2, dtype=np.int64)
        np.cumsum(np.bincount(symbols, minlength=sigma + 1), out=counts[1:])
        other = np.empty_like(symbols)
        for level in range(depth):
            zeros[level] = _fill_level(symbols, depth - 1 - level, levels[level], other)
            symbols, other = other, symbols
        first = np.zeros(sigma + 1, dtype=np.int64)
        _first_positions(symbols, first)
        return cls.from_arrays(levels, zeros, counts, counts[:-1] - first, alphabet)

    @classmethod
    def from_arrays(cls, *arrays: NDArray) -> "WaveletMatrix":
        """Fields in their order, made read-only: built and memory-mapped arrays then have one type,
        for which the kernels are compiled once."""
        for array in arrays:
            array.flags.writeable = False
        return cls(*arrays)

    @property
    def num_rows(self) -> int:
        return int(self.counts[-1])

    @property
    def nbytes(self) -> int:
        return sum(
            a.nbytes for a in (self.levels, self.zeros, self.counts, self.shifts, self.alphabet)
        )

    def extend(self, lower: Int64, upper: Int64, symbols: NDArray[np.int32]) -> tuple[Int64, Int64]:
        """Rows ``[lower, upper)`` of each pattern with one more symbol; (0, 0) where absent."""
        out_lower, out_upper = np.empty_like(lower), np.empty_like(upper)
        _extend(
            self.levels, self.zeros, self.counts, self.shifts,
            lower, upper, symbols, out_lower, out_upper,
        )  # fmt: skip
        return out_lower, out_upper

    def search(self, symbols: NDArray[np.int32], offsets: Int64) -> tuple[Int64, Int64]:
        """Rows of whole sequences, number i being ``symbols[offsets[i]:offsets[i + 1]]``."""
        lower, upper = np.empty(len(offsets) - 1, np.int64), np.empty(len(offsets) - 1, np.int64)
        _search(
            self.levels, self.zeros, self.counts, self.shifts, symbols, offsets, lower, upper
        )  # fmt: skip
        return lower, upper

    def successors(self, lower: Int64, upper: Int64) -> tuple[Int64, NDArray[np.int32]]:
        """Tokens in each interval's rows: ``offsets int64[n + 1]``, ``tokens int32[total]``."""
        # An interval of k rows holds at most k symbols, and at most every symbol and the end.
        widths = np.clip(upper - lower, 0, len(self.alphabet) + 1)
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        tokens = _successors(
            self.levels, self.zeros, self.counts, self.alphabet,
            lower, upper, offsets, int(widths.sum()),
        )  # fmt: skip
        return offsets, tokens

    def locate(
        self, rows: Int64, marks: NDArray[np.uint64], samples: NDArray[np.uint32], rate: int
    ) -> Int64:
        """Text positions of the suffixes in ``rows``, int64[n]."""
        positions = np.empty(len(rows), dtype=np.int64)
        _locate(
            self.levels, self.zeros, self.counts, self.shifts,
            marks, samples, rate, rows, positions,
        )  # fmt: skip
        return positions

    def walk(self, row: int, length: int) -> NDArray[np.int32]:
        """The ``length`` tokens that stand before a row's suffix, nearest first."""
        tokens = np.empty(length, dtype=np.int32)
        _walk(
            self.levels, self.zeros, self.counts, self.shifts, self.alphabet, row, tokens
        )  # fmt: skip
        return tokens

    def symbols(self) -> NDArray[np.int32]:
        """The transform again, int32[rows]."""
        symbols = np.empty(self.num_rows, dtype=np.int32)
        _decode(self.levels, self.zeros, self.counts, self.shifts, symbols)
        return symbols


__all__ = ["WaveletMatrix"]
