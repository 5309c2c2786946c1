"""The FM-index against a search through all documents."""

from itertools import pairwise

import index_reference as reference
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemkr_hf.index import FMIndex

# The fixture only names the backend, so that one for all examples is right.
thorough = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Documents of a few, or of very many, different tokens, and sequences to ask for."""
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
    # Across a border, and with tokens that cannot be.
    sequences += [left + right for left, right in pairwise(documents)]
    sequences += [[alphabet[0], wrong] for wrong in (-1, 152_000, 2**40)] + [[-1], []]
    return documents, sequences


@thorough
@given(corpora())
def test_every_operation_equals_brute_force(
    backend: str, corpus: tuple[list[list[int]], list[list[int]]]
) -> None:
    documents, sequences = corpus
    index = FMIndex.build(documents, vocab_size=152_000, backend=backend, sample_rate=3)
    assert len(index) == index.num_documents == len(documents)
    assert index.num_tokens == sum(map(len, documents))
    places = [reference.occurrences(documents, sequence) for sequence in sequences]
    rows = [reference.lookup_doc(documents, sequence) for sequence in sequences]
    following = [reference.get_next(documents, sequence) for sequence in sequences]
    assert index.count(sequences).tolist() == [len(found) for found in places]
    assert [tokens.tolist() for tokens in index.get_next(sequences)] == following
    assert index.lookup_doc(sequences).tolist() == rows
    assert index.valid_distinct(sequences).tolist() == [row >= 0 for row in rows]
    for sequence, found in zip(sequences, places, strict=True):
        assert index.locate(sequence).tolist() == [list(place) for place in sorted(found)]
    for row, document in enumerate(documents):
        assert index.extract(row).tolist() == document


@thorough
@given(corpora(), st.data())
def test_intervals_grow_as_sequences_do(
    backend: str, corpus: tuple[list[list[int]], list[list[int]]], data: st.DataObject
) -> None:
    documents, sequences = corpus
    index = FMIndex.build(documents, vocab_size=152_000, backend=backend, sample_rate=2)
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
    """More than one line of bits and symbols of one, two and three bytes."""
    rng = np.random.default_rng(vocab_size)
    ids = rng.permutation(vocab_size)
    documents = [ids[rng.zipf(1.3, size=rng.integers(0, 60)) % vocab_size] for _ in range(300)]
    # Every token once, so that the alphabet is as large as it can be.
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


def test_nothing_joins_two_documents() -> None:
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
def test_no_such_document(row: int) -> None:
    with pytest.raises(IndexError, match=f"no document {row}"):
        FMIndex.build([[1], [2]]).extract(row)


@pytest.mark.parametrize("token", [-1, 10])
def test_build_refuses_tokens_out_of_range(token: int) -> None:
    with pytest.raises(ValueError, match=f"Document 1 holds token {token}, which is not in"):
        FMIndex.build([[1], [3, token]], vocab_size=10)


@pytest.mark.parametrize("batch", [[1, 2], ["ab"], [[1.5]], [[[1]]]])
def test_what_is_no_batch_of_ids_is_refused(batch: list) -> None:
    with pytest.raises(ValueError, match="batch of token-id sequences"):
        FMIndex.build([[1, 2]]).count(batch)


def test_intervals_of_elsewhere_read_nothing_outside() -> None:
    """Rows that no index gives: answered, never read."""
    index = FMIndex.build([[1, 2, 3]])
    wild = type(index.root())(np.array([-5, 2, 9, 2**40]), np.array([2**40, 1, 12, 2**41]))
    index.extend(wild, [1, 2, 3, 1])
    index.is_distinct(wild)
    index.document_of(wild)
    assert len(index.successors(wild)[0]) == 5


def test_extend_wants_one_token_an_interval() -> None:
    index = FMIndex.build([[1, 2, 3]])
    with pytest.raises(ValueError, match="3 tokens for 2 intervals"):
        index.extend(index.root(2), [1, 2, 3])


def test_backend_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemkr_hf.index.pysdsl_backend.pysdsl", None)
    with pytest.raises(ImportError, match="not on PyPI"):
        FMIndex.build([[1]], backend="pysdsl")
    with pytest.raises(ValueError, match="numba, pysdsl"):
        FMIndex.build([[1]], backend="sdsl")
