"""Stored successor lists of very frequent patterns.

To list K successors, the wavelet matrix visits a multiple of K nodes: for the thousands of
successors of a frequent word, only a stored list is fast. A list identifies symbols by their rank
in the order of their codes, frequent ones first. Many of the frequent symbols are successors: the
head of a list is a bitmask of them. The tail stores gaps between ranks as varints of 7-bit bytes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import KERNEL, freeze


class SuccessorLists(NamedTuple):
    """Successors of wide intervals; all arrays are read-only.

    Attributes:
        keys: uint64[lists], sorted: an interval's lower end in the high, its upper in the low 32
            bits.
        sizes: uint32[lists], number of successors.
        heads: uint32[lists], bytes of the bitmask at the start of a list.
        starts: int64[lists + 1], start of each list in ``data``.
        data: uint8[starts[-1]]
    """

    keys: NDArray[np.uint64]
    sizes: NDArray[np.uint32]
    heads: NDArray[np.uint32]
    starts: NDArray[np.int64]
    data: NDArray[np.uint8]


@njit(**KERNEL)
def find_list(lists, low, high):
    """Number of the interval's list, -1 if it has none."""
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
def read_list(lists, number, order, sigma, symbols, at):
    """Write list ``number`` to ``symbols[at:]``, unsorted; return the number of symbols.

    ``order``, int32[n], is the symbol of each rank. A corrupt list ends early, but gives no symbol
    beyond ``sigma`` and no more symbols than ``sizes`` says.
    """
    start = max(0, min(lists.starts[number], lists.data.shape[0]))
    end = min(lists.starts[number + 1], lists.data.shape[0])
    tail = min(start + np.int64(lists.heads[number]), end)
    size = min(np.int64(lists.sizes[number]), symbols.shape[0] - at)
    found, last = 0, order.shape[0] - 1
    for byte in range(start, tail):
        bits = lists.data[byte]
        rank = (byte - start) * 8
        while bits and found < size:
            if bits & 1 and rank <= last:
                symbol = order[rank]
                if 1 <= symbol <= sigma:
                    symbols[at + found] = symbol
                    found += 1
            bits >>= 1
            rank += 1
    rank, gap, shift = (tail - start) * 8 - 1, np.int64(0), 0
    for byte in range(tail, end):
        value = np.int64(lists.data[byte])
        gap |= (value & 127) << shift
        if value & 128:
            shift += 7
            if shift > 28:
                break
            continue
        rank += gap + 1
        if rank > last or found >= size:
            break
        symbol = order[rank]
        if 1 <= symbol <= sigma:
            symbols[at + found] = symbol
            found += 1
        gap, shift = np.int64(0), 0
    return found


@njit(**KERNEL)
def rows_without_list(lists_ref, lower, upper, rows):
    """Number of rows of each interval; 0 if its list is stored."""
    lists = lists_ref.value
    for row in range(lower.shape[0]):
        low, high = lower[row], upper[row]
        rows[row] = high - low if 0 <= low < high and find_list(lists, low, high) < 0 else 0


@njit(**KERNEL)
def _gap_bytes(gap):
    size = 1
    while gap > 127:
        gap >>= 7
        size += 1
    return size


@njit(**KERNEL)
def _best_head(ranks):
    """Size of the bitmask, in bytes, that makes the list shortest."""
    best, tail = np.int64(0), np.int64(0)
    for number in range(ranks.shape[0] - 1, 0, -1):
        tail += _gap_bytes(ranks[number] - ranks[number - 1] - 1)
    if ranks.shape[0]:
        tail += _gap_bytes(ranks[0])
    least, number = tail, 0
    while number < ranks.shape[0]:
        # The head ends after the byte of this rank.
        head = (ranks[number] >> 3) + 1
        while number < ranks.shape[0] and ranks[number] < 8 * head:
            before = ranks[number - 1] if number else -1
            tail -= _gap_bytes(ranks[number] - before - 1)
            number += 1
        rest = tail
        if number < ranks.shape[0]:
            # The first gap counts from the head's end.
            rest -= _gap_bytes(ranks[number] - ranks[number - 1] - 1)
            rest += _gap_bytes(ranks[number] - 8 * head)
        if head + rest < least:
            best, least = head, head + rest
    return best


@njit(**KERNEL)
def _write(ranks, head, data):
    """Encode a list of ascending ranks; return its size in bytes."""
    data[:head] = 0
    size, before = head, 8 * head - 1
    for number in range(ranks.shape[0]):
        rank = ranks[number]
        if rank < 8 * head:
            data[rank >> 3] |= np.uint8(1 << (rank & 7))
            continue
        gap, before = rank - before - 1, rank
        while gap > 127:
            data[size] = (gap & 127) | 128
            gap >>= 7
            size += 1
        data[size] = gap
        size += 1
    return size


class ListWriter:
    """Collects lists in any order.

    Args:
        order: int32[n], the symbol of each rank.
    """

    def __init__(self, order: NDArray[np.int32]) -> None:
        self._rank_of = np.empty(int(order.max(initial=0)) + 1, dtype=np.int64)
        self._rank_of[order] = np.arange(len(order))
        self._records: list[tuple[int, int, int]] = []
        self._data: list[NDArray[np.uint8]] = []

    def add(self, low: int, high: int, symbols: NDArray[np.int32]) -> None:
        """Add the successors of one interval."""
        ranks = np.sort(self._rank_of[symbols])
        head = _best_head(ranks)
        data = np.empty(5 * len(ranks) + head, dtype=np.uint8)
        self._records.append((low << 32 | high, len(ranks), head))
        self._data.append(data[: _write(ranks, head, data)].copy())

    def lists(self) -> SuccessorLists:
        """All lists, sorted by their keys."""
        keys, sizes, heads = (
            np.array([record[part] for record in self._records], dtype=dtype)
            for part, dtype in enumerate((np.uint64, np.uint32, np.uint32))
        )
        order = np.argsort(keys)
        data = [self._data[number] for number in order]
        starts = np.zeros(len(order) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in data], out=starts[1:])
        joined = np.concatenate([np.empty(0, np.uint8), *data])
        return freeze(SuccessorLists(keys[order], sizes[order], heads[order], starts, joined))


def no_lists() -> SuccessorLists:
    """No lists at all."""
    return ListWriter(np.empty(0, dtype=np.int32)).lists()
