"""The FM-index: which tokens may follow a clue, and which document it identifies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.index import index_storage as storage
from gemkr_hf.index.bit_vectors import KERNEL
from gemkr_hf.index.shard import BACKENDS, MAX_SAMPLE_RATE, Shard, matrix_class
from gemkr_hf.index.threads import available_cores, run_all
from gemkr_hf.index.token_sequences import as_batch, as_tokens, document_shards
from gemkr_hf.utils.io import check_file

SAMPLE_RATE = 32
ANCHOR_RATE = 48
"""Text positions per stored row; `extract` reads a document from several of them at once."""
SHARD_TOKENS = 1 << 28
LIST_THRESHOLD = 1 << 9
MAX_VOCAB_SIZE = 2**31 - 1

_EXTRACT_BATCH = 1 << 12
_PARALLEL_ROWS = 1 << 15
"""Minimum number of interval rows for a further thread."""
_PARALLEL_SEQUENCES = 1 << 10
"""Minimum number of sequences per search thread."""


class Intervals(NamedTuple):
    """The sorted suffixes that start with each pattern: rows ``lower`` to ``upper``, half open.

    A row of a suffix is not a row of a document; `FMIndex.document_of` returns the latter.

    Attributes:
        lower, upper: int64[shards, n]; equal if the pattern does not occur in a shard.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Intervals":
        """Select the intervals of some patterns: int[m]."""
        return Intervals(np.take(self.lower, rows, axis=1), np.take(self.upper, rows, axis=1))


@njit(**KERNEL)
def _merge(tokens, offsets, merged, ends):
    """Union of the sorted tokens of each row in several shards: those of row r in shard s are
    ``tokens[offsets[s, r]:offsets[s, r + 1]]``. Returns the number of tokens."""
    shards, rows = offsets.shape[0], offsets.shape[1] - 1
    at = np.empty(shards, np.int64)
    total = 0
    for row in range(rows):
        at[:] = offsets[:, row]
        while True:
            least, found = np.int32(0), False
            for shard in range(shards):
                if at[shard] < offsets[shard, row + 1]:
                    token = tokens[at[shard]]
                    if not found or token < least:
                        least, found = token, True
            if not found:
                break
            for shard in range(shards):
                if at[shard] < offsets[shard, row + 1] and tokens[at[shard]] == least:
                    at[shard] += 1
            merged[total] = least
            total += 1
        ends[row] = total
    return total


