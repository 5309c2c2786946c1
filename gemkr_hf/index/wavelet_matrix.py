"""Huffman-shaped wavelet matrix over the Burrows-Wheeler transform: NumPy arrays, Numba kernels.

Symbols are dense: 0 ends a document, 1 to ``sigma`` are the tokens that occur, in their order. A
symbol's digits, of two bits, are its Huffman code, so that the matrix takes about H0 bits a token
and a frequent token few steps. Kernels go through the levels outside and through the batch inside:
the cache misses of independent rows overlap.

No content of the arrays makes a kernel read outside of them: every position is held within its
level. What is false in a file then gives false answers, and `verify` finds it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import KERNEL, empty_lines, freeze, ones_before
from gemkr_hf.index.huffman_codes import code_lengths, padded_number, tree_shape
from gemkr_hf.index.kernel_tuples import Box, box
from gemkr_hf.index.quad_sequences import (
    LINE_DIGITS,
    expect_rank,
    get_digit,
    num_lines,
    rank_digit,
    rank_digits,
    write_counts,
    write_lines,
)
from gemkr_hf.index.successor_lists import find_list, read_list

Int64 = NDArray[np.int64]

TOGETHER = 16
"""Rows that walk side by side: about as many cache misses as a core can wait for at once."""

_GROUP = 1 << 16
_LINES_A_TASK = 1 << 12


class Arrays(NamedTuple):
    """What kernels read; all arrays read-only. See ``codes.Shape`` for the tree's.

    lines : uint64[lines, 8], the digits of all levels (``quads.py``).
    supers : uint32[superblocks, 4], their counts.
    counts : int64[sigma + 2], how many symbols are smaller; the last is the number of rows.
    shifts : int64[sigma + 1], from a position in a leaf's row to the row of the longer pattern.
    alphabet : int32[sigma], the token of symbol 1, 2, ...
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
    """Stable partition of ``codes[first:last]`` by a digit: those of digit d go to ``targets[d]``
    and on, and nothing to ``limit`` or beyond, where there are only leaves."""
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
def extend_rows(m, lower, upper, symbols, out_lower, out_upper):
    """Backward step: rows of ``symbol + pattern`` from rows of ``pattern``; symbol -1 is no step.

    The output may be the input.
    """
    depth, length, sigma = m.smaller.shape[0], m.counts[-1], m.alphabet.shape[0]
    steps = 0
    for row in range(lower.shape[0]):
        symbol = symbols[row]
        low, high = max(0, lower[row]), min(length, upper[row])
        # A row that is answered already has a negative lower end, which no level touches.
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
def _extend(matrix, lower, upper, symbols, out_lower, out_upper):
    extend_rows(matrix.it, lower, upper, symbols, out_lower, out_upper)


@njit(**KERNEL)
def search_rows(m, symbols, offsets, lower, upper):
    """Backward steps of whole sequences, all together, on from the rows in ``lower, upper``."""
    rows = lower.shape[0]
    column_symbols = np.empty(rows, np.int32)
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    for column in range(longest):
        for row in range(rows):
            place = offsets[row] + column
            column_symbols[row] = symbols[place] if place < offsets[row + 1] else -1
        extend_rows(m, lower, upper, column_symbols, lower, upper)


@njit(**KERNEL)
def _search(matrix, symbols, offsets, lower, upper):
    search_rows(matrix.it, symbols, offsets, lower, upper)


@njit(**KERNEL)
def _sort(symbols, first, last, marked):
    """Sort ``symbols[first:last]``, which are different; ``marked`` has a zeroed bit for each."""
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
            place = 0
            for step in (32, 16, 8, 4, 2, 1):
                if low >> np.uint64(place + step):
                    place += step
            symbols[at] = (word << 6) + place
            at += 1
            bits ^= low


