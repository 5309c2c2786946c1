"""Huffman codes of digits 0 to 3, in the order that a Huffman-shaped wavelet matrix needs.

At every level the nodes stand in a row; node i has its child for digit d at place ``nodes * d + i``
of the next row. Codes are given out so that in every row the leaves come last: what has been
decoded drops off the end of the level, and a node is a leaf where its place is not below the number
of inner nodes. (After Claude, Navarro and Ordóñez, "The wavelet matrix", Information Systems 47,
2015, which has it for bits.)
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
    """Depths of Huffman's tree of four children over ascending weights, 3k + 1 of them."""
    n = weights.shape[0]
    inner_nodes = (n - 1) // 3
    merged = np.empty(inner_nodes, np.int64)
    leaf, inner = 0, 0
    for made in range(inner_nodes):
        total = np.int64(0)
        for _ in range(4):
            if inner >= made or (leaf < n and weights[leaf] <= merged[inner]):
                total += weights[leaf]
                parents[leaf] = n + made
                leaf += 1
            else:
                total += merged[inner]
                parents[n + inner] = n + made
                inner += 1
        merged[made] = total
    depths = np.zeros(n + inner_nodes, np.int64)
    for node in range(n + inner_nodes - 2, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[:n]


def padded_number(symbols: int) -> int:
    """Symbols of a complete code: a node has four children or none, so up to three symbols are
    added that never occur."""
    return max(4, symbols + -(symbols - 1) % 3)


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Lengths of Huffman's codes in digits, uint8[n], of n symbols that occur so often, n being a
    `padded_number`.

    Very rare symbols count as if they were less rare: their codes, and with them the steps of a
    query, stay short, and the size hardly grows.
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
    """The tree, level by level; all of it follows from the code lengths and the counts.

    nodes : int64[depth + 1], inner nodes of each level; the last is 0.
    lengths : int64[depth + 1], digits of each level.
    line_starts, super_starts : int64[depth + 1], the level's first line and superblock.
    smaller : int64[depth, 4], how many digits of a level are smaller than each.
    leaf_starts : int64[depth + 1], where in ``leaf_symbols`` each level's leaves begin.
    leaf_symbols : int32[n], symbols in the order of their leaves.
    codes : uint32[n], each symbol's code from the highest bits down.
    code_lengths : uint8[n]
    firsts : int64[n], position of a symbol's first occurrence in the row that its leaf is in.
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
    """Give out the codes.

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
        place = nodes[level] + np.arange(leaves[level])
        for above in range(level, 0, -1):
            digit = place // nodes[above - 1]
            codes[own] |= digit.astype(np.uint32) << np.uint32(32 - 2 * above)
            place -= digit * nodes[above - 1]
        by_digit = sizes.reshape(4, nodes[level - 1])
        smaller[level - 1, 1:] = np.cumsum(by_digit.sum(axis=1))[:3]
        inner = by_digit.sum(axis=0)
        level_lengths[level - 1] = inner.sum()
    lines = [num_lines(int(length)) for length in level_lengths[:depth]]
    supers = [num_supers(number) for number in lines]
    line_starts, super_starts = (
        np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64) for numbers in (lines, supers)
    )
    return Shape(
        nodes, level_lengths, line_starts, super_starts, smaller, leaf_starts, symbols,
        codes, lengths, firsts,
    )  # fmt: skip


__all__ = ["MAX_LENGTH", "Shape", "code_lengths", "padded_number", "tree_shape"]
