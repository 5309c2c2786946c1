"""The FM-index: which tokens may follow a clue, and which document it is an address of."""

from collections.abc import Iterable
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.index import storage
from gemkr_hf.index.bits import KERNEL, rank
from gemkr_hf.index.pysdsl_backend import PysdslWaveletMatrix
from gemkr_hf.index.sequences import as_batch, as_tokens, collect_documents
from gemkr_hf.index.suffix_sorting import transform_documents
from gemkr_hf.index.wavelet_matrix import WaveletMatrix

SAMPLE_RATE = 32
BACKENDS = ("numba", "pysdsl")


class Intervals(NamedTuple):
    """Where patterns stand in the sorted suffixes: rows ``lower`` to ``upper``, half open.

    lower, upper : int64[n]; equal where the pattern does not occur.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]


@njit(**KERNEL)
def _is_distinct(same, length, lower, upper, distinct):
    for row in range(lower.shape[0]):
        low, high = max(0, lower[row]), min(length, upper[row])
        # All rows but the first are of the document of the row before them.
        distinct[row] = low < high and rank(same, high) - rank(same, low + 1) == high - low - 1


class FMIndex:
    """FM-index over documents of token ids.

    The documents are indexed backwards, so that a clue is extended at its end by one backward
    step. Build it with `FMIndex.build` or load it with `FMIndex.load`. All methods may be called
    from several threads; the kernels release the GIL.

    Every method takes a batch. A sequence that holds a token outside the vocabulary does not occur:
    it counts 0, is not distinctive and has no document.

    Examples
    --------
    >>> index = FMIndex.build([[3, 1, 4, 1, 5], [9, 2, 6, 1, 5]])
    >>> [tokens.tolist() for tokens in index.get_next([[1], [4, 1], [5], []])]
    [[4, 5], [5], [], [1, 2, 3, 4, 5, 6, 9]]
    >>> index.lookup_doc([[4, 1], [1, 5], [7]]).tolist()
    [0, -1, -1]
    """

    def __init__(
        self,
        transform: WaveletMatrix | PysdslWaveletMatrix,
        arrays: dict[str, NDArray[Any]],
        vocab_size: int,
        sample_rate: int,
    ) -> None:
        self._transform = transform
        self._arrays = arrays
        for array in arrays.values():
            array.flags.writeable = False
        self._same: NDArray[np.uint64] = arrays["same_document"]
        self._starts: NDArray[np.int64] = arrays["starts"]
        self._sample_rate = sample_rate
        self._symbol_of = np.zeros(vocab_size, dtype=np.int32)
        self._symbol_of[transform.alphabet] = np.arange(1, len(transform.alphabet) + 1)

    @classmethod
    def build(
        cls,
        documents: Iterable[ArrayLike],
        vocab_size: int | None = None,
        backend: str = "numba",
        sample_rate: int = SAMPLE_RATE,
    ) -> "FMIndex":
        """Index documents.

        Parameters
        ----------
        documents : iterable of integer sequences
            Token ids of each document, read once. Empty and repeated documents are fine.
        vocab_size : int, optional
            Every token must be smaller; by default one more than the greatest.
        backend : "numba" or "pysdsl"
        sample_rate : int
            Every how many tokens a text position is kept (4 bytes each). Smaller makes
            `lookup_doc` faster and the index larger.

        Raises
        ------
        ValueError
            If a token is negative or not below `vocab_size`, or the documents are too many for one
            index (2**32 tokens).
        ImportError
            If the backend is not installed.
        """
        matrix = _matrix_class(backend)
        if sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1, got {sample_rate}")
        tokens, starts = collect_documents(documents, vocab_size)
        if vocab_size is None:
            vocab_size = int(tokens.max(initial=-1)) + 1
        present = np.zeros(vocab_size, dtype=bool)
        present[tokens] = True
        alphabet = np.flatnonzero(present).astype(np.int32)
        symbol_of = np.zeros(vocab_size, dtype=np.int32)
        symbol_of[alphabet] = np.arange(1, len(alphabet) + 1)
        result = transform_documents(tokens, starts, symbol_of, sample_rate)
        arrays: dict[str, NDArray[Any]] = {**result._asdict(), "starts": starts}
        transform = matrix.build(arrays.pop("symbols"), alphabet)
        return cls(transform, arrays, vocab_size, sample_rate)

    # -- counts ------------------------------------------------------------------------------------

    @property
    def num_documents(self) -> int:
        return len(self._starts) - 1

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents together."""
        return self._transform.num_rows - self.num_documents

    @property
    def vocab_size(self) -> int:
        return len(self._symbol_of)

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The tokens that occur, sorted, int32: what follows the empty prefix."""
        return self._transform.alphabet

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays that are needed to answer."""
        return self._transform.nbytes + sum(array.nbytes for array in self._arrays.values())

    def __len__(self) -> int:
        return self.num_documents

    def __repr__(self) -> str:
        return (
            f"FMIndex(num_documents={self.num_documents}, num_tokens={self.num_tokens}, "
            f"vocab_size={self.vocab_size})"
        )

    def document_lengths(self) -> NDArray[np.int64]:
        """Tokens of each document, int64[num_documents]."""
        return np.diff(self._starts) - 1

    # -- the incremental form: one interval a beam -------------------------------------------------

    def root(self, n: int = 1) -> Intervals:
        """Intervals of `n` empty sequences: all rows."""
        upper = np.full(n, self._transform.num_rows, dtype=np.int64)
        return Intervals(np.zeros(n, dtype=np.int64), upper)

    def extend(self, intervals: Intervals, tokens: ArrayLike) -> Intervals:
        """Append one token to each sequence.

        Parameters
        ----------
        intervals : Intervals of n sequences
        tokens : int[n]

        Returns
        -------
        Intervals of the longer sequences, empty where one does not occur.
        """
        ids = as_tokens(tokens)
        if len(ids) != len(intervals.lower):
            raise ValueError(f"There are {len(ids)} tokens for {len(intervals.lower)} intervals")
        return Intervals(*self._transform.extend(*intervals, self._to_symbols(ids)))

    def successors(self, intervals: Intervals) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """GetNext of each interval, flat.

        Returns
        -------
        offsets : int64[n + 1]
        tokens : int32[offsets[-1]], those of interval i are `tokens[offsets[i]:offsets[i + 1]]`,
            sorted. The end of a document is no token: nothing may follow.
        """
        return self._transform.successors(*intervals)

    def is_distinct(self, intervals: Intervals) -> NDArray[np.bool_]:
        """ValidDistinct of each interval: it is not empty, and all its rows are of one document."""
        distinct = np.empty(len(intervals.lower), dtype=np.bool_)
        _is_distinct(self._same, self._transform.num_rows, *intervals, distinct)
        return distinct

    def document_of(self, intervals: Intervals) -> NDArray[np.int64]:
        """LookupDoc of each interval: the document's row, -1 where it is not distinct."""
        documents = np.full(len(intervals.lower), -1, dtype=np.int64)
        distinct = np.flatnonzero(self.is_distinct(intervals))
        documents[distinct] = self._documents_at(self._positions(intervals.lower[distinct]))
        return documents

    def search(self, sequences: Iterable[ArrayLike]) -> Intervals:
        """Intervals of whole sequences, from their first tokens on."""
        tokens, offsets = as_batch(sequences)
        return Intervals(*self._transform.search(self._to_symbols(tokens), offsets))

    # -- the paper's operations, of whole sequences ------------------------------------------------

    def get_next(self, prefixes: Iterable[ArrayLike]) -> list[NDArray[np.int32]]:
        """GetNext: for each prefix the sorted ids of the tokens that follow it somewhere."""
        offsets, tokens = self.successors(self.search(prefixes))
        return np.split(tokens, offsets[1:-1]) if len(offsets) > 1 else []

    def count(self, sequences: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """How often each sequence occurs, int64[n]; the empty one at every token and every end."""
        lower, upper = self.search(sequences)
        return upper - lower

    def valid_distinct(self, sequences: Iterable[ArrayLike]) -> NDArray[np.bool_]:
        """ValidDistinct: True where a sequence occurs in exactly one document, bool[n]."""
        return self.is_distinct(self.search(sequences))

    def lookup_doc(self, sequences: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """LookupDoc: the document's row where `valid_distinct`, else -1; int64[n]."""
        return self.document_of(self.search(sequences))

    def locate(self, sequence: ArrayLike, limit: int | None = None) -> NDArray[np.int64]:
        """Where one sequence occurs.

        Parameters
        ----------
        sequence : int[length]
        limit : int, optional
            At most so many occurrences, which ones is not defined.

        Returns
        -------
        int64[occurrences, 2] : document row and offset of the first token in it, sorted.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        tokens = as_tokens(sequence)
        lower, upper = (int(bound[0]) for bound in self.search([tokens]))
        if limit is not None:
            upper = min(upper, lower + limit)
        positions = self._positions(np.arange(lower, upper, dtype=np.int64))
        documents = self._documents_at(positions)
        # The text is backwards: what stands there first is the sequence's last token.
        offsets = self._starts[documents + 1] - 1 - positions - len(tokens)
        found = np.stack([documents, offsets], axis=1)
        return found[np.lexsort(found.T[::-1])]

    def extract(self, row: int) -> NDArray[np.int32]:
        """The tokens of one document again, int32[length].

        Raises
        ------
        IndexError
            If there is no such row; -1, the answer of `lookup_doc` for "no document", is none.
        """
        if not 0 <= row < self.num_documents:
            raise IndexError(f"There is no document {row}: rows go from 0 to {len(self) - 1}")
        length = int(self._starts[row + 1] - self._starts[row]) - 1
        return self._transform.walk(int(self._arrays["end_rows"][row]), length)

    # -- on disk -----------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write `index.safetensors` and `index.json` into the folder `path`, which may exist.

        Each file is written under a temporary name and renamed. The format does not depend on the
        backend.
        """
        matrix = self._transform
        if not isinstance(matrix, WaveletMatrix):
            matrix = WaveletMatrix.build(matrix.symbols(), matrix.alphabet)
        arrays: dict[str, NDArray[Any]] = {
            "levels": matrix.levels,
            "zeros": matrix.zeros,
            "counts": matrix.counts,
            "shifts": matrix.shifts,
            "alphabet": matrix.alphabet,
            **self._arrays,
        }
        header = {
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "vocab_size": self.vocab_size,
            "sample_rate": self._sample_rate,
        }
        storage.save_index(path, arrays, header)

    @classmethod
    def load(
        cls, path: str | PathLike[str], backend: str = "numba", verify: bool | None = None
    ) -> "FMIndex":
        """Load an index; its arrays are memory-mapped and read when they are asked for.

        Parameters
        ----------
        path : folder that `save` wrote
        backend : "numba" or "pysdsl"; the latter reads the whole index and builds its own form.
        verify : bool, optional
            Whether to read everything and compare checksums. By default only where that takes no
            time (64 MiB).

        Raises
        ------
        FileNotFoundError
            If there is no index.
        ValueError
            If the index is cut short, changed, mixed from two or of another format version.
        """
        matrix_class = _matrix_class(backend)
        header, arrays = storage.load_index(path, verify)
        names = ("levels", "zeros", "counts", "shifts", "alphabet")
        matrix = WaveletMatrix.from_arrays(*(arrays.pop(name) for name in names))
        transform = (
            matrix
            if matrix_class is WaveletMatrix
            else matrix_class.build(matrix.symbols(), matrix.alphabet)
        )
        return cls(transform, arrays, header["vocab_size"], header["sample_rate"])

    # -- helpers -----------------------------------------------------------------------------------

    def _to_symbols(self, tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """Dense symbols; 0, which extends nothing, for tokens that do not occur."""
        known = (tokens >= 0) & (tokens < len(self._symbol_of))
        if known.all():
            return self._symbol_of[tokens]
        symbols = np.zeros(len(tokens), dtype=np.int32)
        symbols[known] = self._symbol_of[tokens[known]]
        return symbols

    def _positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        marks, samples = self._arrays["marks"], self._arrays["samples"]
        positions = self._transform.locate(rows, marks, samples, self._sample_rate)
        if len(positions) and not (positions.min() >= 0 and positions.max() < self._starts[-1]):
            raise ValueError("The index is corrupt: a row leads outside of its text")
        return positions

    def _documents_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, positions, side="right") - 1


def _matrix_class(backend: str) -> type[WaveletMatrix] | type[PysdslWaveletMatrix]:
    if backend == "numba":
        return WaveletMatrix
    if backend == "pysdsl":
        PysdslWaveletMatrix.require()
        return PysdslWaveletMatrix
    raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got '{backend}'")


__all__ = ["BACKENDS", "FMIndex", "Intervals"]