@njit(**KERNEL)
def _leaves_below(m, alive, lower, upper, first, last, bound, wanted, symbols, bounds, ends):
    """Symbols that stand in ``bwt[lower:upper]`` of the rows ``first`` to ``last`` with
    ``wanted``, each row's together and sorted: row r's end at ``ends[r]``; returns how many.

    Breadth first over all rows together. ``bounds`` gets the rows of the longer patterns, int64
    (2, bound), where it is not empty.
    """
    depth, length, sigma = m.smaller.shape[0], m.counts[-1], m.alphabet.shape[0]
    low_ends = np.empty((2, bound), np.int64)
    high_ends = np.empty((2, bound), np.int64)
    places = np.empty((2, bound), np.int32)
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
            places[0, count], owners[0, count] = 0, row
            expect_rank(m.lines, 0, min(low_ends[0, count], m.lengths[0]))
            expect_rank(m.lines, 0, min(high_ends[0, count], m.lengths[0]))
            count += 1
    here, there = 0, 1
    for level in range(depth):
        base, super_base, size = m.line_starts[level], m.super_starts[level], m.lengths[level]
        width, inner, leaf = m.nodes[level], m.nodes[level + 1], m.leaf_starts[level + 1]
        children = 0
        for node in range(count):
            low, high = min(low_ends[here, node], size), min(high_ends[here, node], size)
            place, row = places[here, node], owners[here, node]
            first_digit, last_digit = 0, 4
            if high == low + 1:
                # A single row goes one way.
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
                child = place + digit * width
                if child_low >= child_high:
                    continue
                if child < inner:
                    # Honest arrays keep these bounds; they are asked for the others.
                    if children < bound:
                        low_ends[there, children], high_ends[there, children] = (
                            child_low, child_high,
                        )  # fmt: skip
                        places[there, children], owners[there, children] = child, row
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
        # For the moment where a row's symbols begin; each that is placed moves it on to their end.
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
def _successors(matrix, all_lists, removed, lower, upper, offsets):
    """Tokens that stand in ``bwt[lower:upper]`` of each row, sorted, without the document end."""
    m, lists, alive = matrix.it, all_lists.it, removed.it.alive
    length, sigma = m.counts[-1], m.alphabet.shape[0]
    rows, bound = lower.shape[0], np.int64(0)
    stored = np.full(rows, -1, np.int64)
    wanted = np.zeros(rows, np.bool_)
    for row in range(rows):
        low, high = max(0, lower[row]), min(length, upper[row])
        if low < high:
            stored[row] = find_list(lists, low, high)
            wanted[row] = stored[row] < 0
            # An interval of k rows holds at most k symbols, and at most every symbol and the end.
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
        # So many rows together that the scratch memory stays small.
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
    # What is mostly full need not be copied.
    return tokens[:total] if 2 * total > bound else tokens[:total].copy()


@njit(**KERNEL)
def _expand(matrix, removed, lower, upper, symbols, bounds, ends):
    """Successors with their intervals, not sorted, for the lists that are stored."""
    return _leaves_below(
        matrix.it, removed.it.alive, lower, upper, 0, lower.shape[0], symbols.shape[0],
        np.ones(lower.shape[0], np.bool_), symbols, bounds, ends,
    )  # fmt: skip


@njit(**KERNEL)
def step_back(m, row):
    """Symbol of ``bwt[row]`` and the row of the suffix that begins with it."""
    depth, length = m.smaller.shape[0], m.counts[-1]
    position, place = row, 0
    for level in range(depth):
        base, super_base = m.line_starts[level], m.super_starts[level]
        position = min(position, m.lengths[level])
        digit = get_digit(m.lines, base, position)
        position = m.smaller[level, digit] + rank_digit(
            m.lines, m.supers, base, super_base, digit, position
        )
        place += digit * m.nodes[level]
        inner = m.nodes[level + 1]
        if place >= inner:
            symbol = m.leaf_symbols[m.leaf_starts[level + 1] + place - inner]
            if symbol >= m.shifts.shape[0]:
                symbol = 0
            return symbol, min(length - 1, max(0, position + m.shifts[symbol]))
    return np.int32(0), row


