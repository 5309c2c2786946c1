"""One shard: a wavelet matrix, its stored lists, and what tells its documents apart."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import (
    KERNEL,
    BitVector,
    freeze,
    is_one,
    num_lines,
    ones_before,
    unpack,
)
from gemkr_hf.index.document_boundaries import (
    Places,
    Removed,
    count_alive,
    distinct_intervals,
    documents_of_intervals,
    extract_documents,
    first_alive_rows,
    locate_documents,
    locate_rows,
    lookup_documents,
    nothing_removed,
    remove_documents,
    whole_documents,
)
from gemkr_hf.index.kernel_tuples import Box, box
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
_EXPAND_TOGETHER = 64
_FIRST_TOKENS = 64
_LONGEST_PATTERN = 16
_FEW_SUCCESSORS = 64

DTYPES: dict[str, str] = {
    "lines": "uint64",
    "supers": "uint32",
    "counts": "int64",
    "code_lengths": "uint8",
    "alphabet": "int32",
    "same.length": "int64",
    "same.lines": "uint64",
    "same.bases": "uint32",
    "same.places": "uint8",
    "marks.length": "int64",
    "marks.lines": "uint64",
    "marks.bases": "uint32",
    "marks.places": "uint8",
    "positions": "uint64",
    "anchors": "uint64",
    "layout": "int64",
    "starts": "uint32",
    "lists.keys": "uint64",
    "lists.sizes": "uint32",
    "lists.heads": "uint32",
    "lists.starts": "int64",
    "lists.data": "uint8",
}
"""Arrays of a shard on disk."""

REMOVED_DTYPES: dict[str, str] = {
    "documents": "int64",
    **{
        f"{vector}.{name}": DTYPES[f"same.{name}"]
        for vector in ("alive", "changes")
        for name in BitVector._fields
    },
    **{name: dtype for name, dtype in DTYPES.items() if name.startswith("lists.")},
}
"""Arrays on disk of what was removed from a shard; its lists replace the shard's."""


@njit(**KERNEL)
def look_up(table, tokens):
    """Entries of a table, int32; 0 for what is outside of it."""
    found = np.zeros(tokens.shape[0], np.int32)
    for number in range(tokens.shape[0]):
        if 0 <= tokens[number] < table.shape[0]:
            found[number] = table[tokens[number]]
    return found


