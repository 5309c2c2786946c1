"""Bit vectors with rank, dense and sparse, and packed integers.

A dense vector consists of lines of 64 bytes, ``uint64[8]``: the low 32 bits of a line's first word
are the number of ones before the line, the other 480 bits are data. A rank reads one cache line and
nothing else: on a large vector, the time of a rank is the time of its cache misses.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

LINE_BITS = 480
BLOCK_BITS = 256
_COUNT_BITS = 32
_COUNT_MASK = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)

MAX_BITS = 2**32 - 1
"""Maximum length of a bit vector: a line's count has 32 bits."""

# Options of all kernels: they release the GIL, and are compiled once per machine.
KERNEL: dict[str, Any] = {"cache": True, "nogil": True}
# Functions of the innermost loops are inlined: a call costs as much as a rank.
INLINED: dict[str, Any] = {**KERNEL, "forceinline": True}


@intrinsic
def popcount(typingctx: Any, word: Any = None):
    """Number of ones in a uint64 (an instruction that Numba does not expose)."""

    def codegen(context, builder, signature, args):
        return builder.trunc(builder.ctpop(args[0]), ir.IntType(64))

    return types.int64(types.uint64), codegen


@intrinsic
def prefetch(typingctx: Any, lines: Any, line: Any = None):
    """Prefetch a line into the cache (an instruction that Numba does not expose)."""

    def codegen(context, builder, signature, args):
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, args[0])
        pointer = builder.gep(array.data, [builder.mul(args[1], ir.Constant(ir.IntType(64), 8))])
        byte_pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [byte_pointer.type],
            ir.FunctionType(ir.VoidType(), [byte_pointer.type, word, word, word]),
        )
        hints = [ir.Constant(word, hint) for hint in (0, 3, 1)]  # read, keep, data
        builder.call(function, [byte_pointer, *hints])
        return context.get_dummy_value()

    return types.void(lines, types.int64), codegen


# -- dense ---------------------------------------------------------------------------------------


@njit(**INLINED)
def _rank(lines, position):
    """Number of ones in the first ``position`` bits.

    Requires ``0 <= position <= length``. Whatever the lines contain, the result is in
    [0, position]: a corrupt file gives wrong answers, but no access outside an array.
    """
    line = position // LINE_BITS
    bit = position - line * LINE_BITS + _COUNT_BITS
    last = bit >> 6
    below = (_ONE << np.uint64(bit & 63)) - _ONE
    first = lines[line, 0]
    # The loop below also counts the bits of the count itself: subtract them.
    ones = np.int64(first & _COUNT_MASK) - popcount(first & _COUNT_MASK)
    for word in range(8):
        # Branch-free, so that the compiler vectorizes the loop.
        mask = _ALL if word < last else (below if word == last else _NONE)
        ones += popcount(lines[line, word] & mask)
    return max(0, min(ones, position))


@njit(**INLINED)
def _get_bit(lines, position):
    """The bit at ``position``, 0 or 1; requires ``0 <= position <= length``."""
    line = position // LINE_BITS
    bit = position - line * LINE_BITS + _COUNT_BITS
    return np.int64((lines[line, bit >> 6] >> np.uint64(bit & 63)) & _ONE)


def num_lines(length: int) -> int:
    """Number of lines of a vector, with a spare bit: a rank at ``length`` needs one."""
    return length // LINE_BITS + 1


def empty_lines(lines: int) -> NDArray[np.uint64]:
    """Zeros, uint64[lines, 8], aligned to a cache line."""
    words = lines * 8
    memory = np.zeros(words + 8, dtype=np.uint64)
    start = (-memory.ctypes.data % 64) // 8
    return memory[start : start + words].reshape(lines, 8)


@njit(**KERNEL)
def _write_lines(flags, mask, lines):
    """Write the vector whose bit p is set if ``flags[p] & mask`` is nonzero."""
    length, total = flags.shape[0], 0
    for line in range(lines.shape[0]):
        position, before = line * LINE_BITS, total
        for word in range(8):
            bits = _NONE
            for bit in range(_COUNT_BITS if word == 0 else 0, 64):
                if position < length and flags[position] & mask != 0:
                    bits |= _ONE << np.uint64(bit)
                position += 1
            lines[line, word] = bits
            total += popcount(bits)
        lines[line, 0] |= np.uint64(before)


# -- sparse or dense -----------------------------------------------------------------------------


class BitVector(NamedTuple):
    """A bit vector in the smaller of two forms; all arrays are read-only.

    Attributes:
        length: int64[2], number of bits, and 1 if ``places`` lists the zeros instead of the ones.
        lines: uint64[lines, 8], dense form; empty if the vector is sparse.
        bases: uint32[blocks + 1], number of places before each block of 256 bits.
        places: uint8[bases[-1]], listed positions relative to their blocks.
    """

    length: NDArray[np.int64]
    lines: NDArray[np.uint64]
    bases: NDArray[np.uint32]
    places: NDArray[np.uint8]


