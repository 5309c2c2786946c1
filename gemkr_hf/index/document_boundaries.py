"""Rows and documents: which document a row belongs to, whether an interval's rows are all of one
document, and which documents have been removed.

Kernels take a shard's arrays as references: ``matrix`` (`wavelet_matrix.Arrays`), ``doc_map``
(`DocumentMap`) and ``removed`` (`Removed`).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import (
    KERNEL,
    BitVector,
    bit_vector,
    first_one,
    is_one,
    no_bits,
    ones_before,
    unpack,
)
from gemkr_hf.index.kernel_tuples import kernel_ref
from gemkr_hf.index.wavelet_matrix import (
    BATCH,
    WaveletMatrix,
    search_rows,
    step_back,
    steps_back,
    walk_rows,
)

Int64 = NDArray[np.int64]


class DocumentMap(NamedTuple):
    """Positions of rows in the text, and of documents; all arrays are read-only.

    Attributes:
        same: bits, set if a row is of the same document as the row before.
        marks: bits, set if a row's text position is stored.
        positions: uint64[words], the stored positions, packed.
        anchors: uint64[words], the rows of every n-th text position, packed.
        layout: int64[3], bits of a position or row; the maximum number of steps from a row to one
            whose position is stored, plus 1; and text positions between anchors.
        starts: uint32[documents + 1], start of each document in the text, in which one symbol ends
            each document.
    """

    same: BitVector
    marks: BitVector
    positions: NDArray[np.uint64]
    anchors: NDArray[np.uint64]
    layout: Int64
    starts: NDArray[np.uint32]


class Removed(NamedTuple):
    """Documents that are in the arrays but no longer in the index; all arrays are read-only.

    Attributes:
        documents: int64[removed], sorted.
        alive: bits, set if a row is of a document that is not removed; length 0 means all rows.
        changes: bits, set if an alive row is of another document than the alive row before.
    """

    documents: Int64
    alive: BitVector
    changes: BitVector


def nothing_removed() -> Removed:
    """No removed documents."""
    none = np.empty(0, dtype=np.int64)
    none.flags.writeable = False
    return Removed(none, no_bits(), no_bits())


# -- positions -------------------------------------------------------------------------------------


@njit(**KERNEL)
def positions_of_rows(matrix, doc_map, rows, positions):
    """Text position of each row's suffix: walk back to a row whose position is stored. -1 for row
    -1, and if the file is corrupt."""
    m, docs = matrix.value, doc_map.value
    next_row, count = 0, 0
    here, symbols = np.empty(BATCH, np.int64), np.empty(BATCH, np.int32)
    steps, owners = np.empty(BATCH, np.int64), np.empty(BATCH, np.int64)
    nodes = np.empty(BATCH, np.int64)
    while True:
        while count < BATCH and next_row < rows.shape[0]:
            positions[next_row] = -1
            if rows[next_row] >= 0:
                here[count], steps[count], owners[count] = rows[next_row], 0, next_row
                count += 1
            next_row += 1
        if count == 0:
            return
        kept = 0
        for number in range(count):
            row = here[number]
            if is_one(docs.marks, row):
                sample = ones_before(docs.marks, row)
                position = unpack(docs.positions, docs.layout[0], sample)
                positions[owners[number]] = position + steps[number]
            elif steps[number] + 1 < docs.layout[1]:
                here[kept], steps[kept], owners[kept] = row, steps[number] + 1, owners[number]
                kept += 1
        count = kept
        steps_back(m, here, symbols, nodes, count)


@njit(**KERNEL)
def _document_at(starts, position):
    """Document at a text position; -1 for position -1."""
    first, last = 0, starts.shape[0]
    while first < last:
        middle = (first + last) // 2
        if np.int64(starts[middle]) <= position:
            first = middle + 1
        else:
            last = middle
    return min(first - 1, starts.shape[0] - 2)


@njit(**KERNEL)
def documents_of_rows(matrix, doc_map, rows, documents):
    """Document of each row's suffix; -1 for row -1."""
    starts = doc_map.value.starts
    positions_of_rows(matrix, doc_map, rows, documents)
    for number in range(rows.shape[0]):
        documents[number] = _document_at(starts, documents[number])


# -- tokens of documents ---------------------------------------------------------------------------


@njit(**KERNEL)
def extract_documents(matrix, doc_map, documents, offsets, tokens):
    """Write the tokens of document i to ``tokens[offsets[i]:offsets[i + 1]]``.

    Walks start at a document's end, whose row is the document's number, and at every anchor in the
    document; they run side by side.
    """
    m, docs = matrix.value, doc_map.value
    rate, length = docs.layout[2], m.counts[-1]
    walks = 0
    for number in range(documents.shape[0]):
        walks += 1 + (offsets[number + 1] - offsets[number]) // rate + 1
    rows, edges = np.empty(walks, np.int64), np.zeros(walks + 1, np.int64)
    found = 0
    for number in range(documents.shape[0]):
        document, at, stop = documents[number], offsets[number], offsets[number + 1]
        end = np.int64(docs.starts[document + 1]) - 1
        rows[found] = document
        anchor = end // rate
        while True:
            edges[found] = at
            found += 1
            at += end - anchor * rate
            if at >= stop or found >= walks:
                break
            rows[found] = min(length - 1, unpack(docs.anchors, docs.layout[0], anchor))
            end = anchor * rate
            anchor -= 1
        edges[found] = stop
    walk_rows(matrix, rows[:found], edges, tokens)


# -- distinctiveness -------------------------------------------------------------------------------