class Shard:
    """Documents that were indexed together; see `FMIndex` for the operations.

    Args:
        matrix: the transform, by backend.
        places: what leads from rows to documents.
        lists: successors of wide intervals, of all documents.
        vocab_size: see above.
        removed: the documents that count no longer.
        removed_lists: the lists without these.
    """

    def __init__(
        self,
        matrix: WaveletMatrix | PysdslWaveletMatrix,
        places: Places,
        lists: SuccessorLists,
        vocab_size: int,
        removed: Removed | None = None,
        removed_lists: SuccessorLists | None = None,
    ) -> None:
        self.matrix = matrix
        self.places: Places = freeze(places)
        self.lists: SuccessorLists = freeze(lists)
        self.live_lists = lists if removed_lists is None else freeze(removed_lists)
        self.vocab_size = vocab_size
        self.removed = nothing_removed() if removed is None else freeze(removed)
        self._places_box: Box = box(places)
        self._removed_box: Box = box(self.removed)
        self._lists_box: Box = box(self.live_lists)
        # Of a vocabulary so large that a table of it would be larger than the index, the tokens
        # that occur are searched.
        self._symbol_of: NDArray[np.int32] | None = None
        if vocab_size <= _TABLE_BELOW:
            self._symbol_of = np.zeros(vocab_size, dtype=np.int32)
            self._symbol_of[matrix.alphabet] = np.arange(1, len(matrix.alphabet) + 1)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self.matrix, self.places, self.lists, self.vocab_size, self.removed
        return Shard, (*parts, self.live_lists)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shard":
        # Nothing in a shard ever changes, and its arrays may be larger than the memory.
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
        """Index documents whose tokens stand one after the other, int32[total]; ``starts`` is where
        each begins in the text, in which one symbol ends a document."""
        if vocab_size <= _TABLE_BELOW:
            symbol_of = np.zeros(vocab_size + 1, dtype=np.int32)
            symbol_of[tokens] = 1
            alphabet = np.flatnonzero(symbol_of).astype(np.int32)
            symbol_of[alphabet] = np.arange(1, len(alphabet) + 1)
        else:
            alphabet, dense = np.unique(tokens, return_inverse=True)
            tokens = dense.astype(np.int32)
            symbol_of = np.arange(1, len(alphabet) + 1, dtype=np.int32)
        result = transform_documents(tokens, starts, symbol_of, sample_rate, anchor_rate, threads)
        layout = np.array([result.width, sample_rate, anchor_rate], dtype=np.int64)
        rest = freeze((result.positions, result.anchors, layout, starts))
        places = Places(result.same_document, result.marks, *rest)
        matrix = matrix_class(backend).build(result.symbols, alphabet, threads)
        shard = cls(matrix, places, no_lists(), vocab_size)
        return cls(matrix, places, shard._wide_lists(list_threshold), vocab_size)

    # -- counts ------------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        return "numba" if isinstance(self.matrix, WaveletMatrix) else "pysdsl"

    @property
    def num_rows(self) -> int:
        return self.matrix.num_rows

    @property
    def num_documents(self) -> int:
        """All documents, the removed ones too."""
        return len(self.places.starts) - 1

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents, the removed ones' too."""
        return self.num_rows - self.num_documents

    @property
    def is_thinned(self) -> bool:
        """Whether documents have been removed."""
        return len(self.removed.documents) > 0

    @property
    def nbytes(self) -> int:
        parts = self.places_arrays() | _named("lists", self.lists)
        if self.is_thinned:
            parts |= self.removed_arrays()
        return self.matrix.nbytes + sum(array.nbytes for array in parts.values())

    def lengths(self) -> Int64:
        """Tokens of each document, int64[num_documents]."""
        return np.diff(self.places.starts).astype(np.int64) - 1

    # -- queries -----------------------------------------------------------------------------------

    def symbols(self, tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """Dense symbols, int32; 0, which extends nothing, for tokens that do not occur."""
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
        """Go on from the rows ``lower, upper``, which are overwritten."""
        self.matrix.search(self.symbols(tokens), offsets, lower, upper)

    def count(self, lower: Int64, upper: Int64) -> Int64:
        """Occurrences, int64[n]."""
        if not self.is_thinned:
            low, high = np.maximum(lower, 0), np.minimum(upper, self.num_rows)
            return np.maximum(high - low, 0)
        counts = np.empty(len(lower), dtype=np.int64)
        count_alive(self.removed, self.num_rows, lower, upper, counts)
        return counts

    def is_distinct(self, lower: Int64, upper: Int64) -> NDArray[np.bool_]:
        distinct = np.empty(len(lower), dtype=np.bool_)
        distinct_intervals(
            self._places_box, self._removed_box, self.num_rows, lower, upper, distinct
        )
        return distinct

    def document_of(self, lower: Int64, upper: Int64) -> Int64:
        """The document of each interval, -1 where it is not distinct."""
        if isinstance(self.matrix, WaveletMatrix):
            documents = np.empty(len(lower), dtype=np.int64)
            documents_of_intervals(
                self.matrix.box, self._places_box, self._removed_box, lower, upper, documents
            )
            return documents
        rows, distinct = np.empty(len(lower), dtype=np.int64), self.is_distinct(lower, upper)
        first_alive_rows(self.removed, self.num_rows, lower, upper, distinct, rows)
        return self._documents_of_rows(rows)

    def lookup(self, tokens: NDArray[np.int64], offsets: Int64) -> Int64:
        """`document_of` whole sequences."""
        documents = np.empty(len(offsets) - 1, dtype=np.int64)
        if isinstance(self.matrix, WaveletMatrix):
            lookup_documents(
                self.matrix.box, self._places_box, self._removed_box,
                self.symbols(tokens), offsets, documents,
            )  # fmt: skip
            return documents
        lower = np.zeros(len(documents), dtype=np.int64)
        upper = np.full(len(documents), self.num_rows, dtype=np.int64)
        self.search(tokens, offsets, lower, upper)
        return self.document_of(lower, upper)

    def successors(self, lower: Int64, upper: Int64) -> tuple[Int64, NDArray[np.int32]]:
        return self.matrix.successors(lower, upper, self._lists_box, self._removed_box)

    def rows_to_search(self, lower: Int64, upper: Int64) -> Int64:
        """Rows of the intervals whose successors are not stored, int64[n]; the others have 0."""
        rows = np.empty(len(lower), dtype=np.int64)
        rows_without_list(self._lists_box, lower, upper, rows)
        return rows

    def locate(self, lower: int, upper: int, length: int, limit: int | None) -> Int64:
        """(document, offset) of occurrences of a sequence of this length, int64[n, 2]."""
        if self.is_thinned:
            alive = [is_one(self.removed.alive, row) for row in range(lower, upper)]
            rows = lower + np.flatnonzero(alive)[:limit]
        else:
            rows = np.arange(lower, upper if limit is None else min(upper, lower + limit))
        positions = self._positions_of_rows(rows.astype(np.int64))
        starts = self.places.starts
        documents = np.searchsorted(starts, positions, side="right") - 1
        # The text is backwards: what stands there first is the sequence's last token.
        offsets = starts[documents + 1].astype(np.int64) - 1 - positions - length
        return np.stack([documents, offsets], axis=1)

    def extract(self, documents: Int64) -> tuple[Int64, NDArray[np.int32]]:
        """Documents' tokens: ``offsets int64[n + 1]``, ``tokens int32[total]``."""
        starts = self.places.starts
        lengths = starts[documents + 1].astype(np.int64) - starts[documents] - 1
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        # Corrupt starts must not ask for more memory than there are tokens.
        np.cumsum(np.clip(lengths, 0, self.num_rows), out=offsets[1:])
        if not isinstance(self.matrix, WaveletMatrix):
            # Row d of the transform is the end of document d.
            return offsets, self.matrix.walk(documents, offsets)
        tokens = np.empty(int(offsets[-1]), dtype=np.int32)
        extract_documents(self.matrix.box, self._places_box, documents, offsets, tokens)
        return offsets, tokens

    def find_document(self, tokens: NDArray[np.int64]) -> int:
        """The first document of exactly these tokens; -1 if there is none."""
        # From the rows of the documents' ends on, only documents that begin so are found ...
        lower, upper = np.zeros(1, np.int64), np.full(1, self.num_documents, np.int64)
        if len(tokens):
            self.search(tokens, np.array([0, len(tokens)]), lower, upper)
        # ... and of these the one before which another document ends holds nothing more.
        rows = np.empty(1, dtype=np.int64)
        arrays = self._numba_matrix().arrays
        if not whole_documents(arrays, self.removed, int(lower[0]), int(upper[0]), rows):
            return -1
        return int(self._documents_of_rows(rows)[0])

    def _documents_of_rows(self, rows: Int64) -> Int64:
        documents = np.full(len(rows), -1, dtype=np.int64)
        if isinstance(self.matrix, WaveletMatrix):
            locate_documents(self.matrix.box, self._places_box, rows, documents)
            return documents
        known = rows >= 0
        positions = self._positions_of_rows(rows[known])
        documents[known] = np.searchsorted(self.places.starts, positions, side="right") - 1
        return documents

    def _positions_of_rows(self, rows: Int64) -> Int64:
        positions = np.full(len(rows), -1, dtype=np.int64)
        if isinstance(self.matrix, WaveletMatrix):
            locate_rows(self.matrix.box, self._places_box, rows, positions)
        else:
            width, rate, _ = self.places.layout.tolist()
            for number, row in enumerate(rows.tolist()):
                for steps in range(rate):
                    if is_one(self.places.marks, row):
                        kept = ones_before(self.places.marks, row)
                        positions[number] = unpack(self.places.positions, width, kept) + steps
                        break
                    _, row = self.matrix.step(row)
        if len(positions) and not (
            positions.min() >= 0 and positions.max() < int(self.places.starts[-1])
        ):
            raise ValueError("The index is corrupt: a row leads outside of its text")
        return positions

    # -- stored lists and removed documents --------------------------------------------------------

    def _wide_lists(self, threshold: int) -> SuccessorLists:
        """Successor lists of the root, of patterns of two and more symbols that have more than
        ``threshold`` rows, and of single symbols that have 64 times as many.

        A decoder asks for what follows a single token once in a clue, and these lists are the
        longest. A few successors are found as fast without a list. Patterns longer than a clue are
        left out: a passage that many documents share has as many patterns as the square of its
        length.

        Raises:
            ValueError: if the transform is none: it has more patterns than its rows allow.
        """
        if not isinstance(self.matrix, WaveletMatrix):
            return no_lists()
        writer = ListWriter(self.matrix.arrays.leaf_symbols)
        waiting = [(0, self.num_rows, 0)] if self.num_rows > 0 else []
        # The patterns of one length share the rows.
        left_to_visit = 1 + (_LONGEST_PATTERN + 1) * (self.num_rows // (threshold + 1) + 1)
        while waiting:
            now, waiting = waiting[:_EXPAND_TOGETHER], waiting[_EXPAND_TOGETHER:]
            left_to_visit -= len(now)
            if left_to_visit < 0:
                raise ValueError("The index is corrupt: it has more patterns than rows")
            lower, upper = (np.array(bound, dtype=np.int64) for bound in list(zip(*now))[:2])  # noqa: B905
            offsets, symbols, bounds = self.matrix.expand(lower, upper, self._removed_box)
            for number, (low, high, length) in enumerate(now):
                own = slice(offsets[number], offsets[number + 1])
                few = length > 0 and (own.stop - own.start) * _FEW_SUCCESSORS <= threshold
                if not few and (length != 1 or high - low > _FIRST_TOKENS * threshold):
                    writer.add(low, high, symbols[own])
                if length == _LONGEST_PATTERN:
                    continue
                wide = bounds[:, own]
                wide = wide[:, wide[1] - wide[0] > threshold]
                waiting += [(left, right, length + 1) for left, right in wide.T.tolist()]
        return writer.lists()

    def without(self, documents: Int64, list_threshold: int) -> "Shard":
        """A shard on the same arrays in which these documents are removed as well."""
        documents = np.union1d(self.removed.documents, documents).astype(np.int64)
        removed = remove_documents(self._numba_matrix().arrays, self.places, documents)
        parts = self.matrix, self.places, self.lists, self.vocab_size, removed
        return Shard(*parts, Shard(*parts)._wide_lists(list_threshold))

    def _numba_matrix(self) -> WaveletMatrix:
        if isinstance(self.matrix, WaveletMatrix):
            return self.matrix
        return WaveletMatrix.build(self.matrix.symbols(), self.matrix.alphabet)

    # -- arrays ------------------------------------------------------------------------------------

    def arrays(self, list_threshold: int) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs; nothing of it depends on the backend or on what was
        removed."""
        matrix, lists = self._numba_matrix(), self.lists
        if matrix is not self.matrix:
            lists = Shard(matrix, self.places, lists, self.vocab_size)._wide_lists(list_threshold)
        return {
            "lines": matrix.arrays.lines,
            "supers": matrix.arrays.supers,
            "counts": matrix.arrays.counts,
            "code_lengths": matrix.arrays.code_lengths,
            "alphabet": matrix.arrays.alphabet,
            **self.places_arrays(),
            **_named("lists", lists),
        }

    def places_arrays(self) -> dict[str, NDArray[Any]]:
        places = self.places
        rest = {name: getattr(places, name) for name in Places._fields[2:]}
        return _named("same", places.same) | _named("marks", places.marks) | rest

    def removed_arrays(self) -> dict[str, NDArray[Any]]:
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
        """A shard on arrays that `arrays` and `removed_arrays` gave, memory-mapped ones too.

        Only sizes and small arrays are looked at: enough for that no query reads outside.

        Raises:
            ValueError: if they do not fit together.
        """
        matrix = WaveletMatrix(*(arrays[name] for name in list(DTYPES)[:5]))
        places = Places(
            _vector("same", arrays),
            _vector("marks", arrays),
            *freeze([arrays[name] for name in Places._fields[2:]]),
        )
        lists, removed, live_lists = _lists(arrays), None, None
        rows, alphabet = matrix.num_rows, matrix.alphabet
        starts = places.starts
        sound = (
            (len(alphabet) == 0 or 0 <= alphabet[0] <= alphabet[-1] < vocab_size)
            and places.layout.shape == (3,)
            and 1 <= places.layout[0] <= 32
            and 1 <= places.layout[1] <= MAX_SAMPLE_RATE
            and 1 <= places.layout[2] <= MAX_SAMPLE_RATE
            and starts.ndim == places.positions.ndim == places.anchors.ndim == 1
            and len(starts) >= 1
            and (starts[0], starts[-1]) == (0, rows)
            and (rows > 0) == (len(starts) > 1)
            and int(matrix.arrays.counts[1]) == len(starts) - 1
            and all(_fits(vector, rows) for vector in (places.same, places.marks))
        )
        if sound and removed_arrays is not None:
            live_lists = _lists(removed_arrays)
            documents = removed_arrays["documents"]
            removed = Removed(
                documents, _vector("alive", removed_arrays), _vector("changes", removed_arrays)
            )
            sound = (
                documents.ndim == 1
                and len(documents) > 0
                and bool((np.diff(documents) > 0).all())
                and 0 <= int(documents[0]) <= int(documents[-1]) < len(starts) - 1
                and all(_fits(vector, rows) for vector in removed[1:])
            )
        if not sound or not all(_lists_fit(part) for part in (lists, live_lists or lists)):
            raise ValueError("its arrays do not fit together")
        if backend == "numba":
            return cls(matrix, places, lists, vocab_size, removed, live_lists)
        other = matrix_class(backend).build(matrix.symbols(), alphabet)
        return cls(other, places, no_lists(), vocab_size, removed)

    def check(self) -> None:
        """Look at all of the arrays, as `FMIndex.verify` does.

        Raises:
            ValueError: if something in them cannot be.
        """
        starts = self.places.starts.astype(np.int64)
        if not (np.diff(starts) > 0).all():
            raise ValueError("its documents do not follow each other")
        matrix = self._numba_matrix()
        counts = np.bincount(matrix.symbols(), minlength=len(matrix.alphabet) + 1)
        if not np.array_equal(np.cumsum(counts), matrix.arrays.counts[1:]):
            raise ValueError("its transform does not hold the symbols that it counts")
        lengths = self.lengths()
        for document in range(0, self.num_documents, max(1, self.num_documents // 1000)):
            tokens = self.extract(np.array([document]))[1]
            if len(tokens) != lengths[document] or (tokens < 0).any():
                raise ValueError(f"document {document} of it cannot be read")


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
    """Whether no query of a vector of this length reads outside of its arrays."""
    if vector.length.shape != (2,) or int(vector.length[0]) != length or vector.lines.ndim != 2:
        return False
    if len(vector.lines):
        return vector.lines.shape == (num_lines(length), 8)
    return vector.bases.shape == (-(-length // 256) + 1,) and vector.places.ndim == 1


def matrix_class(backend: str) -> type[WaveletMatrix] | type[PysdslWaveletMatrix]:
    if backend == "numba":
        return WaveletMatrix
    if backend == "pysdsl":
        PysdslWaveletMatrix.require()
        return PysdslWaveletMatrix
    raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got '{backend}'")


__all__ = ["BACKENDS", "DTYPES", "MAX_SAMPLE_RATE", "REMOVED_DTYPES", "Shard", "matrix_class"]
