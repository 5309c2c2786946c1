"""The FM-index compared with a brute-force search."""

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemkr_hf.index import FMIndex, Intervals
from tests.unit.index import index_reference as reference

# The fixture only selects the backend: one value for all examples is correct.
thorough = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Documents with few or very many different tokens, and sequences to look up."""
    alphabet = draw(
        st.one_of(
            st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
            st.lists(st.integers(0, 151_999), min_size=1, max_size=12, unique=True),
        )
    )
    token = st.sampled_from(alphabet)
    documents = draw(st.lists(st.lists(token, max_size=9), max_size=7))
    if documents and draw(st.booleans()):
        whole = draw(st.sampled_from(documents))
        documents += [list(whole), whole[1:-1]]
    sequences = draw(st.lists(st.lists(token, max_size=5), max_size=5))
    for document in documents:
        start = draw(st.integers(0, len(document)))
        sequences.append(document[start : start + draw(st.integers(0, 5))])
    # Across document boundaries, and with tokens outside the vocabulary.
    sequences += [left + right for left, right in pairwise(documents)]
    sequences += [[alphabet[0], wrong] for wrong in (-1, 152_000, 2**40)] + [[-1], []]
    return documents, sequences


@st.composite
def settings_of_an_index(draw: st.DrawFn) -> dict[str, int]:
    """Sampling rates, list thresholds and shard sizes."""
    return {
        "vocab_size": 152_000,
        "sample_rate": draw(st.sampled_from([1, 3, 16])),
        "list_threshold": draw(st.sampled_from([1, 4, 1000])),
        "shard_tokens": draw(st.sampled_from([1, 12, 10**6])),
        "threads": draw(st.sampled_from([1, 2])),
    }


def check_all_operations(
    index: FMIndex, documents: list[list[int] | None], sequences: list[list[int]]
) -> None:
    """Compare with brute force; a document that is None was removed."""
    live = [document for document in documents if document is not None]
    rows = [row for row, document in enumerate(documents) if document is not None]
    assert len(index) == index.num_documents == len(live)
    assert (index.num_rows, index.num_tokens) == (len(documents), sum(map(len, live)))
    places = [reference.occurrences(live, sequence) for sequence in sequences]
    found = [reference.lookup_doc(live, sequence) for sequence in sequences]
    expected = [rows[row] if row >= 0 else -1 for row in found]
    assert index.count(sequences).tolist() == [len(place) for place in places]
    assert [tokens.tolist() for tokens in index.get_next(sequences)] == [
        reference.get_next(live, sequence) for sequence in sequences
    ]
    assert index.tokens.tolist() == reference.get_next(live, [])
    assert index.lookup_doc(sequences).tolist() == expected
    assert index.valid_distinct(sequences).tolist() == [row >= 0 for row in expected]
    for sequence, place in zip(sequences, places, strict=True):
        assert index.locate(sequence).tolist() == [[rows[row], at] for row, at in sorted(place)]
    for row, document in zip(rows, live, strict=True):
        assert index.extract(row).tolist() == document
    assert [tokens.tolist() for tokens in index.extract_all()] == live
    for sequence, row in zip(sequences, index.find_documents(sequences).tolist(), strict=True):
        equal = [rows[number] for number, document in enumerate(live) if document == sequence]
        assert row in (equal or [-1])
    beginnings = index.search(sequences, at_start=True)
    assert index.occurrences(beginnings).tolist() == [
        sum(document[: len(sequence)] == sequence for document in live) for sequence in sequences
    ]
    assert index.document_ends(index.search(sequences)).tolist() == [
        sum(document[len(document) - len(sequence) :] == sequence for document in live)
        for sequence in sequences
    ]
    assert index.document_ends(beginnings).tolist() == [live.count(s) for s in sequences]


@thorough
@given(corpora(), settings_of_an_index())
def test_every_operation_equals_brute_force(
    backend: str, corpus: tuple[list[list[int]], list[list[int]]], options: dict[str, int]
) -> None:
    documents, sequences = corpus
    index = FMIndex.build(documents, backend=backend, **options)
    check_all_operations(index, documents, sequences)


@pytest.mark.slow
@thorough
@given(corpora(), corpora(), settings_of_an_index(), st.data())
def test_add_and_remove_documents(
    backend: str,
    corpus: tuple[list[list[int]], list[list[int]]],
    more: tuple[list[list[int]], list[list[int]]],
    options: dict[str, int],
    data: st.DataObject,
) -> None:
    documents, sequences = list(corpus[0]), corpus[1] + more[1]
    index = FMIndex.build(documents, backend=backend, **options)
    for new in (None, more[0], None):
        if new is not None:
            index = index.add(new)
            documents = documents + new
        live = [row for row, document in enumerate(documents) if document is not None]
        if live:
            gone = data.draw(st.sets(st.sampled_from(live)))
            index = index.remove(gone)
            documents = [None if row in gone else text for row, text in enumerate(documents)]
            for row in gone:
                with pytest.raises(IndexError, match=f"Document {row} was removed"):
                    index.extract(row)
        check_all_operations(index, documents, sequences)
    check_all_operations(
        index.rebuild(index.extract_all()),
        [document for document in documents if document is not None],
        sequences,
    )


@thorough
@given(corpora(), settings_of_an_index())
def test_extended_intervals_equal_searched_ones(
    backend: str,
    corpus: tuple[list[list[int]], list[list[int]]],
    options: dict[str, int],
) -> None:
    documents, sequences = corpus
    index = FMIndex.build(documents, backend=backend, **options)
    longest = max(map(len, sequences))
    padded = [sequence + [0] * (longest - len(sequence)) for sequence in sequences]
    intervals = index.root(len(sequences))
    for length in range(longest + 1):
        written = [sequence[:length] for sequence in padded]
        offsets, tokens = index.successors(intervals)
        assert tokens.dtype == np.int32
        parts = [part.tolist() for part in np.split(tokens, offsets[1:-1])]
        assert parts == [reference.get_next(documents, sequence) for sequence in written]
        rows = [reference.lookup_doc(documents, sequence) for sequence in written]
        assert index.document_of(intervals).tolist() == rows
        assert index.is_distinct(intervals).tolist() == [row >= 0 for row in rows]
        if length < longest:
            intervals = index.extend(intervals, [sequence[length] for sequence in padded])


@pytest.mark.parametrize("vocab_size", [1, 2, 200, 256, 40_000, 70_000])
def test_larger_corpus_of_any_alphabet(vocab_size: int) -> None:
    """More than one line of digits; symbols of one, two and three bytes."""
    rng = np.random.default_rng(vocab_size)
    ids = rng.permutation(vocab_size)
    documents = [ids[rng.zipf(1.3, size=rng.integers(0, 60)) % vocab_size] for _ in range(300)]
    # Every token occurs: the alphabet has its maximum size.
    documents.append(ids)
    index = FMIndex.build(documents, vocab_size=vocab_size)
    lists = [document.tolist() for document in documents]
    starts = rng.integers(0, 20, size=len(documents))
    clues = [document[s : s + 4] for document, s in zip(lists, starts, strict=True)][:60]
    assert index.lookup_doc(clues).tolist() == [reference.lookup_doc(lists, c) for c in clues]
    assert [t.tolist() for t in index.get_next(clues)] == [
        reference.get_next(lists, clue) for clue in clues
    ]
    for row in range(0, len(lists), 17):
        assert index.extract(row).tolist() == lists[row]
    assert index.get_next([[]])[0].tolist() == sorted(set(ids.tolist()))


def test_no_sequence_crosses_a_document_boundary() -> None:
    index = FMIndex.build([[1, 2], [3, 4]])
    assert index.count([[2, 3], [4, 1]]).tolist() == [0, 0]
    assert [tokens.tolist() for tokens in index.get_next([[2], [1, 2]])] == [[], []]


def test_several_times_in_one_document_is_distinctive() -> None:
    index = FMIndex.build([[7, 8, 7, 8, 7, 8], [7, 9]])
    assert index.valid_distinct([[7, 8], [7]]).tolist() == [True, False]
    assert index.count([[7, 8]]).tolist() == [3]
    assert index.lookup_doc([[8, 7]]).tolist() == [0]
    assert index.locate([7, 8]).tolist() == [[0, 0], [0, 2], [0, 4]]


def test_limit_of_locate() -> None:
    index = FMIndex.build([[5] * 10])
    found = index.locate([5], limit=4).tolist()
    assert len(found) == 4
    assert set(map(tuple, found)) <= {(0, offset) for offset in range(10)}
    assert index.locate([5], limit=0).shape == (0, 2)
    with pytest.raises(ValueError, match="negative"):
        index.locate([5], limit=-1)


def test_empty_inputs() -> None:
    index = FMIndex.build([])
    assert (index.num_documents, index.num_tokens) == (0, 0)
    assert index.count([[], [1]]).tolist() == [0, 0]
    assert index.get_next([]) == []
    assert index.lookup_doc([]).tolist() == []
    assert FMIndex.build([[], []]).get_next([[]])[0].tolist() == []


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_that_do_not_exist(row: int) -> None:
    with pytest.raises(IndexError, match=f"No document {row}"):
        FMIndex.build([[1], [2]]).extract(row)


@pytest.mark.parametrize("token", [-1, 10])
def test_build_rejects_tokens_out_of_range(token: int) -> None:
    with pytest.raises(ValueError, match=f"Document 1 contains token {token}, which is not in"):
        FMIndex.build([[1], [3, token]], vocab_size=10)


@pytest.mark.parametrize("batch", [[1, 2], ["ab"], [[1.5]], [[[1]]]])
def test_invalid_batches_are_rejected(batch: list) -> None:
    with pytest.raises(ValueError, match="batch of token-id sequences"):
        FMIndex.build([[1, 2]]).count(batch)


def test_invalid_intervals_read_nothing_outside() -> None:
    """Rows that do not exist give answers, but nothing is read."""
    index = FMIndex.build([[1, 2, 3]])
    wild = Intervals(np.array([[-5, 2, 9, 2**40]]), np.array([[2**40, 1, 12, 2**41]]))
    index.extend(wild, [1, 2, 3, 1])
    index.is_distinct(wild)
    index.document_of(wild)
    assert len(index.successors(wild)[0]) == 5


def test_extend_needs_one_token_per_interval() -> None:
    index = FMIndex.build([[1, 2, 3]])
    with pytest.raises(ValueError, match="3 tokens for 2 intervals"):
        index.extend(index.root(2), [1, 2, 3])


def test_intervals_of_another_index() -> None:
    one, two = FMIndex.build([[1], [2]]), FMIndex.build([[1], [2]], shard_tokens=1)
    assert (one.num_shards, two.num_shards) == (1, 2)
    with pytest.raises(ValueError, match="they are of another index"):
        one.successors(two.root())


@pytest.mark.parametrize("text", [[0] * 3000, [0, 1] * 1500, [0, 0, 1] * 1000])
def test_repetitive_text(text: list[int]) -> None:
    """Texts that need too many comparisons are sorted by divsufsort, in the same order."""
    documents = [text, text[:-1], [1]]
    index = FMIndex.build(documents, vocab_size=2)
    assert [tokens.tolist() for tokens in index.extract_all()] == documents
    assert index.lookup_doc([text, text[:-1], text[1:]]).tolist() == [
        reference.lookup_doc(documents, sequence) for sequence in (text, text[:-1], text[1:])
    ]


def test_vocabulary_of_31_bits() -> None:
    """Sparse ids take the space of those that occur; there is no table of all."""
    documents = [[2**31 - 2, 5, 2**24], [5, 2**30]]
    index = FMIndex.build(documents, vocab_size=2**31 - 1)
    assert index.nbytes < 10_000
    assert index.get_next([[5], [2**24], [7]])[0].tolist() == [2**24, 2**30]
    assert index.lookup_doc([[2**30], [2**31 - 2], [6], [-1]]).tolist() == [1, 0, -1, -1]
    assert [tokens.tolist() for tokens in index.extract_all()] == documents


def test_size_depends_on_entropy_not_on_vocabulary_size() -> None:
    """The same text with ids up to 152,000 instead of 32,000 is not twice as large."""
    rng = np.random.default_rng(0)
    text = np.minimum(rng.zipf(1.3, size=(2000, 100)), 30_000)
    sizes = [FMIndex.build(text * factor, vocab_size=152_000).nbytes for factor in (1, 5)]
    assert sizes[1] < 1.05 * sizes[0]


def test_queries_from_several_threads() -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 300, size=60).tolist() for _ in range(400)]
    index = FMIndex.build(documents, vocab_size=300, shard_tokens=9000, threads=2)
    prefixes = [document[:1] for document in documents]
    alone = index.get_next(prefixes), index.lookup_doc([document[:4] for document in documents])
    with ThreadPoolExecutor(4) as pool:
        for next_tokens, rows in pool.map(
            lambda _: (
                index.get_next(prefixes),
                index.lookup_doc([document[:4] for document in documents]),
            ),
            range(12),
        ):
            assert all(map(np.array_equal, next_tokens, alone[0]))
            assert np.array_equal(rows, alone[1])
    index.threads = 1
    assert all(map(np.array_equal, index.get_next(prefixes), alone[0]))
    with pytest.raises(ValueError, match="threads must be at least 1"):
        index.threads = 0


def test_wide_intervals_are_split_among_threads() -> None:
    """Enough rows that a call is split among threads."""
    rng = np.random.default_rng(1)
    documents = rng.integers(0, 200, size=(3000, 50))
    index = FMIndex.build(documents, vocab_size=200, list_threshold=10**6, threads=2)
    expected = [np.unique(documents[:, 1:][documents[:, :-1] == token]) for token in range(200)]
    for threads in (2, 1):
        index.threads = threads
        found = index.get_next([[token] for token in range(200)])
        assert all(map(np.array_equal, found, expected))


def test_copies() -> None:
    """transformers copies logits processors with their index; process pools pickle it."""
    index = FMIndex.build([[1, 2, 3], [1, 2, 4], [5]], vocab_size=6, shard_tokens=4).remove([1])
    copied, sent = copy.deepcopy(index), pickle.loads(pickle.dumps(index))
    assert copied._shards[0] is index._shards[0]
    for other in (copied, sent):
        check_all_operations(other, [[1, 2, 3], None, [5]], [[1, 2], [4], [5], []])


def test_many_clues_are_split_among_threads() -> None:
    """More sequences than one thread searches."""
    rng = np.random.default_rng(2)
    documents = rng.integers(0, 5000, size=(4000, 20))
    clues = documents[:, 3:7]
    for shard_tokens in (10**6, 30_000):
        index = FMIndex.build(documents, vocab_size=5000, shard_tokens=shard_tokens, threads=3)
        rows = index.lookup_doc(clues)
        alone = FMIndex.build(documents, vocab_size=5000, threads=1)
        assert np.array_equal(rows, alone.lookup_doc(clues))
        assert np.array_equal(index.count(clues), alone.count(clues))
        assert (rows == np.arange(4000)).mean() > 0.99


COMPILES_NOTHING = """
import sys
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, e): compiled.append(e.data.get("dispatcher"))
    def on_end(self, e): pass
