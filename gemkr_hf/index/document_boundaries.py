"""Which document a row belongs to, whether all rows of an interval belong to one, and documents
that have been removed."""

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
from gemkr_hf.index.wavelet_matrix import (
    TOGETHER,
    search_rows,
    step_back,
    steps_back,
    walk_rows,
)

Int64 = NDArray[np.int64]


class Places(NamedTuple):
    """Where rows stand in the text; all arrays read-only.

    same : bits, set where a row is of the same document as the row before.
    marks : bits, set where a row's text position is kept.
    positions : uint64[words], the kept positions, packed.
    anchors : uint64[words], the rows of every so-manieth text position, packed.
    layout : int64[3], bits of a position or row, the most steps from any row to one whose position
        is kept, and text positions from one anchor to the next.
    starts : uint32[documents + 1], where documents begin in the text, one symbol behind each.
    """

    same: BitVector
    marks: BitVector
    positions: NDArray[np.uint64]
    anchors: NDArray[np.uint64]
    layout: Int64
    starts: NDArray[np.uint32]


class Removed(NamedTuple):
    """Documents that are in the arrays but no longer in the index; all arrays read-only.

    documents : int64[removed], sorted.
    alive : bits, set where a row is of a document that is still there; of length 0 for all rows.
    changes : bits, set where a row that is alive is of another document than the alive row before.
    """

    documents: Int64
    alive: BitVector
    changes: BitVector


def nothing_removed() -> Removed:
    none = np.empty(0, dtype=np.int64)
    none.flags.writeable = False
    return Removed(none, no_bits(), no_bits())


# -- positions -------------------------------------------------------------------------------------


@njit(**KERNEL)
def positions_of_rows(m, places, rows, positions):
    """Text positions of the suffixes in ``rows``: each walks to a kept one. -1 for row -1, and
    where a file is corrupt."""
    next_row, count = 0, 0
    here, symbols = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.int32)
    steps, owners = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.int64)
    nodes = np.empty(TOGETHER, np.int64)
    while True:
        while count < TOGETHER and next_row < rows.shape[0]:
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
            if is_one(places.marks, row):
                sample = ones_before(places.marks, row)
                position = unpack(places.positions, places.layout[0], sample)
                positions[owners[number]] = position + steps[number]
            elif steps[number] + 1 < places.layout[1]:
                here[kept], steps[kept], owners[kept] = row, steps[number] + 1, owners[number]
                kept += 1
        count = kept
        steps_back(m, here, symbols, nodes, count)


@njit(**KERNEL)
def _document_at(starts, position):
    """The document that a text position lies in; -1 for position -1."""
    first, last = 0, starts.shape[0]
    while first < last:
        middle = (first + last) // 2
        if np.int64(starts[middle]) <= position:
            first = middle + 1
        else:
            last = middle
    return min(first - 1, starts.shape[0] - 2)


@njit(**KERNEL)
def documents_of_rows(m, places, rows, documents):
    """The document of each row's suffix; -1 for row -1."""
    positions_of_rows(m, places, rows, documents)
    for number in range(rows.shape[0]):
        documents[number] = _document_at(places.starts, documents[number])


# -- documents' tokens -----------------------------------------------------------------------------


@njit(**KERNEL)
def extract_rows(m, places, documents, offsets, tokens):
    """Tokens of documents, number i's to ``tokens[offsets[i]:offsets[i + 1]]``.

    A document's end has the document's number as its row, and from every anchor in it another walk
    begins: they go side by side.
    """
    rate, length = places.layout[2], m.counts[-1]
    walks = 0
    for number in range(documents.shape[0]):
        walks += 1 + (offsets[number + 1] - offsets[number]) // rate + 1
    rows, edges = np.empty(walks, np.int64), np.zeros(walks + 1, np.int64)
    found = 0
    for number in range(documents.shape[0]):
        document, at, stop = documents[number], offsets[number], offsets[number + 1]
        end = np.int64(places.starts[document + 1]) - 1
        rows[found] = document
        anchor = end // rate
        while True:
            edges[found] = at
            found += 1
            at += end - anchor * rate
            if at >= stop or found >= walks:
                break
            rows[found] = min(length - 1, unpack(places.anchors, places.layout[0], anchor))
            end = anchor * rate
            anchor -= 1
        edges[found] = stop
    walk_rows(m, rows[:found], edges, tokens)


# -- distinctiveness -------------------------------------------------------------------------------


