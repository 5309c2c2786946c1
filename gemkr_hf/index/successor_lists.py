"""Stored answers: the successors of patterns that occur very often.

To list K successors the wavelet matrix visits a multiple of K nodes; for the thousands that follow
a frequent word only a list that is already there is fast. Lists are kept for wide intervals, as gaps between symbols in bytes of seven bits, or as one bit a symbol where
more than every eighth follows.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bits import KERNEL, freeze

_DENSE = 8


class SuccessorLists(NamedTuple):
    """Successors of the intervals that are wide; all arrays read-only.

    keys : uint64[lists], sorted: an interval's lower end in the high, its upper in the low 32 bits.
    sizes : uint32[lists], how many successors.
    starts : int64[lists + 1], where in ``data`` each list begins.
    data : uint8[starts[-1]]
    """

    keys: NDArray[np.uint64]
    sizes: NDArray[np.uint32]
    starts: NDArray[np.int64]
    data: NDArray[np.uint8]


@njit(**KERNEL)
def find_list(lists, low, high):
    """Number of the interval's list, -1 if there is none."""
    key = (np.uint64(low) << np.uint64(32)) | np.uint64(high)
    first, last = 0, lists.keys.shape[0]
    while first < last:
        middle = (first + last) // 2
        if lists.keys[middle] < key:
            first = middle + 1
        else:
            last = middle
    return first if first < lists.keys.shape[0] and lists.keys[first] == key else -1


@njit(**KERNEL)
def read_list(lists, number, sigma, symbols, at):
    """Write list ``number`` to ``symbols[at:]``; returns how many symbols it held. A corrupt list
    ends early, but never gives a symbol beyond ``sigma`` nor more than ``sizes`` says."""
    start = max(0, lists.starts[number])
    end = min(lists.starts[number + 1], lists.data.shape[0])
    size = min(np.int64(lists.sizes[number]), symbols.shape[0] - at)
    found = 0
    if size * _DENSE > sigma:
        for byte in range(start, end):
            bits = lists.data[byte]
            symbol = (byte - start) * 8 + 1
            while bits and found < size:
                if bits & 1 and symbol <= sigma:
                    symbols[at + found] = symbol
                    found += 1
                bits >>= 1
                symbol += 1
        return found
    symbol, gap, shift = 0, 0, 0
    for byte in range(start, end):
        value = np.int64(lists.data[byte])
        gap |= (value & 127) << shift
        if value & 128:
            shift += 7
            if shift > 28:
                break
            continue
        symbol += gap + 1
        if symbol > sigma or found >= size:
            break
        symbols[at + found] = symbol
        found += 1
        gap, shift = 0, 0
    return found


@njit(**KERNEL)
def rows_without_list(all_lists, lower, upper, rows):
    """Rows of each interval, and 0 where its list is stored."""
    lists = all_lists.it
    for row in range(lower.shape[0]):
        low, high = lower[row], upper[row]
        rows[row] = high - low if 0 <= low < high and find_list(lists, low, high) < 0 else 0


@njit(**KERNEL)
def _write(symbols, sigma, data):
    """Bytes of one list of ascending symbols; returns how many."""
    size = 0
    if symbols.shape[0] * _DENSE > sigma:
        size = (sigma + 7) // 8
        data[:size] = 0
        for number in range(symbols.shape[0]):
            place = symbols[number] - 1
            data[place >> 3] |= np.uint8(1 << (place & 7))
        return size
    before = 0
    for number in range(symbols.shape[0]):
        gap = symbols[number] - before - 1
        before = symbols[number]
        while gap > 127:
            data[size] = (gap & 127) | 128
            gap >>= 7
            size += 1
        data[size] = gap
        size += 1
    return size


class ListWriter:
    """Collects lists in any order.

    sigma : the greatest symbol.
    """

    def __init__(self, sigma: int) -> None:
        self._sigma = sigma
        self._keys: list[int] = []
        self._sizes: list[int] = []
        self._data: list[NDArray[np.uint8]] = []

    def add(self, low: int, high: int, symbols: NDArray[np.int32]) -> None:
        """One interval's successors, ascending."""
        data = np.empty(max(5 * len(symbols), self._sigma // 8 + 1), dtype=np.uint8)
        self._keys.append(low << 32 | high)
        self._sizes.append(len(symbols))
        self._data.append(data[: _write(symbols, self._sigma, data)].copy())

    def lists(self) -> SuccessorLists:
        keys = np.array(self._keys, dtype=np.uint64)
        order = np.argsort(keys)
        starts = np.zeros(len(order) + 1, dtype=np.int64)
        data = [self._data[number] for number in order]
        np.cumsum([len(part) for part in data], out=starts[1:])
        sizes = np.array(self._sizes, dtype=np.uint32)[order]
        joined = np.concatenate([np.empty(0, np.uint8), *data])
        return freeze(SuccessorLists(keys[order], sizes, starts, joined))


def no_lists() -> SuccessorLists:
    return ListWriter(0).lists()


__all__ = [
    "ListWriter",
    "SuccessorLists",
    "find_list",
    "no_lists",
    "read_list",
    "rows_without_list",
]