class FMIndex:
    """FM-index over documents of token ids, in one or several shards.

    Documents are indexed in reverse: one backward step extends a clue at its end. Create an index
    with `FMIndex.build` or `FMIndex.load`. All methods are thread-safe; the kernels release the GIL
    and use up to `threads` cores.

    Every method takes a batch. A sequence with a token outside the vocabulary does not occur: it
    counts 0, is not distinctive and has no document.

    Examples:
        >>> index = FMIndex.build([[3, 1, 4, 1, 5], [9, 2, 6, 1, 5]])
        >>> [tokens.tolist() for tokens in index.get_next([[1], [4, 1], [5], []])]
        [[4, 5], [5], [], [1, 2, 3, 4, 5, 6, 9]]
        >>> index.lookup_doc([[4, 1], [1, 5], [7]]).tolist()
        [0, -1, -1]

        Documents can be added and removed:

        >>> more = index.add([[2, 7]]).remove([1])
        >>> more.lookup_doc([[1, 5], [7], [9]]).tolist()
        [0, 2, -1]
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        vocab_size: int,
        threads: int | None = None,
        sample_rate: int = SAMPLE_RATE,
        list_threshold: int = LIST_THRESHOLD,
    ) -> None:
        self._shards = tuple(shards)
        self._vocab_size = vocab_size
        self._sample_rate = sample_rate
        self._list_threshold = list_threshold
        # First row of each shard, and the number of rows.
        sizes = [shard.num_documents for shard in self._shards]
        self._first_rows = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._removed = np.concatenate(
            [
                shard.removed.documents + first
                for shard, first in zip(self._shards, self._first_rows, strict=False)
            ]
        ).astype(np.int64)
        self._tokens: NDArray[np.int32] | None = None
        # Files of shards that are saved already, by shard number.
        self._stored: dict[int, storage.StoredFile] = {}
        self._stored_removed: dict[int, storage.StoredFile] = {}
        self.threads = available_cores() if threads is None else threads

    @classmethod
    def build(
        cls,
        documents: Iterable[ArrayLike],
        vocab_size: int | None = None,
        backend: str = "numba",
        sample_rate: int = SAMPLE_RATE,
        shard_tokens: int = SHARD_TOKENS,
        list_threshold: int = LIST_THRESHOLD,
        threads: int | None = None,
    ) -> "FMIndex":
        """Index documents.

        Peak memory is about 26 bytes per token of one shard, plus the finished shards (about 2
        bytes per token).

        Args:
            documents: iterable of the token ids of each document, read once. Empty and repeated
                documents are allowed.
            vocab_size: tokens must be smaller; by default one more than the largest token.
            backend: "numba" or "pysdsl".
            sample_rate: suffix-array sampling rate: tokens per stored text position (about 4 bytes
                each). Smaller values make `lookup_doc` faster and the index larger.
            shard_tokens: maximum number of tokens per shard. It bounds the memory that building
                takes; each shard makes queries slower.
            list_threshold: the successors of prefixes of two or more tokens that occur more often
                are stored, and of single tokens that occur more than 64 times as often. Smaller
                values make short prefixes faster and the index larger.
            threads: CPU cores for building and for queries; by default all that this process may
                use.

        Raises:
            ValueError: if a token is negative or not below `vocab_size`, or another argument is out
                of range.
            ImportError: if the backend is not installed.
        """
        check_options(backend, sample_rate, shard_tokens, list_threshold, threads)
        if vocab_size is None:
            documents = list(documents)
            vocab_size = 1 + max(
                (int(np.asarray(one).max()) for one in documents if len(as_tokens(one))),
                default=-1,
            )
        if not isinstance(vocab_size, int | np.integer) or not 0 <= vocab_size <= MAX_VOCAB_SIZE:
            raise ValueError(
                f"vocab_size must be an integer from 0 to {MAX_VOCAB_SIZE}, got {vocab_size}: "
                f"token ids are smaller than {MAX_VOCAB_SIZE}"
            )
        vocab_size = int(vocab_size)
        threads = available_cores() if threads is None else threads
        shards = [
            Shard.build(
                *part, vocab_size, backend, sample_rate, ANCHOR_RATE, list_threshold, threads
            )
            for part in document_shards(documents, vocab_size, shard_tokens)
        ]
        return cls(shards, vocab_size, threads, sample_rate, list_threshold)

    # -- counts ------------------------------------------------------------------------------------

    @property
    def num_documents(self) -> int:
        """Number of documents, without removed ones."""
        return self.num_rows - len(self._removed)

    @property
    def num_rows(self) -> int:
        """Number of document rows; rows of removed documents stay empty."""
        return int(self._first_rows[-1])

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """First row of each shard, then the number of rows, int64[num_shards + 1]."""
        return np.asarray(self._first_rows, dtype=np.int64)

    @property
    def removed(self) -> NDArray[np.int64]:
        """Rows of removed documents, int64[removed], sorted."""
        return self._removed

    @property
    def num_tokens(self) -> int:
        """Number of tokens, without those of removed documents."""
        thinned = (shard for shard in self._shards if shard.is_thinned)
        removed = sum(int(shard.lengths()[shard.removed.documents].sum()) for shard in thinned)
        return sum(shard.num_tokens for shard in self._shards) - removed

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return len(self._shards)

    @property
    def vocab_size(self) -> int:
        """Token ids are smaller."""
        return self._vocab_size

    @property
    def tokens(self) -> NDArray[np.int32]:
        """All tokens that occur, int32, sorted: the successors of the empty prefix."""
        if self._tokens is None:
            self._tokens = self.successors(self.root())[1]
        return self._tokens

    @property
    def nbytes(self) -> int:
        """Total size of the arrays in bytes."""
        return sum(shard.nbytes for shard in self._shards)

    @property
    def threads(self) -> int:
        """CPU cores that a call may use."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._threads = threads

    def __len__(self) -> int:
        return self.num_documents

    def __repr__(self) -> str:
        return (
            f"FMIndex(num_documents={self.num_documents}, num_tokens={self.num_tokens}, "
            f"vocab_size={self.vocab_size}, num_shards={self.num_shards})"
        )

    def document_lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each row's document, int64[num_rows]; 0 for removed documents."""
        lengths = np.concatenate([shard.lengths() for shard in self._shards])
        lengths[self._removed] = 0
        return lengths

    # -- the incremental form: one interval per beam and shard -------------------------------------

    def root(self, n: int = 1, at_start: bool = False) -> Intervals:
        """Intervals of `n` empty sequences; with `at_start`, at the start of documents only:
        extending them gives the first tokens of documents."""
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        upper = np.empty((len(self._shards), n), dtype=np.int64)
        for number, shard in enumerate(self._shards):
            upper[number] = shard.num_documents if at_start else shard.num_rows
        return Intervals(np.zeros_like(upper), upper)

    def extend(self, intervals: Intervals, tokens: ArrayLike) -> Intervals:
        """Append one token to each sequence.

        Args:
            intervals: intervals of n sequences.
            tokens: int[n].

        Returns:
            Intervals of the longer sequences, empty if they do not occur.
        """
        ids = as_tokens(tokens)
        lower, upper = self._checked(intervals)
        if len(ids) != lower.shape[1]:
            raise ValueError(f"Got {len(ids)} tokens for {lower.shape[1]} intervals")
        if len(self._shards) == 1:
            low, high = self._shards[0].extend(lower[0], upper[0], ids)
            return Intervals(low[None], high[None])
        bounds = self._of_shards(lambda s, shard: shard.extend(lower[s], upper[s], ids))
        return Intervals(*(np.stack(side) for side in zip(*bounds, strict=True)))

    def successors(self, intervals: Intervals) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """GetNext of each interval, as one flat array.

        Returns:
            offsets: int64[n + 1].
            tokens: int32[offsets[-1]]; those of interval i are `tokens[offsets[i]:offsets[i + 1]]`,
                sorted; none if only ends of documents follow.
        """
        lower, upper = self._checked(intervals)
        if len(self._shards) == 1:
            return self._shard_successors(self._shards[0], lower[0], upper[0], self.threads)
        parts = self._of_shards(
            lambda s, shard: self._shard_successors(shard, lower[s], upper[s], 1)
        )
        tokens = np.concatenate([part[1] for part in parts])
        bases = np.cumsum([0, *(len(part[1]) for part in parts)])[:-1]
        offsets = np.stack([part[0] + base for part, base in zip(parts, bases, strict=True)])
        merged, ends = np.empty_like(tokens), np.zeros(offsets.shape[1], dtype=np.int64)
        total = _merge(tokens, offsets, merged, ends[1:])
        return ends, merged[:total]

    def _shard_successors(
        self, shard: Shard, lower: NDArray[np.int64], upper: NDArray[np.int64], threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        if threads == 1 or len(lower) < 2:
            return shard.successors(lower, upper)
        work = np.cumsum(shard.rows_to_search(lower, upper))
        if work[-1] < _PARALLEL_ROWS:
            return shard.successors(lower, upper)
        cuts = np.searchsorted(work, work[-1] * np.arange(1, threads) / threads) + 1
        edges = np.unique([0, *cuts.tolist(), len(lower)]).tolist()
        tasks = [
            partial(shard.successors, lower[first:last], upper[first:last])
            for first, last in pairwise(edges)
        ]
        parts = run_all(tasks, threads)
        sizes = np.concatenate([np.diff(offsets) for offsets, _ in parts])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return offsets, np.concatenate([tokens for _, tokens in parts])

    def is_distinct(self, intervals: Intervals) -> NDArray[np.bool_]:
        """ValidDistinct of each interval, bool[n]: not empty, and all its rows of one document."""
        lower, upper = self._checked(intervals)
        if len(self._shards) == 1:
            return self._shards[0].is_distinct(lower[0], upper[0])
        parts = np.stack(self._of_shards(lambda s, shard: shard.is_distinct(lower[s], upper[s])))
        occurs = np.stack(self._of_shards(lambda s, shard: shard.count(lower[s], upper[s]) > 0))
        return (occurs.sum(axis=0) == 1) & parts.any(axis=0)

    def occurrences(self, intervals: Intervals) -> NDArray[np.int64]:
        """Number of occurrences of each interval's sequence, int64[n]."""
        lower, upper = self._checked(intervals)
        if len(self._shards) == 1:
            return self._shards[0].count(lower[0], upper[0])
        return np.sum(
            self._of_shards(lambda s, shard: shard.count(lower[s], upper[s])), axis=0
        ).astype(np.int64)

    def document_ends(self, intervals: Intervals) -> NDArray[np.int64]:
        """Number of occurrences of each interval's sequence at the end of a document, int64[n].

        Visits all successors: meant for sequences with few of them.
        """
        occurrences = self.occurrences(intervals)
        offsets, tokens = self.successors(intervals)
        owners = np.repeat(np.arange(len(occurrences)), np.diff(offsets))
        longer = self.occurrences(self.extend(intervals.take(owners), tokens))
        followed = np.bincount(owners, weights=longer, minlength=len(occurrences))
        return occurrences - followed.astype(np.int64)

    def document_of(self, intervals: Intervals) -> NDArray[np.int64]:
        """LookupDoc of each interval, int64[n]: the document's row, -1 if it is not distinct."""
        lower, upper = self._checked(intervals)
        documents = np.full(lower.shape[1], -1, dtype=np.int64)
        distinct = np.flatnonzero(self.is_distinct(intervals))
        for number, shard in enumerate(self._shards):
            found = shard.document_of(lower[number, distinct], upper[number, distinct])
            here = found >= 0
            documents[distinct[here]] = found[here] + self._first_rows[number]
        return documents

    def search(self, sequences: Iterable[ArrayLike], at_start: bool = False) -> Intervals:
        """Intervals of whole sequences; with `at_start`, only where documents start with them."""
        tokens, offsets = as_batch(sequences)
        intervals = self.root(len(offsets) - 1, at_start)

        def search(number: int, shard: Shard, first: int, last: int) -> None:
            lower, upper = (side[number, first:last] for side in intervals)
            shard.search(tokens, offsets[first : last + 1], lower, upper)

        run_all(
            [
                partial(search, number, shard, first, last)
                for number, shard in enumerate(self._shards)
                for first, last in self._parts(len(offsets) - 1)
            ],
            self.threads,
        )
        return intervals

    def _parts(self, sequences: int) -> list[tuple[int, int]]:
        """Split a batch among threads: first and last of each part."""
        number = max(1, min(self.threads, sequences // _PARALLEL_SEQUENCES))
        return list(pairwise(np.linspace(0, sequences, number + 1).astype(int).tolist()))

    # -- the paper's operations, on whole sequences ------------------------------------------------

    def get_next(self, prefixes: Iterable[ArrayLike]) -> list[NDArray[np.int32]]:
        """GetNext: for each prefix, the sorted ids of the tokens that follow it somewhere."""
        offsets, tokens = self.successors(self.search(prefixes))
        return np.split(tokens, offsets[1:-1]) if len(offsets) > 1 else []

    def count(self, sequences: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """Occurrences of each sequence, int64[n]; the empty one is at every token and end."""
        return self.occurrences(self.search(sequences))

    def valid_distinct(self, sequences: Iterable[ArrayLike]) -> NDArray[np.bool_]:
        """ValidDistinct, bool[n]: True if a sequence occurs in exactly one document."""
        return self.is_distinct(self.search(sequences))

    def lookup_doc(self, sequences: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """LookupDoc, int64[n]: the document's row if `valid_distinct`, else -1."""
        if len(self._shards) > 1:
            return self.document_of(self.search(sequences))
        tokens, offsets = as_batch(sequences)
        shard, parts = self._shards[0], self._parts(len(offsets) - 1)
        if len(parts) == 1:
            return shard.lookup(tokens, offsets)
        tasks = [partial(shard.lookup, tokens, offsets[first : last + 1]) for first, last in parts]
        return np.concatenate(run_all(tasks, self.threads))

    def locate(self, sequence: ArrayLike, limit: int | None = None) -> NDArray[np.int64]:
        """Find the occurrences of one sequence.

        Args:
            sequence: int[length].
            limit: maximum number of occurrences; which ones is undefined.

        Returns:
            int64[occurrences, 2]: document row and offset of the first token in it, sorted.
        """
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        tokens = as_tokens(sequence)
        lower, upper = self.search([tokens])
        parts = [np.empty((0, 2), dtype=np.int64)]
        left = limit
        for number, shard in enumerate(self._shards):
            part = shard.locate(int(lower[number, 0]), int(upper[number, 0]), len(tokens), left)
            part[:, 0] += self._first_rows[number]
            parts.append(part)
            left = None if left is None else left - len(part)
        found = np.concatenate(parts)
        return found[np.lexsort(found.T[::-1])]

    def find_documents(self, sequences: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """Row of the document that equals each sequence, int64[n]; -1 if there is none."""
        rows = []
        for sequence in sequences:
            tokens, row = as_tokens(sequence), -1
            for shard, first in zip(self._shards, self._first_rows.tolist(), strict=False):
                row = shard.find_document(tokens)
                if row >= 0:
                    row += first
                    break
            rows.append(row)
        return np.array(rows, dtype=np.int64)

    def extract(self, row: int) -> NDArray[np.int32]:
        """The tokens of one document, int32[length].

        Raises:
            IndexError: if the row does not exist (-1 neither), or its document was removed.
        """
        self.check_row(row)
        number = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        return self._shards[number].extract(np.array([row - self._first_rows[number]]))[1]

    def extract_all(self) -> Iterable[NDArray[np.int32]]:
        """The tokens of all documents that are not removed, in the order of rows."""
        for shard in self._shards:
            rows = np.setdiff1d(np.arange(shard.num_documents), shard.removed.documents)
            for first in range(0, len(rows), _EXTRACT_BATCH):
                parts = np.array_split(rows[first : first + _EXTRACT_BATCH], self.threads)
                tasks = [partial(shard.extract, part) for part in parts]
                for offsets, tokens in run_all(tasks, self.threads):
                    yield from np.split(tokens, offsets[1:-1]) if len(offsets) > 1 else []

    def check_row(self, row: int) -> None:
        """Raise IndexError if there is no document in this row."""
        if self.num_rows == 0:
            raise IndexError(f"No document {row}: the index is empty")
        if not 0 <= row < self.num_rows:
            raise IndexError(f"No document {row}: rows are 0 to {self.num_rows - 1}")
        at = int(np.searchsorted(self._removed, row))
        if at < len(self._removed) and self._removed[at] == row:
            raise IndexError(f"Document {row} was removed")

    # -- changes -----------------------------------------------------------------------------------

    def rebuild(
        self, documents: Iterable[ArrayLike], shard_tokens: int = SHARD_TOKENS
    ) -> "FMIndex":
        """Index other documents with the same settings. Raises the errors of `build`."""
        return FMIndex.build(
            documents, self.vocab_size, self.backend, self._sample_rate, shard_tokens,
            self._list_threshold, self.threads,
        )  # fmt: skip

    def add(self, documents: Iterable[ArrayLike], shard_tokens: int = SHARD_TOKENS) -> "FMIndex":
        """Return an index with more documents, in shards and rows after the existing ones.

        Existing shards are shared, not copied. Raises the errors of `build`.
        """
        new = self.rebuild(documents, shard_tokens)
        if new.num_rows == 0 or self.num_rows == 0:
            return self if new.num_rows == 0 else new
        return self._with_shards([*self._shards, *new._shards])

    def remove(self, rows: Iterable[int]) -> "FMIndex":
        """Return an index without some documents; other documents keep their rows.

        Removed documents are no longer found, and what occurs only in one of them and in one other
        document becomes distinctive. Takes time per removed token, and memory per token of the
        affected shards; rebuilding (as `KnowledgeBase.compact` does) frees the space.

        Raises:
            IndexError: if a row does not exist, or its document was removed already.
        """
        wanted = np.unique(as_tokens(list(rows)))
        for row in wanted.tolist():
            self.check_row(row)
        shards = list(self._shards)
        for number, shard in enumerate(shards):
            first, last = self._first_rows[number : number + 2]
            own = wanted[(wanted >= first) & (wanted < last)] - first
            if len(own):
                shards[number] = shard.without(own, self._list_threshold)
        return self._with_shards(shards)

    def _with_shards(self, shards: Sequence[Shard]) -> "FMIndex":
        other = FMIndex(
            shards, self.vocab_size, self.threads, self._sample_rate, self._list_threshold
        )
        other._stored = dict(self._stored)
        other._stored_removed = {
            number: stored
            for number, stored in self._stored_removed.items()
            if shards[number] is self._shards[number]
        }
        return other

    # -- saving and loading ------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Save the index to a folder: `index.json` and a safetensors file for each shard.

        An existing index is replaced when all files of the new one are written, in one step. The
        format does not depend on the backend.
        """
        folder = Path(path)
        if folder.is_file():
            raise ValueError(f"'{folder}' is a file: an index is saved as a folder")
        try:
            old = storage.stored_files(storage.read_header(folder)["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            old = []  # no index, or one whose files are unknown: only its header is replaced
        record = self.store(folder)
        storage.write_header(folder, record)
        for name in set(old) - set(storage.stored_files(record["shards"])):
            (folder / Path(name).name).unlink(missing_ok=True)
        self.stored_in(folder, record)

    def store(self, folder: Path) -> dict[str, Any]:
        """Write the shards' files that are missing in a folder; return the record of the index."""
        records = []
        for number, shard in enumerate(self._shards):
            known, known_removed = self._stored.get(number), self._stored_removed.get(number)
            if known is None or not known.exists():
                known = storage.store_shard(shard, folder, self._list_threshold)
            record = {**known.put(folder), "removed": None}
            if shard.is_thinned:
                if known_removed is None or not known_removed.exists():
                    known_removed = storage.store_removed(shard, folder, record["identity"])
                record["removed"] = known_removed.put(folder)
            records.append(record)
        return {
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "vocab_size": self.vocab_size,
            "sample_rate": self._sample_rate,
            "list_threshold": self._list_threshold,
            "shards": records,
        }

    def stored_in(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Note that a folder holds the files of this record of `store`: they are not rewritten."""
        self._stored, self._stored_removed = {}, {}
        for number, shard_record in enumerate(record["shards"]):
            self._stored[number] = storage.StoredFile(folder, shard_record)
            if shard_record.get("removed"):
                removed = storage.StoredFile(folder, shard_record["removed"])
                self._stored_removed[number] = removed

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        backend: str = "numba",
        verify: bool | None = None,
        threads: int | None = None,
    ) -> "FMIndex":
        """Load an index; its arrays are memory-mapped.

        Args:
            path: folder that `save` wrote.
            backend: "numba" or "pysdsl"; the latter reads the whole index and builds its own form.
            verify: whether to compare all checksums; by default those of files up to 64 MiB.
            threads: CPU cores that a call may use; by default all that this process may use.

        Raises:
            FileNotFoundError: if the index or a file of it is missing.
            ValueError: if a file is truncated, changed, of another index or another format version.
        """
        folder = Path(path)
        return cls.from_record(folder, storage.read_header(folder), backend, verify, threads)

    @classmethod
    def from_record(
        cls,
        folder: Path,
        record: Mapping[str, Any],
        backend: str = "numba",
        verify: bool | None = None,
        threads: int | None = None,
    ) -> "FMIndex":
        """`load` from a record that `store` returned."""
        matrix_class(backend)
        numbers = ("num_documents", "num_tokens", "vocab_size", "sample_rate", "list_threshold")
        shard_records = record.get("shards")
        if (
            not all(isinstance(record.get(name), int) and record[name] >= 0 for name in numbers)
            or not isinstance(shard_records, list)
            or not shard_records
        ):
            raise ValueError(f"The index in '{folder}' is corrupt: its header lacks a count")
        vocab_size = record["vocab_size"]
        shards: list[Shard] = []
        for shard_record in shard_records:
            arrays = storage.read_stored(folder, shard_record, "shard", verify)
            removed = None
            if shard_record.get("removed") is not None:
                removed = storage.read_stored(
                    folder, shard_record["removed"], "removed", verify, shard_record["identity"]
                )
            try:
                shards.append(Shard.from_arrays(arrays, removed, vocab_size, backend))
            except ValueError as error:
                raise ValueError(
                    f"The index in '{folder}' is corrupt: {shard_record['file']}: {error}"
                ) from None
        index = cls(shards, vocab_size, threads, record["sample_rate"], record["list_threshold"])
        if index.num_documents != record["num_documents"]:
            raise ValueError(
                f"The files in '{folder}' belong to two indexes: they hold {index.num_documents} "
                f"documents, but the header says {record['num_documents']}"
            )
        index.stored_in(folder, record)
        return index

    def verify(self) -> None:
        """Check the checksums of all files that the index was loaded from or saved to, and the
        contents of its arrays.

        Raises:
            FileNotFoundError, ValueError: for the first error found.
        """
        for stored in [*self._stored.values(), *self._stored_removed.values()]:
            check_file(stored.folder / stored.record["file"], stored.record, True)
        for number, shard in enumerate(self._shards):
            try:
                shard.check()
            except ValueError as error:
                raise ValueError(f"Shard {number} of the index is corrupt: {error}") from None

    # -- helpers -----------------------------------------------------------------------------------

    def _of_shards(self, work: Callable[[int, Shard], Any]) -> list[Any]:
        tasks = [partial(work, number, shard) for number, shard in enumerate(self._shards)]
        return run_all(tasks, self.threads)

    def _checked(self, intervals: Intervals) -> Intervals:
        lower, upper = intervals
        if lower.shape != upper.shape or lower.ndim != 2 or len(lower) != len(self._shards):
            raise ValueError(
                f"These intervals have the shape {lower.shape}, but the index has "
                f"{len(self._shards)} shard(s): they are of another index"
            )
        return Intervals(np.asarray(lower, dtype=np.int64), np.asarray(upper, dtype=np.int64))

    @property
    def backend(self) -> str:
        """The backend, "numba" or "pysdsl"."""
        return self._shards[0].backend


def check_options(
    backend: str = "numba",
    sample_rate: int = SAMPLE_RATE,
    shard_tokens: int = SHARD_TOKENS,
    list_threshold: int = LIST_THRESHOLD,
    threads: int | None = None,
) -> None:
    """Check arguments of `FMIndex.build`: raises its errors before anything is read."""
    matrix_class(backend)
    if not 1 <= sample_rate <= MAX_SAMPLE_RATE:
        raise ValueError(f"sample_rate must be from 1 to {MAX_SAMPLE_RATE}, got {sample_rate}")
    for name, value in (("shard_tokens", shard_tokens), ("list_threshold", list_threshold)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")


__all__ = [
    "BACKENDS",
    "LIST_THRESHOLD",
    "SAMPLE_RATE",
    "SHARD_TOKENS",
    "FMIndex",
    "Intervals",
    "check_options",
]