@njit(**KERNEL)
def steps_back(m, rows, symbols, places, count):
    """`step_back` of the first ``count`` rows, which are overwritten; one waits for the cache
    misses of all. ``places`` is scratch, int64[count]."""
    depth, length = m.smaller.shape[0], m.counts[-1]
    for number in range(count):
        symbols[number], places[number] = -1, 0
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
            places[number] += digit * m.nodes[level]
            if places[number] < inner:
                rows[number] = position
                expect_rank(m.lines, m.line_starts[level + 1], min(position, m.lengths[level + 1]))
                waiting += 1
                continue
            symbol = m.leaf_symbols[m.leaf_starts[level + 1] + places[number] - inner]
            if symbol >= m.shifts.shape[0]:
                symbol = 0
            symbols[number] = symbol
            rows[number] = min(length - 1, max(0, position + m.shifts[symbol]))
        if waiting == 0:
            break


@njit(**KERNEL)
def walk_rows(m, rows, offsets, tokens):
    """The tokens before the suffixes of rows, nearest first: those of row i are
    ``tokens[offsets[i]:offsets[i + 1]]``."""
    sigma, next_row = m.alphabet.shape[0], 0
    here, symbols = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.int32)
    at, ends = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.int64)
    places, count = np.empty(TOGETHER, np.int64), 0
    while True:
        while count < TOGETHER and next_row < rows.shape[0]:
            if offsets[next_row] < offsets[next_row + 1]:
                here[count] = rows[next_row]
                at[count], ends[count] = offsets[next_row], offsets[next_row + 1]
                count += 1
            next_row += 1
        if count == 0:
            return
        steps_back(m, here, symbols, places, count)
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
    for row in range(symbols.shape[0]):
        symbols[row] = step_back(matrix.it, row)[0]


