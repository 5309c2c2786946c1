"""A hash table of digests, which detects repeated texts and ids at about 50 bytes per entry."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import KERNEL

_SMALLEST = 1 << 10


def digests(contents: Iterable[bytes]) -> NDArray[np.uint64]:
    """128-bit digests of n contents, uint64[n, 2]."""
    joined = b"".join(blake2b(content, digest_size=16).digest() for content in contents)
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)


@njit(**KERNEL)
def _insert(keys, values, wanted, first, found):
    """Look up digests; insert missing ones with the values ``first``, ``first + 1``, ..."""
    mask = keys.shape[0] - 1
    for number in range(wanted.shape[0]):
        left, right = wanted[number, 0], wanted[number, 1]
        slot = np.int64(left & np.uint64(mask))
        while values[slot] >= 0 and (keys[slot, 0] != left or keys[slot, 1] != right):
            slot = (slot + 1) & mask
        found[number] = values[slot]
        if values[slot] < 0:
            keys[slot, 0], keys[slot, 1] = left, right
            values[slot] = first
            first += 1


@njit(**KERNEL)
def _move(keys, values, old_keys, old_values):
    """Insert the entries of another table."""
    mask = keys.shape[0] - 1
    for number in range(old_values.shape[0]):
        if old_values[number] < 0:
            continue
        slot = np.int64(old_keys[number, 0] & np.uint64(mask))
        while values[slot] >= 0:
            slot = (slot + 1) & mask
        keys[slot, 0], keys[slot, 1] = old_keys[number, 0], old_keys[number, 1]
        values[slot] = old_values[number]


class DigestTable:
    """Maps digests to numbers, with open addressing.

    >>> table = DigestTable()
    >>> table.insert(digests([b"a", b"b"]), 0).tolist()
    [-1, -1]
    >>> table.insert(digests([b"b", b"c", b"c"]), 2).tolist()
    [1, -1, 2]
    """

    def __init__(self) -> None:
        self._entries = 0
        self._keys, self._values = self._empty(_SMALLEST)

    @staticmethod
    def _empty(slots: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        return np.zeros((slots, 2), dtype=np.uint64), np.full(slots, -1, dtype=np.int64)

    def insert(self, keys: NDArray[np.uint64], first: int) -> NDArray[np.int64]:
        """Look up digests, and insert missing ones with the numbers ``first``, ``first + 1``, ...

        Returns:
            int64[n], the number of each digest; -1 if it was missing.
        """
        slots = len(self._values)
        while 3 * (self._entries + len(keys)) > 2 * slots:
            slots *= 2
        if slots > len(self._values):
            old = self._keys, self._values
            self._keys, self._values = self._empty(slots)
            _move(self._keys, self._values, *old)
        found = np.empty(len(keys), dtype=np.int64)
        _insert(self._keys, self._values, keys, first, found)
        self._entries += int((found < 0).sum())
        return found


__all__ = ["DigestTable", "digests"]
