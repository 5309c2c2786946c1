"""Huffman codes of digits 0 to 3, in the order that a Huffman-shaped wavelet matrix needs.

The nodes of each level are numbered; the child of node i for digit d has the number
``nodes * d + i`` in the next level. Codes are assigned so that the leaves of each level come last:
decoded symbols drop off the end of the level, and a node is a leaf if its number is not below the
number of inner nodes.
(After Claude, Navarro and Ordóñez, "The wavelet matrix", Information Systems 47, 2015, for bits.)
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import KERNEL
from gemkr_hf.index.quad_sequences import num_lines, num_supers

MAX_LENGTH = 15
_RARE = 20


@njit(**KERNEL)
def _depths(weights, parents):
    """Depths of the 4-ary Huffman tree over 3k + 1 ascending weights."""
    n = weights.shape[0]
    inner_nodes = (n - 1) // 3
    merged = np.empty(inner_nodes, np.int64)
    leaf, inner = 0, 0
    for parent in range(inner_nodes):
        total = np.int64(0)
        for _ in range(4):
            if inner >= parent or (leaf < n and weights[leaf] <= merged[inner]):
                total += weights[leaf]
                parents[leaf] = n + parent
                leaf += 1
            else:
                total += merged[inner]
                parents[n + inner] = n + parent
                inner += 1
        merged[parent] = total
    depths = np.zeros(n + inner_nodes, np.int64)
    for node in range(n + inner_nodes - 2, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[:n]


def padded_number(symbols: int) -> int:
    """Number of symbols of a complete code: a node has four children or none, so up to three unused
    symbols are added."""
    return max(4, symbols + -(symbols - 1) % 3)


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Huffman code lengths in digits, uint8[n].

    Very rare symbols are treated as less rare: their codes, and so the steps of a query, stay
    short, and the size hardly grows.

    Args:
        counts: int64[n], occurrences of each symbol, n being a `padded_number`.
    """
    order = np.argsort(counts, kind="stable")
    least = max(1, int(counts.sum()) >> _RARE)
    parents = np.empty(2 * len(counts), dtype=np.int64)
    while True:
        depths = _depths(np.maximum(counts[order], least), parents)
        if depths.max() <= MAX_LENGTH:
            break
        least *= 2
    lengths = np.empty(len(counts), dtype=np.uint8)
    lengths[order] = depths
    return lengths


class Shape(NamedTuple):
    """The code tree by levels; derived from the code lengths and counts.

    Attributes:
        nodes: int64[depth + 1], inner nodes of each level; the last is 0.
        lengths: int64[depth + 1], digits of each level.
        line_starts, super_starts: int64[depth + 1], first line and superblock of each level.
        smaller: int64[depth, 4], number of smaller digits in the level, for each digit.
        leaf_starts: int64[depth + 1], index of each level's first leaf in ``leaf_symbols``.
        leaf_symbols: int32[n], symbols in the order of their leaves.
        codes: uint32[n], code of each symbol, from the highest bits down.
        code_lengths: uint8[n], number of digits of each code.
        firsts: int64[n], position of each symbol's first occurrence in the level of its leaf.
    """

    nodes: NDArray[np.int64]
    lengths: NDArray[np.int64]
    line_starts: NDArray[np.int64]
    super_starts: NDArray[np.int64]
    smaller: NDArray[np.int64]
    leaf_starts: NDArray[np.int64]
    leaf_symbols: NDArray[np.int32]
    codes: NDArray[np.uint32]
    code_lengths: NDArray[np.uint8]
    firsts: NDArray[np.int64]


def tree_shape(lengths: NDArray[np.uint8], counts: NDArray[np.int64]) -> Shape:
    """Assign the codes.

    Raises:
        ValueError: if no complete prefix code has these lengths.
    """
    if len(lengths) < 4 or lengths.min() < 1 or lengths.max() > MAX_LENGTH:
        raise ValueError("The code lengths are out of range")
    symbols = np.argsort(lengths, kind="stable").astype(np.int32)
    depth = int(lengths.max())
    leaves = np.bincount(lengths, minlength=depth + 1)
    nodes = np.ones(depth + 1, dtype=np.int64)
    for level in range(1, depth + 1):
        nodes[level] = 4 * nodes[level - 1] - leaves[level]
    if nodes[depth] != 0 or (nodes[:depth] < 1).any():
        raise ValueError("The code lengths are not those of a complete code")
    leaf_starts = (np.cumsum(leaves) - leaves).astype(np.int64)
    codes = np.zeros(len(lengths), dtype=np.uint32)
    firsts = np.zeros(len(lengths), dtype=np.int64)
    level_lengths = np.zeros(depth + 1, dtype=np.int64)
    smaller = np.zeros((depth, 4), dtype=np.int64)
    inner = np.empty(0, dtype=np.int64)
    for level in range(depth, 0, -1):
        own = symbols[leaf_starts[level] : leaf_starts[level] + leaves[level]]
        sizes = np.concatenate([inner, counts[own]])
        firsts[own] = (np.cumsum(sizes) - sizes)[nodes[level] :]
        number = nodes[level] + np.arange(leaves[level])
        for above in range(level, 0, -1):
            digit = number // nodes[above - 1]
            codes[own] |= digit.astype(np.uint32) << np.uint32(32 - 2 * above)
            number -= digit * nodes[above - 1]
        by_digit = sizes.reshape(4, nodes[level - 1])
        smaller[level - 1, 1:] = np.cumsum(by_digit.sum(axis=1))[:3]
        inner = by_digit.sum(axis=0)
        level_lengths[level - 1] = inner.sum()
    lines = [num_lines(int(length)) for length in level_lengths[:depth]]
    supers = [num_supers(count) for count in lines]
    line_starts, super_starts = (
        np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64) for numbers in (lines, supers)
    )
    return Shape(
        nodes, level_lengths, line_starts, super_starts, smaller, leaf_starts, symbols,
        codes, lengths, firsts,
    )  # fmt: skip
