"""Sequences of digits 0 to 3 with rank: the levels of the wavelet matrix.

A line has 64 bytes, ``uint64[8]``, and holds 232 digits: the high bits of 64 digits in one of the
words 1 to 3, their low bits in one of the words 4 to 6. The first 40 digits share word 0 (8 high
bits from bit 48 on, then 8 low bits) and word 7 (32 and 32). The low 48 bits of word 0 are three
counts: the ones, twos and threes before the line within its superblock of 282 lines. A small table
has the counts before each superblock.

A rank reads one line and one entry of a table that stays in the cache: on a large sequence, a rank
takes one cache miss, and digits of two bits halve the number of ranks per symbol. (After Ceregini,
Kurpicz and Venturini, "Faster wavelet trees with quad vectors", DCC 2024.)
"""

import numpy as np
from numba import njit

from gemkr_hf.index.bit_vectors import INLINED, KERNEL, popcount, prefetch

LINE_DIGITS = 232
SUPER_LINES = 282
_MIXED = 40
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_BYTE = np.uint64(0xFF)
_HALF = np.uint64(0xFFFFFFFF)
_COUNT = np.uint64(0xFFFF)


def num_lines(length: int) -> int:
    """Number of lines of a sequence, with a spare digit: a rank at ``length`` needs one."""
    return length // LINE_DIGITS + 1


