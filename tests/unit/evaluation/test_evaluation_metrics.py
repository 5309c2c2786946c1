import random

import pytest

from gemkr_hf.baselines import BM25Retriever
from gemkr_hf.evaluation.metrics import score_run
from gemkr_hf.toy.quickstart.quickstart_systems import any_object_right_aspect


def test_k_is_the_denominator_even_with_fewer_documents() -> None:
    metrics = score_run(
        {"1": ["a", "b"], "2": ["c"], "3": []}, {"1": ["b"], "2": ["c", "d"], "3": ["e"]}
    )
    assert metrics.precision_at_1 == pytest.approx(1 / 3)
    assert metrics.precision_at_5 == pytest.approx(2 / 15)
    assert metrics.recall_at_5 == pytest.approx(2 / 3)
    assert metrics.questions == 3


def test_recall_at_5_does_not_see_the_sixth() -> None:
    metrics = score_run({"1": ["a", "b", "c", "d", "e", "f"]}, {"1": ["f"]})
    assert (metrics.recall_at_5, metrics.recall_at_10) == (0.0, 1.0)


def test_a_question_without_an_answer_of_the_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks 1 questions, the first is '2'"):
        score_run({"1": ["a"]}, {"1": ["a"], "2": ["b"]})
    with pytest.raises(ValueError, match="no questions"):
        score_run({}, {})


def test_any_object_right_aspect_is_what_guessing_the_object_gives() -> None:
    numbers = [1, 2, 3, 4] * 500
    expected = any_object_right_aspect(numbers)
    rng = random.Random(0)
    run = {
        str(row): rng.sample([f"{row}/{place}" for place in range(number)], number)
        for row, number in enumerate(numbers)
    }
    guessed = score_run(run, {name: [f"{name}/0"] for name in run})
    assert guessed.precision_at_1 == pytest.approx(expected.precision_at_1, abs=0.03)
    assert guessed.recall_at_5 == expected.recall_at_5 == 1.0
    assert guessed.precision_at_5 == pytest.approx(expected.precision_at_5)


def test_bm25_finds_words_and_clamps_k() -> None:
    documents = [
        {"id": 7, "text": "The ram stands for Aries."},
        {"id": 8, "text": "A pair of scales weighs gold."},
    ]
    bm25 = BM25Retriever()
    bm25.index(documents)
    found = bm25.retrieve(None, ["What do scales weigh?"], k=10)[0]
    assert [one.document_id for one in found] == ["8"]  # the other shares no word with the question