class WaveletMatrix:
    """The transform in a form that answers rank.

    Args:
        lines: uint64[lines, 8].
        supers: uint32[superblocks, 4].
        counts: int64[sigma + 2], how many symbols are smaller.
        lengths: uint8[n], the code lengths of sigma + 1 symbols and some that never occur.
        alphabet: int32[sigma], ascending.

    Raises:
        ValueError: if they do not fit together.
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
            raise ValueError("The alphabet and its counts do not fit together")
        shape = tree_shape(lengths, _padded(sizes))
        if lines.shape != (shape.line_starts[-1], 8) or supers.shape != (
            shape.super_starts[-1],
            4,
        ):
            raise ValueError("There are too few or too many digits")
        shifts = counts[:-1] - shape.firsts[: len(alphabet) + 1]
        of_shape = {name: array for name, array in shape._asdict().items() if name != "firsts"}
        self.arrays: Arrays = freeze(
            Arrays(lines, supers, counts, alphabet, shifts=shifts, **of_shape)
        )
        self.box: Box = box(self.arrays)

    def __reduce__(self) -> tuple[Any, ...]:
        arrays = self.arrays
        parts = arrays.lines, arrays.supers, arrays.counts, arrays.code_lengths, arrays.alphabet
        return WaveletMatrix, parts

    @classmethod
    def build(
        cls, symbols: NDArray[np.uint32], alphabet: NDArray[np.int32], threads: int = 1
    ) -> "WaveletMatrix":
        """From the transform's symbols, uint32[rows]; they are overwritten."""
        length = len(symbols)
        sizes = np.bincount(symbols, minlength=len(alphabet) + 1).astype(np.int64)
        counts = np.concatenate([[0], np.cumsum(sizes)])
        lengths = code_lengths(_padded(sizes))
        shape = tree_shape(lengths, _padded(sizes))
        lines = empty_lines(int(shape.line_starts[-1]))
        supers = np.zeros((int(shape.super_starts[-1]), 4), dtype=np.uint32)
        codes, other = symbols, np.empty_like(symbols)
        with ThreadPoolExecutor(threads) as pool:

            def in_parts(number: int, work: Callable[[int, int], Any]) -> None:
                parts = range(0, number, _LINES_A_TASK)
                list(pool.map(lambda at: work(at, min(number, at + _LINES_A_TASK)), parts))

            in_parts(length, lambda a, b: _to_codes(codes, shape.codes, a, b))
            for level in range(len(shape.smaller)):
                size, limit = int(shape.lengths[level]), int(shape.lengths[level + 1])
                shift, here = 30 - 2 * level, codes[:size]
                own = lines[slice(*shape.line_starts[level : level + 2])]
                own_supers = supers[slice(*shape.super_starts[level : level + 2])]
                found = np.empty((len(own), 4), dtype=np.int64)
                smaller = shape.smaller[level]

                def write(a: int, b: int) -> None:
                    write_lines(here, shift, own, a, b, found)  # noqa: B023

                def move(a: int, b: int) -> None:
                    start, end = min(size, a * LINE_DIGITS), min(size, b * LINE_DIGITS)  # noqa: B023
                    targets = smaller + found[a]  # noqa: B023
                    _partition(here, shift, start, end, targets, other, limit)  # noqa: B023

                in_parts(num_lines(size), write)
                write_counts(own, own_supers, found)
                in_parts(num_lines(size), move)
                codes, other = other, codes
        return cls(lines, supers, counts, lengths, alphabet)

    @property
    def num_rows(self) -> int:
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
        """Backward steps of sequences, number i being ``symbols[offsets[i]:offsets[i + 1]]``, on
        from the rows ``lower, upper``, which are overwritten."""
        _search(self.box, symbols, offsets, lower, upper)

    def extend(self, lower: Int64, upper: Int64, symbols: NDArray[np.int32]) -> tuple[Int64, Int64]:
        """Rows ``[lower, upper)`` of each pattern with one more symbol; (0, 0) where absent."""
        out_lower, out_upper = np.empty_like(lower), np.empty_like(upper)
        _extend(self.box, lower, upper, symbols, out_lower, out_upper)
        return out_lower, out_upper

    def successors(
        self, lower: Int64, upper: Int64, lists: Box, removed: Box
    ) -> tuple[Int64, NDArray[np.int32]]:
        """Tokens in each interval's rows: ``offsets int64[n + 1]``, ``tokens int32[total]``.

        lists : `SuccessorLists`
        removed : `Removed`, which says what rows count.
        """
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        tokens = _successors(self.box, lists, removed, lower, upper, offsets)
        return offsets, tokens

    def expand(
        self, lower: Int64, upper: Int64, removed: Box
    ) -> tuple[Int64, NDArray[np.int32], Int64]:
        """Symbols in each interval's rows with the rows of the longer patterns: ``offsets
        int64[n + 1]``, ``symbols int32[total]``, ``bounds int64[2, total]``."""
        bound = int(np.clip(upper - lower, 0, len(self.alphabet) + 1).sum())
        symbols, bounds = np.empty(bound, np.int32), np.empty((2, bound), np.int64)
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        found = _expand(self.box, removed, lower, upper, symbols, bounds, offsets[1:])
        return offsets, symbols[:found], bounds[:, :found]

    def symbols(self) -> NDArray[np.uint32]:
        """The transform again, uint32[rows]."""
        symbols = np.empty(self.num_rows, dtype=np.uint32)
        _decode(self.box, symbols)
        return symbols


def _padded(sizes: Int64) -> Int64:
    """Sizes of the symbols of a complete code: some never occur."""
    return np.append(sizes, np.zeros(padded_number(len(sizes)) - len(sizes), dtype=np.int64))


__all__ = [
    "TOGETHER",
    "Arrays",
    "WaveletMatrix",
    "extend_rows",
    "search_rows",
    "step_back",
    "steps_back",
    "walk_rows",
]