from gemkr_hf.index import FMIndex
with event.install_listener("numba:compile", Listener()):
    index = FMIndex.build([[1, 2, 3], [1, 2, 4]], threads=1)
    index.get_next([[1], []]), index.lookup_doc([[3]]), index.extract(0)
print(len(compiled))
"""


@pytest.mark.slow
def test_the_second_process_does_not_compile(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    counts = [
        int(
            subprocess.run(
                [sys.executable, "-c", COMPILES_NOTHING],
                env=environment, capture_output=True, text=True, check=True,
            ).stdout
        )
        for _ in range(2)
    ]  # fmt: skip
    assert counts[0] > 0
    assert counts[1] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "sample_rate must be from 1 to 4096, got 0"),
        ({"shard_tokens": 0}, "shard_tokens must be at least 1, got 0"),
        ({"list_threshold": 0}, "list_threshold must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FMIndex.build(iter([[1]]), vocab_size=2, **options)


def test_documents_that_cannot_be_removed() -> None:
    index = FMIndex.build([[1], [2]]).remove([0])
    for row, message in ((0, "was removed"), (2, "No document 2"), (-1, "No document -1")):
        with pytest.raises(IndexError, match=message):
            index.remove([row])


def test_missing_or_unknown_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemkr_hf.index.pysdsl_backend.pysdsl", None)
    with pytest.raises(ImportError, match="not on PyPI"):
        FMIndex.build([[1]], backend="pysdsl")
    with pytest.raises(ValueError, match="numba, pysdsl"):
        FMIndex.build([[1]], backend="sdsl")


def test_size_of_a_passage_that_many_documents_share() -> None:
    rng = np.random.default_rng(0)
    sizes = []
    for length in (100, 300):
        passage = rng.integers(0, 30_000, length).tolist()
        documents = [[*passage, 30_000 + number] for number in range(600)]
        index = FMIndex.build(documents, vocab_size=32_000)
        assert index.get_next([passage])[0].tolist() == list(range(30_000, 30_600))
        assert index.get_next([passage[:20]])[0].tolist() == passage[20:21]
        sizes.append(index.nbytes / index.num_tokens)
    assert sizes[1] < sizes[0] < 4
    assert FMIndex.build([[0] * 40_000]).nbytes < 3 * 40_000


@pytest.mark.parametrize(
    ("documents", "vocab_size", "message"),
    [
        ([[2**31]], None, "vocab_size must be an integer from 0 to 2147483647"),
        ([[2**31 - 1, 5]], None, "token ids are smaller than 2147483647"),
        ([[5]], 2**40, "got 1099511627776"),
        ([[5]], -5, "got -5"),
        ([[5]], 10.5, r"got 10\.5"),
        ([[5]], "x", "got x"),
        ([[2**63]], None, "got 9223372036854775809"),
        ([[1], [-3]], None, "Document 1 contains token -3"),
    ],
)
def test_vocabulary_limits(documents, vocab_size, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FMIndex.build(documents, vocab_size=vocab_size)


def test_extreme_intervals() -> None:
    index = FMIndex.build([[3, 1, 4], [1, 5]])
    strange = Intervals(np.array([[2**62, -9, 2]]), np.array([[2**63 - 1, -3, 2**40]]))
    assert index.occurrences(strange).tolist() == [0, 0, 5]
    assert index.is_distinct(strange).tolist() == [False, False, False]
    with pytest.raises(ValueError, match="n must not be negative"):
        index.root(-1)
    with pytest.raises(IndexError, match="the index is empty"):
        FMIndex.build([]).extract(0)
    with pytest.raises(ValueError, match="token-id sequences"):
        index.remove([0.7])


def test_the_index_imports_no_other_libraries() -> None:
    others = "datasets huggingface_hub pandas pyarrow torch transformers"
    code = f"import sys, gemkr_hf.index; print({{*{others!r}.split()}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