@njit(**KERNEL)
def _count_places(flags, mask, wanted, bases):
    for block in range(bases.shape[0] - 1):
        start = block * BLOCK_BITS
        found = 0
        for position in range(start, min(start + BLOCK_BITS, flags.shape[0])):
            found += (flags[position] & mask != 0) == wanted
        bases[block + 1] = bases[block] + found


@njit(**KERNEL)
def _write_places(flags, mask, wanted, places):
    found = 0
    for position in range(flags.shape[0]):
        if (flags[position] & mask != 0) == wanted:
            places[found] = position & (BLOCK_BITS - 1)
            found += 1


def bit_vector(flags: NDArray[np.uint8], mask: int) -> BitVector:
    """The vector whose bit p is set if ``flags[p] & mask`` is nonzero; flags: uint8[length]."""
    length = len(flags)
    blocks = -(-length // BLOCK_BITS)
    bases = np.zeros(blocks + 1, dtype=np.uint32)
    _count_places(flags, mask, True, bases)
    ones = int(bases[-1])
    inverted = 2 * ones > length
    if min(ones, length - ones) > length // 8:
        lines = empty_lines(num_lines(length))
        _write_lines(flags, mask, lines)
        return freeze(
            BitVector(np.array([length, 0]), lines, bases[:0].copy(), np.empty(0, np.uint8))
        )
    if inverted:
        _count_places(flags, mask, False, bases)
    places = np.empty(int(bases[-1]), dtype=np.uint8)
    _write_places(flags, mask, not inverted, places)
    return freeze(BitVector(np.array([length, int(inverted)]), empty_lines(0), bases, places))


def no_bits() -> BitVector:
    """A vector of length 0, which means that there is none."""
    return bit_vector(np.empty(0, np.uint8), 1)


@njit(**INLINED)
def _places_before(vector, position):
    """Number of listed places before ``position``."""
    block = position // BLOCK_BITS
    if block >= vector.bases.shape[0] - 1:
        return vector.places.shape[0]
    index = min(np.int64(vector.bases[block]), vector.places.shape[0])
    end = min(np.int64(vector.bases[block + 1]), vector.places.shape[0])
    place = position - block * BLOCK_BITS
    while index < end and vector.places[index] < place:
        index += 1
    return index


@njit(**INLINED)
def ones_before(vector, position):
    """Number of ones in the first ``position`` bits, ``0 <= position <= length``."""
    if vector.lines.shape[0] > 0:
        return _rank(vector.lines, position)
    places = _places_before(vector, position)
    return max(0, position - places) if vector.length[1] else places


@njit(**INLINED)
def is_one(vector, position):
    """Whether bit ``position`` is set, ``0 <= position < length``."""
    if vector.lines.shape[0] > 0:
        return _get_bit(vector.lines, position) == 1
    block = position // BLOCK_BITS
    index = _places_before(vector, position)
    end = min(np.int64(vector.bases[block + 1]), vector.places.shape[0])
    listed = index < end and vector.places[index] == position - block * BLOCK_BITS
    return listed != (vector.length[1] == 1)


@njit(**KERNEL)
def first_one(vector, position, limit):
    """The first set bit in [position, limit), or ``limit``."""
    before = ones_before(vector, position)
    low, high = position, limit
    # Binary search for the smallest end with one more one before it.
    while low < high:
        middle = (low + high) // 2
        if ones_before(vector, middle + 1) > before:
            high = middle
        else:
            low = middle + 1
    return low


# -- packed integers -----------------------------------------------------------------------------


@njit(**KERNEL)
def _pack(values, width, words):
    for number in range(values.shape[0]):
        bit = number * width
        word, shift = bit >> 6, np.uint64(bit & 63)
        words[word] |= np.uint64(values[number]) << shift
        if (bit & 63) + width > 64:
            words[word + 1] |= np.uint64(values[number]) >> (np.uint64(64) - shift)


def pack(values: NDArray[np.uint32], width: int) -> NDArray[np.uint64]:
    """Pack integers of ``width`` bits (at most 32): uint64[words]."""
    words = np.zeros(packed_words(len(values), width), dtype=np.uint64)
    _pack(values, width, words)
    return words


def packed_words(number: int, width: int) -> int:
    """Number of words for ``number`` packed integers, with a spare one: reads take two words."""
    return -(-number * width // 64) + 1


@njit(**INLINED)
def unpack(words, width, number):
    """Read integer ``number``; 0 if it is out of range."""
    bit = number * width
    word, shift = bit >> 6, np.uint64(bit & 63)
    if number < 0 or word + 1 >= words.shape[0]:
        return 0
    value = words[word] >> shift
    if (bit & 63) + width > 64:
        value |= words[word + 1] << (np.uint64(64) - shift)
    return np.int64(value & ((_ONE << np.uint64(width)) - _ONE))


def freeze(arrays: Any) -> Any:
    """Make the arrays of a (nested) named tuple read-only.

    Built, copied and memory-mapped arrays then have one type, for which kernels are compiled once.
    """
    for array in arrays:
        if isinstance(array, tuple):
            freeze(array)
        else:
            array.flags.writeable = False
    return arrays
