"""One shard: the wavelet matrix, stored successor lists, and the map from rows to documents.

In this module and below, a row is a row of the transform (one per sorted suffix), and documents are
numbered within the shard. `FMIndex` adds the shard's first row to get the knowledge base's row.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index import document_boundaries as boundaries
from gemkr_hf.index.bit_vectors import (
    KERNEL,
    BitVector,
    freeze,
    is_one,
    num_lines,
    ones_before,
    unpack,
)
from gemkr_hf.index.document_boundaries import DocumentMap, Removed
from gemkr_hf.index.kernel_tuples import KernelRef, kernel_ref
from gemkr_hf.index.pysdsl_backend import PysdslWaveletMatrix
from gemkr_hf.index.successor_lists import (
    ListWriter,
    SuccessorLists,
    no_lists,
    rows_without_list,
)
from gemkr_hf.index.suffix_sorting import transform_documents
from gemkr_hf.index.wavelet_matrix import WaveletMatrix

Int64 = NDArray[np.int64]

BACKENDS = ("numba", "pysdsl")
MAX_SAMPLE_RATE = 1 << 12
_TABLE_BELOW = 1 << 22
"""Larger vocabularies have no table from tokens to symbols: it could be larger than the index."""
_EXPAND_BATCH = 64
_SINGLE_TOKEN_FACTOR = 64
_MAX_PATTERN_LENGTH = 16
_FEW_SUCCESSORS = 64

_BIT_VECTOR = {"length": "int64", "lines": "uint64", "bases": "uint32", "places": "uint8"}
_LISTS = {
    "lists.keys": "uint64",
    "lists.sizes": "uint32",
    "lists.heads": "uint32",
    "lists.starts": "int64",
    "lists.data": "uint8",
}
DTYPES: dict[str, str] = {
    "lines": "uint64",
    "supers": "uint32",
    "counts": "int64",
    "code_lengths": "uint8",
    "alphabet": "int32",
    **{f"same.{name}": dtype for name, dtype in _BIT_VECTOR.items()},
    **{f"marks.{name}": dtype for name, dtype in _BIT_VECTOR.items()},
    "positions": "uint64",
    "anchors": "uint64",
    "layout": "int64",
    "starts": "uint32",
    **_LISTS,
}
"""Names and dtypes of a shard's arrays on disk."""

REMOVED_DTYPES: dict[str, str] = {
    "documents": "int64",
    **{f"alive.{name}": dtype for name, dtype in _BIT_VECTOR.items()},
    **{f"changes.{name}": dtype for name, dtype in _BIT_VECTOR.items()},
    **_LISTS,
}
"""Names and dtypes of the arrays on disk for removed documents; these lists replace the shard's."""


@njit(**KERNEL)
def look_up(table, tokens):
    """Entries of a table, int32; 0 for indices outside of it."""
    found = np.zeros(tokens.shape[0], np.int32)
    for number in range(tokens.shape[0]):
        if 0 <= tokens[number] < table.shape[0]:
            found[number] = table[tokens[number]]
    return found


