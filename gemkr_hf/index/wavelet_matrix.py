"""Huffman-shaped wavelet matrix over the Burrows-Wheeler transform: NumPy arrays, Numba kernels.

Symbols are dense: 0 ends a document, 1 to ``sigma`` are the tokens that occur, in their order. The
2-bit digits of a symbol are its Huffman code: the matrix takes about H0 bits per token, and a
frequent token takes few steps. The outer loop of a kernel is over levels, the inner one over the
batch: the cache misses of independent rows overlap.

Kernels never read outside of the arrays, whatever these contain: every position is clipped to its
level. A corrupt file gives wrong answers, which `verify` detects.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import KERNEL, empty_lines, freeze, ones_before
from gemkr_hf.index.huffman_codes import code_lengths, padded_number, tree_shape
from gemkr_hf.index.kernel_tuples import KernelRef, kernel_ref
from gemkr_hf.index.quad_sequences import (
    LINE_DIGITS,
    expect_rank,
    get_digit,
    rank_digit,
    rank_digits,
    write_counts,
    write_lines,
)
from gemkr_hf.index.successor_lists import find_list, read_list
from gemkr_hf.index.threads import run_blocks

Int64 = NDArray[np.int64]

BATCH = 16
"""Rows that walk side by side: about the number of cache misses that a core handles at once."""

_GROUP = 1 << 16
_LINES_PER_TASK = 1 << 12


class Arrays(NamedTuple):
    """What kernels read; all arrays are read-only.

    See `huffman_codes.Shape` for the attributes that are not listed here.

    Attributes:
        lines: uint64[lines, 8], the digits of all levels (`quad_sequences`).
        supers: uint32[superblocks, 4], counts of digits before each superblock.
        counts: int64[sigma + 2], number of smaller symbols; the last is the number of rows.
        alphabet: int32[sigma], the token of symbol 1, 2, ...
        shifts: int64[sigma + 1], added to a position in a symbol's leaf, it gives the row of the
            longer pattern.
    """

    lines: NDArray[np.uint64]
    supers: NDArray[np.uint32]
    counts: Int64
    alphabet: NDArray[np.int32]
    shifts: Int64
    nodes: Int64
    lengths: Int64
    line_starts: Int64
    super_starts: Int64
    smaller: Int64
    leaf_starts: Int64
    leaf_symbols: NDArray[np.int32]
    codes: NDArray[np.uint32]
    code_lengths: NDArray[np.uint8]


# -- building --------------------------------------------------------------------------------------


@njit(**KERNEL)
def _to_codes(symbols, table, first, last):
    for position in range(first, last):
        symbols[position] = table[symbols[position]]


@njit(**KERNEL)
def _partition(codes, shift, first, last, targets, partitioned, limit):
    """Stable partition of ``codes[first:last]`` by a digit: codes with digit d go to ``targets[d]``
    onwards; those at ``limit`` or beyond are leaves and are dropped."""
    down = np.uint32(shift)
    for position in range(first, last):
        code = codes[position]
        digit = (code >> down) & np.uint32(3)
        target = targets[digit]
        targets[digit] = target + 1
        if target < limit:
            partitioned[target] = code


# -- querying --------------------------------------------------------------------------------------


@njit(**KERNEL)
def _extend_rows(m, lower, upper, symbols, out_lower, out_upper):
    """Backward step: rows of ``symbol + pattern`` from rows of ``pattern``; symbol -1: no step.

    Writes (0, 0) if the longer pattern does not occur. The output may be the input.
    """
    depth, length, sigma = m.smaller.shape[0], m.counts[-1], m.alphabet.shape[0]
    steps = 0
    for row in range(lower.shape[0]):
        symbol = symbols[row]
        low, high = max(0, lower[row]), min(length, upper[row])
        # A negative lower end marks a finished row, which the levels skip.
        if low >= high or symbol == 0 or symbol < -1 or symbol > sigma:
            low, high = 0, 0
        elif symbol == -1:
            low = -1 - low
        elif low == 0 and high == length:
            low, high = -1 - m.counts[symbol], m.counts[symbol + 1]
        else:
            steps = max(steps, int(m.code_lengths[symbol]))
            expect_rank(m.lines, 0, min(low, m.lengths[0]))
            expect_rank(m.lines, 0, min(high, m.lengths[0]))
        out_lower[row], out_upper[row] = low, high
    for level in range(min(steps, depth)):
        base, super_base, size = m.line_starts[level], m.super_starts[level], m.lengths[level]
        shift = np.uint32(30 - 2 * level)
        for row in range(lower.shape[0]):
            low, high = out_lower[row], out_upper[row]
            if low < 0 or low >= high or level >= m.code_lengths[symbols[row]]:
                continue
            low, high = min(low, size), min(high, size)
            digit = np.int64((m.codes[symbols[row]] >> shift) & np.uint32(3))
            smaller = m.smaller[level, digit]
            low = smaller + rank_digit(m.lines, m.supers, base, super_base, digit, low)
            high = smaller + rank_digit(m.lines, m.supers, base, super_base, digit, high)
            out_lower[row], out_upper[row] = low, high
            if level + 1 < m.code_lengths[symbols[row]]:
                below, size_below = m.line_starts[level + 1], m.lengths[level + 1]
                expect_rank(m.lines, below, min(low, size_below))
                expect_rank(m.lines, below, min(high, size_below))
    for row in range(lower.shape[0]):
        low, high = out_lower[row], out_upper[row]
        if low < 0:
            out_lower[row] = -1 - low
        elif low >= high:
            out_lower[row], out_upper[row] = 0, 0
        else:
            shift_rows = m.shifts[symbols[row]]
            out_lower[row] = min(length, max(0, low + shift_rows))
            out_upper[row] = min(length, max(0, high + shift_rows))


@njit(**KERNEL)
def extend_rows(matrix, lower, upper, symbols, out_lower, out_upper):
    """Backward step of patterns by one symbol each, see `_extend_rows`."""
    _extend_rows(matrix.value, lower, upper, symbols, out_lower, out_upper)


@njit(**KERNEL)
def search_rows(matrix, symbols, offsets, lower, upper):
    """Backward steps of whole sequences, side by side; ``lower, upper`` are updated in place.

    Sequence i is ``symbols[offsets[i]:offsets[i + 1]]``.
    """
    m, rows = matrix.value, lower.shape[0]
    column_symbols = np.empty(rows, np.int32)
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    for column in range(longest):
        for row in range(rows):
            index = offsets[row] + column
            column_symbols[row] = symbols[index] if index < offsets[row + 1] else -1
        _extend_rows(m, lower, upper, column_symbols, lower, upper)


@njit(**KERNEL)
def _sort(symbols, first, last, marked):
    """Sort the distinct ``symbols[first:last]``; ``marked`` is scratch, a zero bit per symbol."""
    if last - first <= 24:
        for i in range(first + 1, last):
            symbol, j = symbols[i], i - 1
            while j >= first and symbols[j] > symbol:
                symbols[j + 1] = symbols[j]
                j -= 1
            symbols[j + 1] = symbol
        return
    for i in range(first, last):
        symbol = symbols[i]
        marked[symbol >> 6] |= np.uint64(1) << np.uint64(symbol & 63)
    at = first
    for word in range(marked.shape[0]):
        bits = marked[word]
        marked[word] = np.uint64(0)
        while bits:
            low = bits & (~bits + np.uint64(1))
            bit = 0
            for step in (32, 16, 8, 4, 2, 1):
                if low >> np.uint64(bit + step):
                    bit += step
            symbols[at] = (word << 6) + bit
            at += 1
            bits ^= low


@njit(**KERNEL)
def _leaves_below(m, alive, lower, upper, first, last, bound, wanted, symbols, bounds, ends):
    """Symbols in ``bwt[lower:upper]`` of the ``wanted`` rows among ``first`` to ``last``.

    Breadth first over all rows together. Writes each row's symbols one after the other, sorted, the
    last of row r before ``ends[r]``; and the intervals of the longer patterns to ``bounds``, int64
    (2, bound), then unsorted, unless it is empty. Returns the number of symbols.
    """
    depth, length, sigma = m.smaller.shape[0], m.counts[-1], m.alphabet.shape[0]
    low_ends = np.empty((2, bound), np.int64)
    high_ends = np.empty((2, bound), np.int64)
    nodes = np.empty((2, bound), np.int32)
    owners = np.empty((2, bound), np.int32)
    found_symbols = np.empty(bound, np.int32)
    found_owners = np.empty(bound, np.int32)
    found_bounds = np.empty((2, bound if bounds.shape[1] else 0), np.int64)
    lows, highs = np.zeros(4, np.int64), np.zeros(4, np.int64)
    filtered = alive.length[0] > 0
    count, found = 0, 0
    for row in range(first, last):
        ends[row] = 0
        if wanted[row] and count < bound:
            low_ends[0, count], high_ends[0, count] = max(0, lower[row]), min(length, upper[row])
            nodes[0, count], owners[0, count] = 0, row
            expect_rank(m.lines, 0, min(low_ends[0, count], m.lengths[0]))
            expect_rank(m.lines, 0, min(high_ends[0, count], m.lengths[0]))
            count += 1
    here, there = 0, 1
    for level in range(depth):
        base, super_base, size = m.line_starts[level], m.super_starts[level], m.lengths[level]
        width, inner, leaf = m.nodes[level], m.nodes[level + 1], m.leaf_starts[level + 1]
        children = 0
        for number in range(count):
            low, high = min(low_ends[here, number], size), min(high_ends[here, number], size)
            node, row = nodes[here, number], owners[here, number]
            first_digit, last_digit = 0, 4
            if high == low + 1:
                # A single row has one child.
                first_digit = get_digit(m.lines, base, low)
                last_digit = first_digit + 1
                lows[first_digit] = rank_digit(
                    m.lines, m.supers, base, super_base, first_digit, low
                )
                highs[first_digit] = lows[first_digit] + 1
            else:
                lows[1], lows[2], lows[3] = rank_digits(m.lines, m.supers, base, super_base, low)
                highs[1], highs[2], highs[3] = rank_digits(
                    m.lines, m.supers, base, super_base, high
                )
                lows[0] = low - lows[1] - lows[2] - lows[3]
                highs[0] = high - highs[1] - highs[2] - highs[3]
            for digit in range(first_digit, last_digit):
                child_low = m.smaller[level, digit] + lows[digit]
                child_high = m.smaller[level, digit] + highs[digit]
                child = node + digit * width
                if child_low >= child_high:
                    continue
                if child < inner:
                    # Always true for valid arrays.
                    if children < bound:
                        low_ends[there, children], high_ends[there, children] = (
                            child_low, child_high,
                        )  # fmt: skip
                        nodes[there, children], owners[there, children] = child, row
                        children += 1
                        below, size_below = m.line_starts[level + 1], m.lengths[level + 1]
                        expect_rank(m.lines, below, min(child_low, size_below))
                        if child_high > child_low + 1:
                            expect_rank(m.lines, below, min(child_high, size_below))
                    continue
                symbol = m.leaf_symbols[leaf + child - inner]
                if symbol < 1 or symbol > sigma or found >= bound:
                    continue
                child_low = min(length, max(0, child_low + m.shifts[symbol]))
                child_high = min(length, max(0, child_high + m.shifts[symbol]))
                if filtered and ones_before(alive, child_low) == ones_before(alive, child_high):
                    continue
                found_symbols[found], found_owners[found] = symbol, row
                if bounds.shape[1]:
                    found_bounds[0, found], found_bounds[1, found] = child_low, child_high
                found += 1
                ends[row] += 1
        count = children
        here, there = there, here
    total = 0
    for row in range(first, last):
        # Here the start of a row's symbols; the loop below advances it to their end.
        ends[row], total = total, total + ends[row]
    for number in range(found):
        row = found_owners[number]
        at = ends[row]
        symbols[at] = found_symbols[number]
        if bounds.shape[1]:
            bounds[0, at], bounds[1, at] = found_bounds[0, number], found_bounds[1, number]
        ends[row] += 1
    if bounds.shape[1] == 0:
        marked = np.zeros(sigma // 64 + 1, np.uint64)
        start = 0
        for row in range(first, last):
            _sort(symbols, start, ends[row], marked)
            start = ends[row]
    return found


@njit(**KERNEL)
def _successors(matrix, lists_ref, removed, lower, upper, offsets):
    """Tokens in ``bwt[lower:upper]`` of each row, sorted, without the document end."""
    m, lists, alive = matrix.value, lists_ref.value, removed.value.alive
    length, sigma = m.counts[-1], m.alphabet.shape[0]
    rows, bound = lower.shape[0], np.int64(0)
    stored = np.full(rows, -1, np.int64)
    wanted = np.zeros(rows, np.bool_)
    for row in range(rows):
        low, high = max(0, lower[row]), min(length, upper[row])
        if low < high:
            stored[row] = find_list(lists, low, high)
            wanted[row] = stored[row] < 0
            # An interval of k rows has at most k symbols, and at most all symbols and the end.
            bound += (
                min(sigma + 1, high - low)
                if wanted[row]
                else min(sigma, np.int64(lists.sizes[stored[row]]))
            )
    tokens = np.empty(bound, np.int32)
    marked = np.zeros(sigma // 64 + 1, np.uint64)
    ends = np.zeros(rows, np.int64)
    no_bounds = np.empty((2, 0), np.int64)
    total, first = 0, 0
    while first < rows:
        # Group rows so that the scratch memory stays small.
        last, group = first, 0
        while last < rows:
            width = min(sigma + 1, min(length, upper[last]) - max(0, lower[last]))
            width = width if wanted[last] else 0
            if group > 0 and group + width > _GROUP:
                break
            group += width
            last += 1
        symbols = np.empty(group, np.int32)
        if group > 0:
            _leaves_below(
                m, alive, lower, upper, first, last, group, wanted, symbols, no_bounds, ends
            )  # fmt: skip
        start = 0
        for row in range(first, last):
            offsets[row] = total
            if stored[row] >= 0:
                read = read_list(lists, stored[row], m.leaf_symbols, sigma, tokens, total)
                _sort(tokens, total, total + read, marked)
                for number in range(total, total + read):
                    tokens[number] = m.alphabet[tokens[number] - 1]
                total += read
            elif wanted[row]:
                for number in range(start, ends[row]):
                    if total < bound:
                        tokens[total] = m.alphabet[symbols[number] - 1]
                        total += 1
                start = ends[row]
        first = last
    offsets[rows] = total
    # A copy frees the memory, unless the array is mostly full.
    return tokens[:total] if 2 * total > bound else tokens[:total].copy()


@njit(**KERNEL)
def _expand(matrix, removed, lower, upper, symbols, bounds, ends):
    """Successors with the intervals of the longer patterns, unsorted."""
    return _leaves_below(
        matrix.value, removed.value.alive, lower, upper, 0, lower.shape[0], symbols.shape[0],
        np.ones(lower.shape[0], np.bool_), symbols, bounds, ends,
    )  # fmt: skip


@njit(**KERNEL)
def step_back(m, row):
    """Symbol of ``bwt[row]``, and the row of the suffix that starts with it."""
    depth, length = m.smaller.shape[0], m.counts[-1]
    position, node = row, 0
    for level in range(depth):
        base, super_base = m.line_starts[level], m.super_starts[level]
        position = min(position, m.lengths[level])
        digit = get_digit(m.lines, base, position)
        position = m.smaller[level, digit] + rank_digit(
            m.lines, m.supers, base, super_base, digit, position
        )
        node += digit * m.nodes[level]
        inner = m.nodes[level + 1]
        if node >= inner:
            symbol = m.leaf_symbols[m.leaf_starts[level + 1] + node - inner]
            if symbol >= m.shifts.shape[0]:
                symbol = 0
            return symbol, min(length - 1, max(0, position + m.shifts[symbol]))
    return np.int32(0), row


@njit(**KERNEL)
def steps_back(m, rows, symbols, nodes, count):
    """`step_back` of the first ``count`` rows, in place; their cache misses overlap. ``nodes`` is
    scratch, int64[count]."""
    depth, length = m.smaller.shape[0], m.counts[-1]
    for number in range(count):
        symbols[number], nodes[number] = -1, 0
        expect_rank(m.lines, 0, min(rows[number], m.lengths[0]))
    for level in range(depth):
        base, super_base = m.line_starts[level], m.super_starts[level]
        size, inner = m.lengths[level], m.nodes[level + 1]
        waiting = 0
        for number in range(count):
            if symbols[number] >= 0:
                continue
            position = min(rows[number], size)
            digit = get_digit(m.lines, base, position)
            position = m.smaller[level, digit] + rank_digit(
                m.lines, m.supers, base, super_base, digit, position
            )
            nodes[number] += digit * m.nodes[level]
            if nodes[number] < inner:
                rows[number] = position
                expect_rank(m.lines, m.line_starts[level + 1], min(position, m.lengths[level + 1]))
                waiting += 1
                continue
            symbol = m.leaf_symbols[m.leaf_starts[level + 1] + nodes[number] - inner]
            if symbol >= m.shifts.shape[0]:
                symbol = 0
            symbols[number] = symbol
            rows[number] = min(length - 1, max(0, position + m.shifts[symbol]))
        if waiting == 0:
            break


@njit(**KERNEL)
def walk_rows(matrix, rows, offsets, tokens):
    """Write the tokens before the suffix of row i, nearest first, to
    ``tokens[offsets[i]:offsets[i + 1]]``."""
    m = matrix.value
    sigma, next_row = m.alphabet.shape[0], 0
    here, symbols = np.empty(BATCH, np.int64), np.empty(BATCH, np.int32)
    at, ends = np.empty(BATCH, np.int64), np.empty(BATCH, np.int64)
    nodes, count = np.empty(BATCH, np.int64), 0
    while True:
        while count < BATCH and next_row < rows.shape[0]:
            if offsets[next_row] < offsets[next_row + 1]:
                here[count] = rows[next_row]
                at[count], ends[count] = offsets[next_row], offsets[next_row + 1]
                count += 1
            next_row += 1
        if count == 0:
            return
        steps_back(m, here, symbols, nodes, count)
        kept = 0
        for number in range(count):
            symbol = symbols[number]
            tokens[at[number]] = m.alphabet[symbol - 1] if 0 < symbol <= sigma else -1
            if at[number] + 1 < ends[number]:
                here[kept], at[kept], ends[kept] = here[number], at[number] + 1, ends[number]
                kept += 1
        count = kept


@njit(**KERNEL)
def _decode(matrix, symbols):
    m = matrix.value
    for row in range(symbols.shape[0]):
        symbols[row] = step_back(m, row)[0]


class WaveletMatrix:
    """The Burrows-Wheeler transform in a form that supports rank.

    Args:
        lines: uint64[lines, 8].
        supers: uint32[superblocks, 4].
        counts: int64[sigma + 2], number of smaller symbols.
        lengths: uint8[n], code lengths of sigma + 1 symbols and up to three unused ones.
        alphabet: int32[sigma], ascending.

    Raises:
        ValueError: if the arrays are inconsistent.
    """

    def __init__(
        self,
        lines: NDArray[np.uint64],
        supers: NDArray[np.uint32],
        counts: Int64,
        lengths: NDArray[np.uint8],
        alphabet: NDArray[np.int32],
    ) -> None:
        sizes = np.diff(counts)
        if not (
            len(counts) == len(alphabet) + 2
            and counts[0] == 0
            and (sizes >= 0).all()
            and len(lengths) == padded_number(len(alphabet) + 1)
            and (np.diff(alphabet) > 0).all()
        ):
            raise ValueError("The alphabet and its counts are inconsistent")
        shape = tree_shape(lengths, _padded(sizes))
        sizes_of_level = (shape.line_starts[-1], 8), (shape.super_starts[-1], 4)
        if (lines.shape, supers.shape) != sizes_of_level:
            raise ValueError("The number of digits is wrong")
        shifts = counts[:-1] - shape.firsts[: len(alphabet) + 1]
        rest = shape[:-1]  # without `firsts`
        self.arrays: Arrays = freeze(Arrays(lines, supers, counts, alphabet, shifts, *rest))
        self.ref: KernelRef = kernel_ref(self.arrays)

    def __reduce__(self) -> tuple[Any, ...]:
        arrays = self.arrays
        parts = arrays.lines, arrays.supers, arrays.counts, arrays.code_lengths, arrays.alphabet
        return WaveletMatrix, parts

    @classmethod
    def build(
        cls, symbols: NDArray[np.uint32], alphabet: NDArray[np.int32], threads: int = 1
    ) -> "WaveletMatrix":
        """Build from the symbols of the transform, uint32[rows], which are overwritten."""
        length = len(symbols)
        sizes = np.bincount(symbols, minlength=len(alphabet) + 1).astype(np.int64)
        counts = np.concatenate([[0], np.cumsum(sizes)])
        lengths = code_lengths(_padded(sizes))
        shape = tree_shape(lengths, _padded(sizes))
        lines = empty_lines(int(shape.line_starts[-1]))
        supers = np.zeros((int(shape.super_starts[-1]), 4), dtype=np.uint32)
        codes, other = symbols, np.empty_like(symbols)
        run_blocks(
            length,
            _LINES_PER_TASK * LINE_DIGITS,
            lambda first, last: _to_codes(codes, shape.codes, first, last),
            threads,
        )
        for level in range(len(shape.smaller)):
            own = lines[slice(*shape.line_starts[level : level + 2])]
            own_supers = supers[slice(*shape.super_starts[level : level + 2])]
            size, limit = (int(length) for length in shape.lengths[level : level + 2])
            smaller = shape.smaller[level]
            _build_level(
                codes[:size], 30 - 2 * level, own, own_supers, smaller, other, limit, threads
            )
            codes, other = other, codes
        return cls(lines, supers, counts, lengths, alphabet)

    @property
    def num_rows(self) -> int:
        """Number of suffixes."""
        return int(self.arrays.counts[-1])

    @property
    def alphabet(self) -> NDArray[np.int32]:
        return self.arrays.alphabet

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def search(
        self, symbols: NDArray[np.int32], offsets: Int64, lower: Int64, upper: Int64
    ) -> None:
        """Backward steps of whole sequences, see `search_rows`."""
        search_rows(self.ref, symbols, offsets, lower, upper)

    def extend(self, lower: Int64, upper: Int64, symbols: NDArray[np.int32]) -> tuple[Int64, Int64]:
        """Rows of each pattern with one more symbol; (0, 0) if it does not occur."""
        out_lower, out_upper = np.empty_like(lower), np.empty_like(upper)
        extend_rows(self.ref, lower, upper, symbols, out_lower, out_upper)
        return out_lower, out_upper

    def successors(
        self, lower: Int64, upper: Int64, lists: KernelRef, removed: KernelRef
    ) -> tuple[Int64, NDArray[np.int32]]:
        """Tokens in the rows of each interval: ``offsets int64[n + 1]``, ``tokens int32[total]``.

        Args:
            lower: int64[n].
            upper: int64[n].
            lists: `SuccessorLists`.
            removed: `Removed`, whose rows are ignored.
        """
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        tokens = _successors(self.ref, lists, removed, lower, upper, offsets)
        return offsets, tokens

    def expand(
        self, lower: Int64, upper: Int64, removed: KernelRef
    ) -> tuple[Int64, NDArray[np.int32], Int64]:
        """Symbols in the rows of each interval, with the intervals of the longer patterns:
        ``offsets int64[n + 1]``, ``symbols int32[total]``, ``bounds int64[2, total]``."""
        bound = int(np.clip(upper - lower, 0, len(self.alphabet) + 1).sum())
        symbols, bounds = np.empty(bound, np.int32), np.empty((2, bound), np.int64)
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        found = _expand(self.ref, removed, lower, upper, symbols, bounds, offsets[1:])
        return offsets, symbols[:found], bounds[:, :found]

    def symbols(self) -> NDArray[np.uint32]:
        """Decode the transform, uint32[rows]."""
        symbols = np.empty(self.num_rows, dtype=np.uint32)
        _decode(self.ref, symbols)
        return symbols


def _build_level(
    codes: NDArray[np.uint32],
    shift: int,
    lines: NDArray[np.uint64],
    supers: NDArray[np.uint32],
    smaller: Int64,
    partitioned: NDArray[np.uint32],
    limit: int,
    threads: int,
) -> None:
    """Write the lines of one level, and partition its codes for the next one."""
    size, counts = len(codes), np.empty((len(lines), 4), dtype=np.int64)

    def partition(first: int, last: int) -> None:
        start, end = min(size, first * LINE_DIGITS), min(size, last * LINE_DIGITS)
        _partition(codes, shift, start, end, smaller + counts[first], partitioned, limit)

    run_blocks(
        len(lines),
        _LINES_PER_TASK,
        lambda first, last: write_lines(codes, shift, lines, first, last, counts),
        threads,
    )
    write_counts(lines, supers, counts)
    run_blocks(len(lines), _LINES_PER_TASK, partition, threads)


def _padded(sizes: Int64) -> Int64:
    """Sizes for the symbols of a complete code, some of which never occur."""
    return np.append(sizes, np.zeros(padded_number(len(sizes)) - len(sizes), dtype=np.int64))