@njit(**KERNEL)
def distinct_intervals(doc_map, removed_ref, length, lower, upper, distinct):
    """ValidDistinct of intervals: not empty, and all rows of one document."""
    docs, removed = doc_map.value, removed_ref.value
    for row in range(lower.shape[0]):
        low, high = max(0, lower[row]), min(length, upper[row])
        if low >= high:
            distinct[row] = False
        elif removed.alive.length[0] == 0:
            # All rows but the first are of the same document as the row before.
            distinct[row] = high - low == 1 or (
                ones_before(docs.same, high) - ones_before(docs.same, low + 1) == high - low - 1
            )
        else:
            alive = ones_before(removed.alive, high) - ones_before(removed.alive, low)
            changes = ones_before(removed.changes, high) - ones_before(removed.changes, low)
            distinct[row] = alive > 0 and (
                changes == 0
                or (
                    changes == 1
                    and is_one(removed.changes, first_one(removed.alive, low, high - 1))
                )
            )


@njit(**KERNEL)
def first_alive_rows(removed_ref, length, lower, upper, distinct, rows):
    """First alive row of each distinct interval, -1 for other intervals."""
    removed = removed_ref.value
    for number in range(lower.shape[0]):
        rows[number] = -1
        if distinct[number]:
            low, high = max(0, lower[number]), min(length, upper[number])
            if removed.alive.length[0] > 0:
                low = first_one(removed.alive, low, high - 1)
            rows[number] = low


@njit(**KERNEL)
def documents_of_intervals(matrix, doc_map, removed, lower, upper, documents):
    """LookupDoc of intervals: ValidDistinct and the document, -1 if not distinct."""
    count, length = lower.shape[0], matrix.value.counts[-1]
    distinct, rows = np.empty(count, np.bool_), np.empty(count, np.int64)
    distinct_intervals(doc_map, removed, length, lower, upper, distinct)
    first_alive_rows(removed, length, lower, upper, distinct, rows)
    documents_of_rows(matrix, doc_map, rows, documents)


@njit(**KERNEL)
def lookup_documents(matrix, doc_map, removed, symbols, offsets, documents):
    """LookupDoc of whole sequences: search, ValidDistinct and the document."""
    count, length = documents.shape[0], matrix.value.counts[-1]
    lower, upper = np.zeros(count, np.int64), np.full(count, length)
    search_rows(matrix, symbols, offsets, lower, upper)
    documents_of_intervals(matrix, doc_map, removed, lower, upper, documents)


# -- removed documents -----------------------------------------------------------------------------


@njit(**KERNEL)
def count_alive(removed_ref, length, lower, upper, counts):
    """Number of alive rows of each interval."""
    removed = removed_ref.value
    for row in range(lower.shape[0]):
        low, high = max(0, lower[row]), min(length, upper[row])
        counts[row] = 0
        if low < high:
            counts[row] = ones_before(removed.alive, high) - ones_before(removed.alive, low)


@njit(**KERNEL)
def whole_documents(matrix, removed_ref, low, high, rows):
    """Write alive rows in [low, high) that are whole documents, as many as ``rows`` holds; return
    their number."""
    m, removed, found = matrix.value, removed_ref.value, 0
    for row in range(max(0, low), min(m.counts[-1], high)):
        if removed.alive.length[0] > 0 and not is_one(removed.alive, row):
            continue
        symbol, _ = step_back(m, row)
        if symbol == 0 and found < rows.shape[0]:
            rows[found] = row
            found += 1
    return found


@njit(**KERNEL)
def _clear_rows(matrix, documents, lengths, alive):
    """Clear the flags of all rows whose suffix starts in one of the documents."""
    m = matrix.value
    for number in range(documents.shape[0]):
        row = documents[number]
        alive[row] = 0
        for _ in range(lengths[number]):
            _, row = step_back(m, row)
            alive[row] = 0


@njit(**KERNEL)
def _change_flags(same, alive, changes, gaps):
    """Set ``changes`` where ``same`` decides it: between adjacent alive rows. List the other alive
    rows in ``gaps``, with the alive row before each gap; return their number."""
    before, found = -1, 0
    for row in range(alive.shape[0]):
        if not alive[row]:
            continue
        if before == row - 1 and before >= 0:
            changes[row] = not is_one(same, row)
        else:
            changes[row] = 1
            if before >= 0 and found < gaps.shape[1]:
                gaps[0, found], gaps[1, found] = before, row
                found += 1
        before = row
    return found


def remove_documents(matrix: WaveletMatrix, docs: DocumentMap, documents: Int64) -> Removed:
    """Mark all removed documents of a shard, int64[removed], sorted."""
    length, doc_map = matrix.num_rows, kernel_ref(docs)
    lengths = docs.starts[documents + 1].astype(np.int64) - docs.starts[documents] - 1
    alive = np.ones(length, dtype=np.uint8)
    _clear_rows(matrix.ref, documents, np.clip(lengths, 0, length), alive)
    changes = np.zeros(length, dtype=np.uint8)
    gaps = np.empty((2, length - int(alive.sum(dtype=np.int64))), dtype=np.int64)
    gaps = gaps[:, : _change_flags(docs.same, alive, changes, gaps)]
    sides = np.empty(gaps.shape, dtype=np.int64)
    for side in range(2):
        documents_of_rows(matrix.ref, doc_map, np.ascontiguousarray(gaps[side]), sides[side])
    changes[gaps[1]] = sides[0] != sides[1]
    documents = documents.copy()
    documents.flags.writeable = False
    return Removed(documents, bit_vector(alive, 1), bit_vector(changes, 1))
