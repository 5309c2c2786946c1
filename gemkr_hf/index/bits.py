"""Bit vectors with rank, their counts in the same cache line as their bits.

A line is 64 bytes, ``uint64[8]``: the low 32 bits of its first word hold how many ones stand before
the line, the other 480 bits are data. A rank reads one line and nothing else: on a large vector the
time of a rank is the time of its cache misses.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

LINE_BITS = 480
_COUNT_BITS = 32
_COUNT_MASK = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)

MAX_BITS = 2**32 - 1
"""Longest bit vector: a line's count has 32 bits."""

# One options set for all kernels: they release the GIL, and the second process does not compile.
KERNEL: dict[str, Any] = {"cache": True, "nogil": True}


@intrinsic
def _popcount(typingctx: Any, word: Any = None):
    """Ones of a uint64; numba has no name for the instruction."""

    def codegen(context, builder, signature, args):
        return builder.trunc(builder.ctpop(args[0]), ir.IntType(64))

    return types.int64(types.uint64), codegen


@njit(**KERNEL)
def rank(lines, position):
    """Ones among the first ``position`` bits; ``0 <= position <= length`` is the caller's duty.

    Whatever the lines hold, the answer lies in [0, position]: a file with flipped bits gives wrong
    answers but no address outside an array.
    """
    line = position // LINE_BITS
    bit = position - line * LINE_BITS + _COUNT_BITS
    last = bit >> 6
    first_word = lines[line, 0]
    below = (_ONE << np.uint64(bit & 63)) - _ONE
    ones = np.int64(first_word & _COUNT_MASK)
    if last == 0:
        ones += _popcount((first_word & below) >> np.uint64(_COUNT_BITS))
    else:
        ones += _popcount(first_word >> np.uint64(_COUNT_BITS))
        for word in range(1, last):
            ones += _popcount(lines[line, word])
        ones += _popcount(lines[line, last] & below)
    return min(ones, position)


@njit(**KERNEL)
def get_bit(lines, position):
    """The bit at ``position``, 0 or 1; ``0 <= position < length`` is the caller's duty."""
    line = position // LINE_BITS
    bit = position - line * LINE_BITS + _COUNT_BITS
    return np.int64((lines[line, bit >> 6] >> np.uint64(bit & 63)) & _ONE)


@njit(**KERNEL)
def set_bit(lines, position):
    """Set the bit at ``position`` of lines that are being filled."""
    line = position // LINE_BITS
    bit = position - line * LINE_BITS + _COUNT_BITS
    lines[line, bit >> 6] |= _ONE << np.uint64(bit & 63)


@njit(**KERNEL)
def fill_counts(lines):
    """Write the counts of finished bits into their lines; return the number of all ones."""
    total = 0
    for line in range(lines.shape[0]):
        ones: int = _popcount(lines[line, 0] >> np.uint64(_COUNT_BITS))
        for word in range(1, 8):
            ones += _popcount(lines[line, word])
        lines[line, 0] = (lines[line, 0] & ~_COUNT_MASK) | np.uint64(total)
        total += ones
    return total


def empty_lines(*shape: int) -> NDArray[np.uint64]:
    """Zeroed lines for vectors of ``shape[-1]`` bits: ``uint64[*shape[:-1], lines, 8]``.

    There is always a bit behind the last, so that the rank of the whole vector reads a line that
    exists. The lines begin on a cache line's border.
    """
    lines = (*shape[:-1], shape[-1] // LINE_BITS + 1, 8)
    words = int(np.prod(lines))
    memory = np.zeros(words + 8, dtype=np.uint64)
    start = (-memory.ctypes.data % 64) // 8
    return memory[start : start + words].reshape(lines)


__all__ = [
    "KERNEL",
    "LINE_BITS",
    "MAX_BITS",
    "empty_lines",
    "fill_counts",
    "get_bit",
    "rank",
    "set_bit",
]