def num_supers(lines: int) -> int:
    """Number of superblocks of this many lines."""
    return -(-lines // SUPER_LINES)


@njit(**INLINED)
def _mixed(lines, line):
    """High and low bits of a line's first 40 digits."""
    first, last = lines[line, 0], lines[line, 7]
    high = ((first >> np.uint64(48)) & _BYTE) | ((last & _HALF) << np.uint64(8))
    return high, (first >> np.uint64(56)) | ((last >> np.uint64(32)) << np.uint64(8))


@njit(**INLINED)
def _below(digits):
    """A word with this many low bits set, for any number of digits."""
    if digits >= 64:
        return _ALL
    return (_ONE << np.uint64(max(0, digits))) - _ONE


@njit(**INLINED)
def rank_digit(lines, supers, base, super_base, digit, position):
    """Occurrences of ``digit`` in the first ``position`` digits of the sequence whose first line is
    ``base``.

    Requires ``0 <= position <= length``. Whatever the lines contain, the result is in
    [0, position]: a corrupt file gives wrong answers, but no access outside an array.
    """
    number = position // LINE_DIGITS
    inside = position - number * LINE_DIGITS
    block = number // SUPER_LINES
    line = base + number
    counts = lines[line, 0]
    found = np.int64(supers[super_base + block, digit])
    if digit:
        found += np.int64((counts >> np.uint64(16 * digit - 16)) & _COUNT)
    else:
        found += (number - block * SUPER_LINES) * LINE_DIGITS
        found -= np.int64(counts & _COUNT) + np.int64((counts >> np.uint64(16)) & _COUNT)
        found -= np.int64((counts >> np.uint64(32)) & _COUNT)
    # Inverted where the digit's bit is 0, both bits of an equal digit are ones.
    invert_high = _NONE if digit & 2 else _ALL
    invert_low = _NONE if digit & 1 else _ALL
    high, low = _mixed(lines, line)
    found += popcount((high ^ invert_high) & (low ^ invert_low) & _below(min(inside, _MIXED)))
    for word in range(1, 4):
        high, low = lines[line, word] ^ invert_high, lines[line, word + 3] ^ invert_low
        found += popcount(high & low & _below(inside - _MIXED - 64 * (word - 1)))
    return max(0, min(found, position))


@njit(**INLINED)
def rank_digits(lines, supers, base, super_base, position):
    """`rank_digit` of the digits 1, 2 and 3."""
    number = position // LINE_DIGITS
    inside = position - number * LINE_DIGITS
    block = super_base + number // SUPER_LINES
    line = base + number
    counts = lines[line, 0]
    ones = np.int64(supers[block, 1]) + np.int64(counts & _COUNT)
    twos = np.int64(supers[block, 2]) + np.int64((counts >> np.uint64(16)) & _COUNT)
    threes = np.int64(supers[block, 3]) + np.int64((counts >> np.uint64(32)) & _COUNT)
    high, low = _mixed(lines, line)
    mask = _below(min(inside, _MIXED))
    high, low = high & mask, low & mask
    both: int = popcount(high & low)
    highs: int = popcount(high)
    lows: int = popcount(low)
    for word in range(1, 4):
        mask = _below(inside - _MIXED - 64 * (word - 1))
        high, low = lines[line, word] & mask, lines[line, word + 3] & mask
        both += popcount(high & low)
        highs += popcount(high)
        lows += popcount(low)
    ones = max(0, min(ones + lows - both, position))
    twos = max(0, min(twos + highs - both, position - ones))
    return ones, twos, max(0, min(threes + both, position - ones - twos))


@njit(**INLINED)
def get_digit(lines, base, position):
    """The digit at ``position``; requires ``0 <= position <= length``."""
    number = position // LINE_DIGITS
    inside = position - number * LINE_DIGITS
    line = base + number
    if inside < _MIXED:
        high, low = _mixed(lines, line)
        bit = np.uint64(inside)
    else:
        word = 1 + ((inside - _MIXED) >> 6)
        high, low = lines[line, word], lines[line, word + 3]
        bit = np.uint64((inside - _MIXED) & 63)
    return np.int64((((high >> bit) & _ONE) << _ONE) | ((low >> bit) & _ONE))


@njit(**INLINED)
def expect_rank(lines, base, position):
    """Prefetch the line for a rank at ``position``: the cache miss overlaps with other work."""
    prefetch(lines, base + position // LINE_DIGITS)


@njit(**KERNEL)
def write_lines(codes, shift, lines, first_line, last_line, found):
    """Fill the lines ``first_line`` to ``last_line`` of the sequence whose digit p is the two bits
    of ``codes[p]`` from ``shift`` on; write the counts of each line's digits to ``found``, int64
    (lines, 4)."""
    length, down = codes.shape[0], np.uint32(shift)
    for line in range(first_line, last_line):
        start = line * LINE_DIGITS
        held = max(0, min(LINE_DIGITS, length - start))
        both, highs, lows = 0, 0, 0
        for group in range(4):
            first = 0 if group == 0 else _MIXED + 64 * (group - 1)
            high, low = _NONE, _NONE
            for bit in range(max(0, min(held, _MIXED + 64 * group) - first)):
                digit = np.uint64((codes[start + first + bit] >> down) & np.uint32(3))
                high |= (digit >> _ONE) << np.uint64(bit)
                low |= (digit & _ONE) << np.uint64(bit)
            both += popcount(high & low)
            highs += popcount(high)
            lows += popcount(low)
            if group == 0:
                lines[line, 0] = (high & _BYTE) << np.uint64(48) | (low & _BYTE) << np.uint64(56)
                lines[line, 7] = (high >> np.uint64(8)) | (low >> np.uint64(8)) << np.uint64(32)
            else:
                lines[line, group], lines[line, group + 3] = high, low
        found[line, 1], found[line, 2], found[line, 3] = lows - both, highs - both, both
        found[line, 0] = held - lows - highs + both


@njit(**KERNEL)
def write_counts(lines, supers, found):
    """Replace the counts of each line by the counts before it, in ``found``, in the lines and in
    ``supers``, uint32[superblocks, 4]."""
    total, block = np.zeros(4, np.int64), np.zeros(4, np.int64)
    for line in range(found.shape[0]):
        if line % SUPER_LINES == 0:
            block[:] = total
            for digit in range(4):
                supers[line // SUPER_LINES, digit] = total[digit]
        header = _NONE
        for digit in range(3, 0, -1):
            header = (header << np.uint64(16)) | np.uint64(total[digit] - block[digit])
        lines[line, 0] |= header
        for digit in range(4):
            here = found[line, digit]
            found[line, digit] = total[digit]
            total[digit] += here
