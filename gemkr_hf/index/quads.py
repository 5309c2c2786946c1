"""Sequences of digits 0 to 3 with rank: the levels of the wavelet matrix.

A line is 64 bytes, ``uint64[8]``: three numbers of 16 bits, how many 1, 2 and 3 stand before it
within its superblock, then 232 digits of two bits. What stands before a superblock of 282 lines is
kept in a small table beside. A rank reads one line, and a word of a table that stays in the cache:
on a large sequence the time of a rank is the time of one cache miss, and digits of two bits halve
how many of them a symbol costs. (Ceregini, Kurpicz and Venturini, "Faster wavelet trees with quad
vectors", DCC 2024, have the idea.)
"""

import numpy as np
from numba import njit

from gemkr_hf.index.bits import KERNEL, popcount, prefetch

LINE_DIGITS = 232
SUPER_LINES = 282
_HEADER_BITS = 48
_DATA = np.uint64(0xFFFF000000000000)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_LOW = np.uint64(0x5555555555555555)


def num_lines(length: int) -> int:
    """Lines of a sequence: there is always a digit behind the last, so that the rank of the whole
    sequence reads a line that exists."""
    return length // LINE_DIGITS + 1


def num_supers(lines: int) -> int:
    """Superblocks of so many lines."""
    return -(-lines // SUPER_LINES)


@njit(**KERNEL)
def rank_digit(lines, supers, base, super_base, digit, position):
    """How often ``digit`` stands among the first ``position`` digits of the sequence whose first
    line is ``base``.

    ``0 <= position <= length`` is the caller's duty. Whatever the lines hold, the answer lies in
    [0, position]: a file with flipped bits gives wrong answers but no address outside an array.
    """
    line = position // LINE_DIGITS
    bit = (position - line * LINE_DIGITS) * 2 + _HEADER_BITS
    block = line // SUPER_LINES
    first = lines[base + line, 0]
    found = np.int64(supers[super_base + block, digit])
    if digit:
        found += np.int64((first >> np.uint64(16 * digit - 16)) & np.uint64(0xFFFF))
    else:
        found += (line - block * SUPER_LINES) * LINE_DIGITS
        found -= np.int64(first & np.uint64(0xFFFF))
        found -= np.int64((first >> np.uint64(16)) & np.uint64(0xFFFF))
        found -= np.int64((first >> np.uint64(32)) & np.uint64(0xFFFF))
    last = bit >> 6
    below = (_ONE << np.uint64(bit & 63)) - _ONE
    # Two bits that equal the digit's become two ones.
    unlike = _LOW * np.uint64(3 - digit)
    for word in range(8):
        # Without a branch, so that the compiler makes one vector of it.
        mask = _ALL if word < last else (below if word == last else _NONE)
        if word == 0:
            mask &= _DATA
        same = lines[base + line, word] ^ unlike
        found += popcount(same & (same >> _ONE) & _LOW & mask)
    return max(0, min(found, position))


@njit(**KERNEL)
def rank_digits(lines, supers, base, super_base, position):
    """`rank_digit` of the digits 1, 2 and 3."""
    line = position // LINE_DIGITS
    bit = (position - line * LINE_DIGITS) * 2 + _HEADER_BITS
    block = super_base + line // SUPER_LINES
    first = lines[base + line, 0]
    ones = np.int64(supers[block, 1]) + np.int64(first & np.uint64(0xFFFF))
    twos = np.int64(supers[block, 2]) + np.int64((first >> np.uint64(16)) & np.uint64(0xFFFF))
    threes = np.int64(supers[block, 3]) + np.int64((first >> np.uint64(32)) & np.uint64(0xFFFF))
    last = bit >> 6
    below = (_ONE << np.uint64(bit & 63)) - _ONE
    odd, high, both = 0, 0, 0
    for word in range(8):
        mask = _ALL if word < last else (below if word == last else _NONE)
        if word == 0:
            mask &= _DATA
        digits = lines[base + line, word] & mask
        low_bits, high_bits = digits & _LOW, (digits >> _ONE) & _LOW
        odd += popcount(low_bits)
        high += popcount(high_bits)
        both += popcount(low_bits & high_bits)
    ones = max(0, min(ones + odd - both, position))
    twos = max(0, min(twos + high - both, position - ones))
    return ones, twos, max(0, min(threes + both, position - ones - twos))


@njit(**KERNEL)
def get_digit(lines, base, position):
    """The digit at ``position``; ``0 <= position <= length`` is the caller's duty."""
    line = position // LINE_DIGITS
    bit = (position - line * LINE_DIGITS) * 2 + _HEADER_BITS
    return np.int64((lines[base + line, bit >> 6] >> np.uint64(bit & 63)) & np.uint64(3))


@njit(**KERNEL)
def expect_rank(lines, base, position):
    """Say that the rank of ``position`` will be asked for: the time of a cache miss passes while
    other rows are worked on."""
    prefetch(lines, base + position // LINE_DIGITS)


@njit(**KERNEL)
def write_lines(codes, shift, lines, first_line, last_line, found):
    """Fill the lines ``first_line`` to ``last_line`` of a sequence whose digit p is the two bits of
    ``codes[p]`` from ``shift`` on; ``found[line]``, int64[4], becomes how often each digit stands
    in a line."""
    length, down = codes.shape[0], np.uint32(shift)
    for line in range(first_line, last_line):
        position = line * LINE_DIGITS
        found[line, :] = 0
        for word in range(8):
            digits = _NONE
            start = _HEADER_BITS if word == 0 else 0
            end = min(64, start + 2 * max(0, length - position))
            for place in range(start, end, 2):
                digit = (codes[position] >> down) & np.uint32(3)
                digits |= np.uint64(digit) << np.uint64(place)
                position += 1
            lines[line, word] = digits
            threes = popcount(digits & (digits >> _ONE) & _LOW)
            ones, twos = popcount(digits & _LOW), popcount((digits >> _ONE) & _LOW)
            found[line, 1] += ones - threes
            found[line, 2] += twos - threes
            found[line, 3] += threes
        held = max(0, min(LINE_DIGITS, length - line * LINE_DIGITS))
        found[line, 0] = held - found[line, 1] - found[line, 2] - found[line, 3]


@njit(**KERNEL)
def write_counts(lines, supers, found):
    """Turn the digits of each line into those before it, in ``found``, in the lines and in
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


__all__ = [
    "LINE_DIGITS",
    "expect_rank",
    "get_digit",
    "num_lines",
    "num_supers",
    "rank_digit",
    "rank_digits",
    "write_counts",
    "write_lines",
]