@njit(**KERNEL)
def distinct_rows(places, removed, length, lower, upper, distinct):
    """ValidDistinct of intervals: not empty, and all rows of one document."""
    for row in range(lower.shape[0]):
        low, high = max(0, lower[row]), min(length, upper[row])
        if low >= high:
            distinct[row] = False
        elif removed.alive.length[0] == 0:
            # All rows but the first are of the document of the row before them.
            distinct[row] = high - low == 1 or (
                ones_before(places.same, high) - ones_before(places.same, low + 1) == high - low - 1
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
def first_alive_rows(removed, length, lower, upper, distinct, rows):
    """The first row of each distinct interval that is alive, -1 for the others."""
    for number in range(lower.shape[0]):
        rows[number] = -1
        if distinct[number]:
            low, high = max(0, lower[number]), min(length, upper[number])
            if removed.alive.length[0] > 0:
                low = first_one(removed.alive, low, high - 1)
            rows[number] = low


# -- what shards call, with boxes ------------------------------------------------------------------


@njit(**KERNEL)
def locate_rows(matrix, places, rows, positions):
    """Text positions of the suffixes in ``rows``."""
    positions_of_rows(matrix.it, places.it, rows, positions)


@njit(**KERNEL)
def locate_documents(matrix, places, rows, documents):
    """The document of each row's suffix; -1 for row -1."""
    documents_of_rows(matrix.it, places.it, rows, documents)


@njit(**KERNEL)
def extract_documents(matrix, places, documents, offsets, tokens):
    """Tokens of documents, number i's to ``tokens[offsets[i]:offsets[i + 1]]``."""
    extract_rows(matrix.it, places.it, documents, offsets, tokens)


@njit(**KERNEL)
def distinct_intervals(places, removed, length, lower, upper, distinct):
    """ValidDistinct of intervals."""
    distinct_rows(places.it, removed.it, length, lower, upper, distinct)


@njit(**KERNEL)
def documents_of_intervals(matrix, places, removed, lower, upper, documents):
    """LookupDoc of intervals: ValidDistinct and the document in one call."""
    count, length = lower.shape[0], matrix.it.counts[-1]
    distinct, rows = np.empty(count, np.bool_), np.empty(count, np.int64)
    distinct_rows(places.it, removed.it, length, lower, upper, distinct)
    first_alive_rows(removed.it, length, lower, upper, distinct, rows)
    documents_of_rows(matrix.it, places.it, rows, documents)


@njit(**KERNEL)
def lookup_documents(matrix, places, removed, symbols, offsets, documents):
    """LookupDoc of whole sequences: searching, ValidDistinct and the document in one call."""
    count, length = documents.shape[0], matrix.it.counts[-1]
    lower, upper = np.zeros(count, np.int64), np.full(count, length)
    search_rows(matrix.it, symbols, offsets, lower, upper)
    documents_of_intervals(matrix, places, removed, lower, upper, documents)


# -- removing --------------------------------------------------------------------------------------


@njit(**KERNEL)
def count_alive(removed, length, lower, upper, counts):
    """Rows of each interval that are alive."""
    for row in range(lower.shape[0]):
        low, high = max(0, lower[row]), min(length, upper[row])
        counts[row] = 0
        if low < high:
            counts[row] = ones_before(removed.alive, high) - ones_before(removed.alive, low)


@njit(**KERNEL)
def whole_documents(m, removed, low, high, rows):
    """Rows in [low, high) that are alive and before which a document begins, as many as ``rows``
    takes; returns how many."""
    found = 0
    for row in range(max(0, low), min(m.counts[-1], high)):
        if removed.alive.length[0] > 0 and not is_one(removed.alive, row):
            continue
        symbol, _ = step_back(m, row)
        if symbol == 0 and found < rows.shape[0]:
            rows[found] = row
            found += 1
    return found


@njit(**KERNEL)
def _kill(m, documents, lengths, alive):
    """Clear the flags of all rows whose suffix begins in one of the documents."""
    for number in range(documents.shape[0]):
        row = documents[number]
        alive[row] = 0
        for _ in range(lengths[number]):
            _, row = step_back(m, row)
            alive[row] = 0


@njit(**KERNEL)
def _change_flags(same, alive, changes, gaps):
    """Between neighbours that are both alive ``same`` says it; rows behind a gap are listed, as
    pairs with the alive row before the gap. Returns how many."""
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


def remove_documents(m, places: Places, documents: Int64) -> Removed:
    """What an index holds besides its arrays when these documents, all that ever were, are gone."""
    length = int(m.counts[-1])
    lengths = places.starts[documents + 1].astype(np.int64) - places.starts[documents] - 1
    alive = np.ones(length, dtype=np.uint8)
    _kill(m, documents, np.clip(lengths, 0, length), alive)
    changes = np.zeros(length, dtype=np.uint8)
    gaps = np.empty((2, length - int(alive.sum(dtype=np.int64))), dtype=np.int64)
    gaps = gaps[:, : _change_flags(places.same, alive, changes, gaps)]
    sides = np.empty(gaps.shape, dtype=np.int64)
    for side in range(2):
        documents_of_rows(m, places, np.ascontiguousarray(gaps[side]), sides[side])
    changes[gaps[1]] = sides[0] != sides[1]
    documents = documents.copy()
    documents.flags.writeable = False
    return Removed(documents, bit_vector(alive, 1), bit_vector(changes, 1))


__all__ = [
    "Places",
    "Removed",
    "count_alive",
    "distinct_intervals",
    "documents_of_intervals",
    "extract_documents",
    "first_alive_rows",
    "locate_documents",
    "locate_rows",
    "lookup_documents",
    "nothing_removed",
    "remove_documents",
    "whole_documents",
]
