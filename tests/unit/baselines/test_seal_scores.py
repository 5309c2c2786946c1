"""SEAL's weights of n-grams and scores of documents, against their formulas on small documents."""

import math
from types import SimpleNamespace

import pytest

from gemkr_hf.baselines.seal import NGram, SEALSettings, rank_documents, weigh_ngrams
from gemkr_hf.index import FMIndex

DOCUMENTS = [[3, 4, 5, 6], [3, 4, 7, 8], [9, 10, 3, 4], [11, 12]]


@pytest.fixture
def index() -> FMIndex:
    return FMIndex.build(DOCUMENTS, vocab_size=16)


def trace_of(*clues: tuple[list[int], float, str]) -> SimpleNamespace:
    """A trace of nodes that stand for whole clues."""
    nodes = [SimpleNamespace(depth=len(c), score=s, state=state) for c, s, state in clues]
    return SimpleNamespace(nodes=nodes, clue=lambda number: clues[number][0])


def test_weights_follow_the_paper(index) -> None:
    written, share = math.log(0.5), 3 / 14  # 3, 4 stands three times among 14 tokens
    [ngram] = weigh_ngrams(index, trace_of(([3, 4], written, "passed")))
    expected = math.log(0.5 * (1 - share) / (share * (1 - 0.5)))
    assert ngram.count == 3
    assert ngram.weight == pytest.approx(expected)


def test_ngrams_likely_for_any_question_weigh_nothing(index) -> None:
    trace = trace_of(
        ([3, 4], math.log(0.1), "passed"),  # more often in the documents than the model writes it
        ([11, 12], math.log(0.9), "found"),
        ([9, 10], math.log(0.9), "dropped"),
        ([3, 1], math.log(0.9), "found"),  # an end token behind what stands in documents
        ([], 0.0, "passed"),
    )
    ngrams = weigh_ngrams(index, trace)
    assert [(ngram.tokens, ngram.weight > 0) for ngram in ngrams] == [
        ((11, 12), True),
        ((3, 4), False),
    ]
    # What weighs nothing still names documents, behind all others.
    ranked = rank_documents(index, ngrams, SEALSettings())
    assert [row for row, _, _ in ranked] == [3, 0, 1, 2]
    assert [score > 0 for _, score, _ in ranked] == [True, False, False, False]


def test_a_certain_ngram_has_a_finite_weight(index) -> None:
    [ngram] = weigh_ngrams(index, trace_of(([5], 0.0, "passed")))
    assert 20 < ngram.weight < 40


def test_overlapping_ngrams_do_not_count(index) -> None:
    settings = SEALSettings(alpha=2.0, beta=0.8)
    ngrams = [
        NGram((3, 4, 5), 3.0, 1),
        NGram((4, 5, 6), 2.0, 1),  # overlaps the heavier one: does not count
        NGram((3, 4), 1.5, 3),  # in the first document only within the heavier one
        NGram((6,), 1.0, 1),
    ]
    ranked = rank_documents(index, ngrams, settings)
    assert [row for row, _, _ in ranked] == [0, 1, 2]
    scores = {row: score for row, score, _ in ranked}
    assert scores[0] == pytest.approx(3.0**2 + 1.0**2)
    assert scores[1] == scores[2] == pytest.approx(1.5**2)
    assert [ngram.tokens for ngram in ranked[0][2]] == [(3, 4, 5), (6,)]


def test_tokens_of_heavier_ngrams_count_less() -> None:
    index = FMIndex.build([[3, 4, 9, 4, 5]], vocab_size=16)
    settings = SEALSettings(alpha=1.0, beta=0.8)
    ngrams = [NGram((3, 4), 2.0, 1), NGram((4, 5), 1.0, 1)]
    [(_, score, kept)] = rank_documents(index, ngrams, settings)
    assert len(kept) == 2
    assert score == pytest.approx(2.0 + 1.0 * (1 - 0.8 + 0.8 * 1 / 2))


def test_frequent_ngrams_make_no_candidates_but_count(index) -> None:
    settings = SEALSettings(alpha=1.0, max_occurrences=2)
    ngrams = [NGram((3, 4), 2.0, 3), NGram((7,), 1.0, 1)]
    ranked = rank_documents(index, ngrams, settings)
    assert [row for row, _, _ in ranked] == [1]
    assert ranked[0][1] == pytest.approx(3.0)
    one = SEALSettings(alpha=1.0, candidates=1)
    assert len(rank_documents(index, [NGram((3, 4), 2.0, 3)], one)) == 1