class Shard:
    """Documents that were indexed together; see `FMIndex` for the operations.

    Args:
        matrix: the transform, by backend.
        doc_map: map from rows to documents.
        lists: successors of wide intervals, of all documents.
        vocab_size: tokens are smaller.
        removed: documents that have been removed.
        removed_lists: the lists without these documents.
    """

    def __init__(
        self,
        matrix: WaveletMatrix | PysdslWaveletMatrix,
        doc_map: DocumentMap,
        lists: SuccessorLists,
        vocab_size: int,
        removed: Removed | None = None,
        removed_lists: SuccessorLists | None = None,
    ) -> None:
        self.matrix = matrix
        self.doc_map: DocumentMap = freeze(doc_map)
        self.lists: SuccessorLists = freeze(lists)
        self.live_lists = lists if removed_lists is None else freeze(removed_lists)
        self.vocab_size = vocab_size
        self.removed = boundaries.nothing_removed() if removed is None else freeze(removed)
        self._doc_map_ref: KernelRef = kernel_ref(doc_map)
        self._removed_ref: KernelRef = kernel_ref(self.removed)
        self._lists_ref: KernelRef = kernel_ref(self.live_lists)
        self._symbol_of: NDArray[np.int32] | None = None
        if vocab_size <= _TABLE_BELOW:
            self._symbol_of = np.zeros(vocab_size, dtype=np.int32)
            self._symbol_of[matrix.alphabet] = np.arange(1, len(matrix.alphabet) + 1)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self.matrix, self.doc_map, self.lists, self.vocab_size, self.removed
        return Shard, (*parts, self.live_lists)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shard":
        # Shards never change, and their arrays may be larger than the memory.
        return self

    @classmethod
    def build(
        cls,
        tokens: NDArray[np.int32],
        starts: NDArray[np.uint32],
        vocab_size: int,
        backend: str,
        sample_rate: int,
        anchor_rate: int,
        list_threshold: int,
        threads: int,
    ) -> "Shard":
        """Index documents: arguments as in `transform_documents` and `FMIndex.build`."""
        if vocab_size <= _TABLE_BELOW:
            symbol_of = np.zeros(vocab_size + 1, dtype=np.int32)
            symbol_of[tokens] = 1
            alphabet = np.flatnonzero(symbol_of).astype(np.int32)
            symbol_of[alphabet] = np.arange(1, len(alphabet) + 1)
        else:
            alphabet, dense = np.unique(tokens, return_inverse=True)
            tokens = dense.astype(np.int32)
            symbol_of = np.arange(1, len(alphabet) + 1, dtype=np.int32)
        symbols, doc_map = transform_documents(
            tokens, starts, symbol_of, sample_rate, anchor_rate, threads
        )
        matrix = matrix_class(backend).build(symbols, alphabet, threads)
        shard = cls(matrix, doc_map, no_lists(), vocab_size)
        return cls(matrix, doc_map, shard._wide_lists(list_threshold), vocab_size)

    # -- counts ------------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        return "numba" if isinstance(self.matrix, WaveletMatrix) else "pysdsl"

    @property
    def num_rows(self) -> int:
        """Number of rows of the transform: one per token, and one per document's end."""
        return self.matrix.num_rows

    @property
    def num_documents(self) -> int:
        """Number of documents, including removed ones."""
        return len(self.doc_map.starts) - 1

    @property
    def num_tokens(self) -> int:
        """Number of tokens, including those of removed documents."""
        return self.num_rows - self.num_documents

    @property
    def is_thinned(self) -> bool:
        """Whether documents have been removed."""
        return len(self.removed.documents) > 0

    @property
    def nbytes(self) -> int:
        parts = self._doc_map_arrays() | _named("lists", self.lists)
        if self.is_thinned:
            parts |= self.removed_arrays()
        return self.matrix.nbytes + sum(array.nbytes for array in parts.values())

    def lengths(self) -> Int64:
        """Tokens of each document, int64[num_documents]."""
        return np.diff(self.doc_map.starts).astype(np.int64) - 1

    # -- queries -----------------------------------------------------------------------------------

    def symbols(self, tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """Dense symbols, int32; 0, which extends no pattern, for tokens that do not occur."""
        if self._symbol_of is not None:
            return look_up(self._symbol_of, tokens)
        alphabet = self.matrix.alphabet
        if len(alphabet) == 0:
            return np.zeros(len(tokens), dtype=np.int32)
        at = np.searchsorted(alphabet, tokens)
        known = alphabet[np.minimum(at, len(alphabet) - 1)] == tokens
        return np.where(known, at + 1, 0).astype(np.int32)

    def extend(self, lower: Int64, upper: Int64, tokens: NDArray[np.int64]) -> tuple[Int64, Int64]:
        return self.matrix.extend(lower, upper, self.symbols(tokens))

    def search(self, tokens: NDArray[np.int64], offsets: Int64, lower: Int64, upper: Int64) -> None:
        """Extend the intervals ``lower, upper`` by whole sequences, in place."""
        self.matrix.search(self.symbols(tokens), offsets, lower, upper)

    def count(self, lower: Int64, upper: Int64) -> Int64:
        """Number of occurrences, int64[n]."""
        if not self.is_thinned:
            low, high = np.maximum(lower, 0), np.minimum(upper, self.num_rows)
            return np.maximum(high - low, 0)
        counts = np.empty(len(lower), dtype=np.int64)
        boundaries.count_alive(self._removed_ref, self.num_rows, lower, upper, counts)
        return counts

    def is_distinct(self, lower: Int64, upper: Int64) -> NDArray[np.bool_]:
        distinct = np.empty(len(lower), dtype=np.bool_)
        boundaries.distinct_intervals(
            self._doc_map_ref, self._removed_ref, self.num_rows, lower, upper, distinct
        )
        return distinct

    def document_of(self, lower: Int64, upper: Int64) -> Int64:
        """Document of each interval, -1 if it is not distinct."""
        if isinstance(self.matrix, WaveletMatrix):
            documents = np.empty(len(lower), dtype=np.int64)
            boundaries.documents_of_intervals(
                self.matrix.ref, self._doc_map_ref, self._removed_ref, lower, upper, documents
            )
            return documents
        rows, distinct = np.empty(len(lower), dtype=np.int64), self.is_distinct(lower, upper)
        boundaries.first_alive_rows(self._removed_ref, self.num_rows, lower, upper, distinct, rows)
        return self._documents_of_rows(rows)

    def lookup(self, tokens: NDArray[np.int64], offsets: Int64) -> Int64:
        """`document_of` of whole sequences."""
        documents = np.empty(len(offsets) - 1, dtype=np.int64)
        if isinstance(self.matrix, WaveletMatrix):
            boundaries.lookup_documents(
                self.matrix.ref, self._doc_map_ref, self._removed_ref,
                self.symbols(tokens), offsets, documents,
            )  # fmt: skip
            return documents
        lower = np.zeros(len(documents), dtype=np.int64)
        upper = np.full(len(documents), self.num_rows, dtype=np.int64)
        self.search(tokens, offsets, lower, upper)
        return self.document_of(lower, upper)

    def successors(self, lower: Int64, upper: Int64) -> tuple[Int64, NDArray[np.int32]]:
        return self.matrix.successors(lower, upper, self._lists_ref, self._removed_ref)

    def rows_to_search(self, lower: Int64, upper: Int64) -> Int64:
        """Number of rows of each interval, int64[n]; 0 if its successors are stored."""
        rows = np.empty(len(lower), dtype=np.int64)
        rows_without_list(self._lists_ref, lower, upper, rows)
        return rows

    def locate(self, lower: int, upper: int, length: int, limit: int | None) -> Int64:
        """(document, offset) of each occurrence of a sequence of this length, int64[n, 2]."""
        if self.is_thinned:
            alive = [is_one(self.removed.alive, row) for row in range(lower, upper)]
            rows = lower + np.flatnonzero(alive)[:limit]
        else:
            rows = np.arange(lower, upper if limit is None else min(upper, lower + limit))
        positions = self._positions_of_rows(rows.astype(np.int64))
        starts = self.doc_map.starts
        documents = np.searchsorted(starts, positions, side="right") - 1
        # The text is reversed: the sequence's last token comes first.
        offsets = starts[documents + 1].astype(np.int64) - 1 - positions - length
        return np.stack([documents, offsets], axis=1)

    def extract(self, documents: Int64) -> tuple[Int64, NDArray[np.int32]]:
        """Tokens of documents: ``offsets int64[n + 1]``, ``tokens int32[total]``."""
        starts = self.doc_map.starts
        lengths = starts[documents + 1].astype(np.int64) - starts[documents] - 1
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        # Corrupt starts must not allocate more memory than there are tokens.
        np.cumsum(np.clip(lengths, 0, self.num_rows), out=offsets[1:])
        if not isinstance(self.matrix, WaveletMatrix):
            # Row d of the transform is the end of document d.
            return offsets, self.matrix.walk(documents, offsets)
        tokens = np.empty(int(offsets[-1]), dtype=np.int32)
        boundaries.extract_documents(self.matrix.ref, self._doc_map_ref, documents, offsets, tokens)
        return offsets, tokens

    def find_document(self, tokens: NDArray[np.int64]) -> int:
        """First document with exactly these tokens; -1 if there is none."""
        # Starting from the documents' ends finds only documents that start with the tokens ...
        lower, upper = np.zeros(1, np.int64), np.full(1, self.num_documents, np.int64)
        if len(tokens):
            self.search(tokens, np.array([0, len(tokens)]), lower, upper)
        # ... and of these, one that has another document's end before it has no more tokens.
        rows = np.empty(1, dtype=np.int64)
        matrix, bounds = self._numba_matrix().ref, (int(lower[0]), int(upper[0]))
        if not boundaries.whole_documents(matrix, self._removed_ref, *bounds, rows):
            return -1
        return int(self._documents_of_rows(rows)[0])

    def _documents_of_rows(self, rows: Int64) -> Int64:
        documents = np.full(len(rows), -1, dtype=np.int64)
        if isinstance(self.matrix, WaveletMatrix):
            boundaries.documents_of_rows(self.matrix.ref, self._doc_map_ref, rows, documents)
            return documents
        known = rows >= 0
        positions = self._positions_of_rows(rows[known])
        documents[known] = np.searchsorted(self.doc_map.starts, positions, side="right") - 1
        return documents

    def _positions_of_rows(self, rows: Int64) -> Int64:
        positions = np.full(len(rows), -1, dtype=np.int64)
        if isinstance(self.matrix, WaveletMatrix):
            boundaries.positions_of_rows(self.matrix.ref, self._doc_map_ref, rows, positions)
        else:
            width, rate, _ = self.doc_map.layout.tolist()
            for number, row in enumerate(rows.tolist()):
                for steps in range(rate):
                    if is_one(self.doc_map.marks, row):
                        sample = ones_before(self.doc_map.marks, row)
                        positions[number] = unpack(self.doc_map.positions, width, sample) + steps
                        break
                    _, row = self.matrix.step(row)
        if len(positions) and not (
            positions.min() >= 0 and positions.max() < int(self.doc_map.starts[-1])
        ):
            raise ValueError("The index is corrupt: a position is outside of the text")
        return positions

    # -- stored lists and removed documents --------------------------------------------------------

    def _wide_lists(self, threshold: int) -> SuccessorLists:
        """Successor lists of the root, of longer patterns with more than ``threshold`` rows, and of
        single symbols with more than 64 times as many.

        A decoder needs the successors of a single token once per clue, and these lists are the
        longest. Patterns with few successors are as fast without a list. Patterns longer than a
        clue are skipped: their number grows with the square of the length of a passage that many
        documents share.

        Raises:
            ValueError: if the transform is corrupt: it has more patterns than its rows allow.
        """
        if not isinstance(self.matrix, WaveletMatrix):
            return no_lists()
        writer = ListWriter(self.matrix.arrays.leaf_symbols)
        waiting = [(0, self.num_rows, 0)] if self.num_rows > 0 else []
        # Patterns of one length have disjoint rows.
        patterns_left = 1 + (_MAX_PATTERN_LENGTH + 1) * (self.num_rows // (threshold + 1) + 1)
        while waiting:
            now, waiting = waiting[:_EXPAND_BATCH], waiting[_EXPAND_BATCH:]
            patterns_left -= len(now)
            if patterns_left < 0:
                raise ValueError("The index is corrupt: it has more patterns than rows")
            lower, upper = (np.array(bound, dtype=np.int64) for bound in list(zip(*now))[:2])  # noqa: B905
            offsets, symbols, bounds = self.matrix.expand(lower, upper, self._removed_ref)
            for number, (low, high, length) in enumerate(now):
                own = slice(offsets[number], offsets[number + 1])
                few = length > 0 and (own.stop - own.start) * _FEW_SUCCESSORS <= threshold
                if not few and (length != 1 or high - low > _SINGLE_TOKEN_FACTOR * threshold):
                    writer.add(low, high, symbols[own])
                if length == _MAX_PATTERN_LENGTH:
                    continue
                wide = bounds[:, own]
                wide = wide[:, wide[1] - wide[0] > threshold]
                waiting += [(left, right, length + 1) for left, right in wide.T.tolist()]
        return writer.lists()

    def without(self, documents: Int64, list_threshold: int) -> "Shard":
        """A shard on the same arrays, without these documents."""
        documents = np.union1d(self.removed.documents, documents).astype(np.int64)
        removed = boundaries.remove_documents(self._numba_matrix(), self.doc_map, documents)
        parts = self.matrix, self.doc_map, self.lists, self.vocab_size, removed
        return Shard(*parts, Shard(*parts)._wide_lists(list_threshold))

    def _numba_matrix(self) -> WaveletMatrix:
        if isinstance(self.matrix, WaveletMatrix):
            return self.matrix
        return WaveletMatrix.build(self.matrix.symbols(), self.matrix.alphabet)

    # -- arrays ------------------------------------------------------------------------------------

    def arrays(self, list_threshold: int) -> dict[str, NDArray[Any]]:
        """Arrays for `from_arrays`; they depend neither on the backend nor on removed documents."""
        matrix, lists = self._numba_matrix(), self.lists
        if matrix is not self.matrix:
            lists = Shard(matrix, self.doc_map, lists, self.vocab_size)._wide_lists(list_threshold)
        return {
            "lines": matrix.arrays.lines,
            "supers": matrix.arrays.supers,
            "counts": matrix.arrays.counts,
            "code_lengths": matrix.arrays.code_lengths,
            "alphabet": matrix.arrays.alphabet,
            **self._doc_map_arrays(),
            **_named("lists", lists),
        }

    def _doc_map_arrays(self) -> dict[str, NDArray[Any]]:
        same, marks, *_ = self.doc_map
        rest = {name: getattr(self.doc_map, name) for name in DocumentMap._fields[2:]}
        return _named("same", same) | _named("marks", marks) | rest

    def removed_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for `from_arrays` that record the removed documents."""
        return (
            {"documents": self.removed.documents}
            | _named("alive", self.removed.alive)
            | _named("changes", self.removed.changes)
            | _named("lists", self.live_lists)
        )

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        removed_arrays: Mapping[str, NDArray[Any]] | None,
        vocab_size: int,
        backend: str,
    ) -> "Shard":
        """Create a shard from the results of `arrays` and `removed_arrays`, also memory-mapped.

        Only shapes and small arrays are checked: enough so that no query reads outside an array.

        Raises:
            ValueError: if the arrays are inconsistent.
        """
        matrix = WaveletMatrix(*(arrays[name] for name in list(DTYPES)[:5]))
        doc_map = DocumentMap(
            _vector("same", arrays),
            _vector("marks", arrays),
            *freeze([arrays[name] for name in DocumentMap._fields[2:]]),
        )
        lists, removed, live_lists = _lists(arrays), None, None
        rows, alphabet = matrix.num_rows, matrix.alphabet
        starts = doc_map.starts
        valid = (
            (len(alphabet) == 0 or 0 <= alphabet[0] <= alphabet[-1] < vocab_size)
            and doc_map.layout.shape == (3,)
            and 1 <= doc_map.layout[0] <= 32
            and 1 <= doc_map.layout[1] <= MAX_SAMPLE_RATE
            and 1 <= doc_map.layout[2] <= MAX_SAMPLE_RATE
            and starts.ndim == doc_map.positions.ndim == doc_map.anchors.ndim == 1
            and len(starts) >= 1
            and (starts[0], starts[-1]) == (0, rows)
            and (rows > 0) == (len(starts) > 1)
            and int(matrix.arrays.counts[1]) == len(starts) - 1
            and all(_fits(vector, rows) for vector in (doc_map.same, doc_map.marks))
        )
        if valid and removed_arrays is not None:
            live_lists = _lists(removed_arrays)
            documents = removed_arrays["documents"]
            removed = Removed(
                documents, _vector("alive", removed_arrays), _vector("changes", removed_arrays)
            )
            valid = (
                documents.ndim == 1
                and len(documents) > 0
                and bool((np.diff(documents) > 0).all())
                and 0 <= int(documents[0]) <= int(documents[-1]) < len(starts) - 1
                and all(_fits(vector, rows) for vector in removed[1:])
            )
        if not valid or not all(_lists_fit(part) for part in (lists, live_lists or lists)):
            raise ValueError("its arrays are inconsistent")
        if backend == "numba":
            return cls(matrix, doc_map, lists, vocab_size, removed, live_lists)
        other = matrix_class(backend).build(matrix.symbols(), alphabet)
        return cls(other, doc_map, no_lists(), vocab_size, removed)

    def check(self) -> None:
        """Check the contents of all arrays; see `FMIndex.verify`.

        Raises:
            ValueError: if they are inconsistent.
        """
        starts = self.doc_map.starts.astype(np.int64)
        if not (np.diff(starts) > 0).all():
            raise ValueError("the starts of its documents are not ascending")
        matrix = self._numba_matrix()
        counts = np.bincount(matrix.symbols(), minlength=len(matrix.alphabet) + 1)
        if not np.array_equal(np.cumsum(counts), matrix.arrays.counts[1:]):
            raise ValueError("its transform and the counts of its symbols differ")
        lengths = self.lengths()
        for document in range(0, self.num_documents, max(1, self.num_documents // 1000)):
            tokens = self.extract(np.array([document]))[1]
            if len(tokens) != lengths[document] or (tokens < 0).any():
                raise ValueError(f"its document {document} cannot be extracted")


def _named(prefix: str, arrays: Any) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": array for name, array in arrays._asdict().items()}


def _vector(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> BitVector:
    return freeze(BitVector(*(arrays[f"{prefix}.{name}"] for name in BitVector._fields)))


def _lists(arrays: Mapping[str, NDArray[Any]]) -> SuccessorLists:
    return freeze(SuccessorLists(*(arrays[f"lists.{name}"] for name in SuccessorLists._fields)))


def _lists_fit(lists: SuccessorLists) -> bool:
    return all(array.ndim == 1 for array in lists) and (
        len(lists.starts) - 1 == len(lists.sizes) == len(lists.heads) == len(lists.keys)
    )


def _fits(vector: BitVector, length: int) -> bool:
    """Whether the arrays are large enough for all queries of a vector of this length."""
    if vector.length.shape != (2,) or int(vector.length[0]) != length or vector.lines.ndim != 2:
        return False
    if len(vector.lines):
        return vector.lines.shape == (num_lines(length), 8)
    return vector.bases.shape == (-(-length // 256) + 1,) and vector.places.ndim == 1


def matrix_class(backend: str) -> type[WaveletMatrix] | type[PysdslWaveletMatrix]:
    """Class of a backend.

    Raises:
        ValueError: if the backend is unknown.
        ImportError: if it is not installed.
    """
    if backend == "numba":
        return WaveletMatrix
    if backend == "pysdsl":
        PysdslWaveletMatrix.require()
        return PysdslWaveletMatrix
    raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got '{backend}'")


__all__ = ["BACKENDS", "DTYPES", "MAX_SAMPLE_RATE", "REMOVED_DTYPES", "Shard", "matrix_class"]
