"""What a hit is under each preset (FACTS: every paper has its own)."""

import pytest

from gemkr_hf.evaluation.hits import (
    GOLD,
    HIT_PRESETS,
    check_preset,
    contains_answer,
    dpr_tokens,
    is_hit,
    mark_hits,
    reads_texts,
)

TEXT_PRESETS = [name for name in HIT_PRESETS if name != GOLD]

# Answer, text, and the presets under which the text is a hit.
CASES = {
    "a word as it stands": ("ram", "the ram of Aries", {"vrr", "dpr", "preflmr", "word", "gemkr"}),
    "part of a word": ("ram", "the ramp", {"vrr", "preflmr", "gemkr"}),
    "a large letter in the text": ("ram", "A Ram", {"vrr", "dpr", "preflmr", "word"}),
    "a large letter in the answer": ("Ram", "the ram", {"dpr", "preflmr", "word"}),
    "a large letter in both": ("Ram", "the Ram", {"dpr", "preflmr", "word", "gemkr"}),
    "spaces around the answer": (" ram ", "ram", {"dpr", "preflmr", "word"}),
    "other spaces between its words": ("rock  music", "the Rock music", {"dpr"}),
    "tokens written together": ("rock - n", "rock-n", {"dpr"}),
    "marks of its own": ("\u00e9clair", "an e\u0301clair", {"dpr"}),
    "an underscore after it": ("ram", "ram_1", {"vrr", "dpr", "preflmr", "gemkr"}),
    "a pattern's characters": ("c++", "in C++ and", {"vrr", "dpr", "preflmr", "word"}),
    "a dot is literal": ("c.t", "the cat", set()),
    "tokens that are not in a row": ("red ram", "the red old ram", set()),
    "nothing but spaces": ("  ", "a  b", set()),
    "nothing": ("", "", set()),
    "no tokens": ("\u200b", "", set()),
}


@pytest.mark.parametrize("case", CASES)
def test_each_preset_has_its_own_hits(case: str) -> None:
    answer, text, expected = CASES[case]
    assert {name for name in TEXT_PRESETS if contains_answer(name, [answer], text)} == expected


def test_no_two_presets_agree_on_all_cases() -> None:
    verdicts = {
        name: tuple(contains_answer(name, [answer], text) for answer, text, _ in CASES.values())
        for name in TEXT_PRESETS
    }
    assert len(set(verdicts.values())) == len(TEXT_PRESETS)


@pytest.mark.parametrize("preset", TEXT_PRESETS)
def test_one_answer_of_several_is_enough(preset: str) -> None:
    assert contains_answer(preset, ["goat", "", "ram"], "the ram")
    assert not contains_answer(preset, ["goat", "cow"], "the ram")


def test_tokens_of_dpr() -> None:
    assert dpr_tokens("A\u00e9\tB2, c\x00!") == ("ae\u0301", "b2", ",", "c", "!")


RECORD = {"question_id": "q", "relevant_ids": ["b", "c"], "answers": ["ram"]}
TEXTS = {"a": "the ram", "b": "the ox"}


def test_gold_looks_at_ids_and_counts_a_document_once() -> None:
    assert mark_hits("gold", RECORD, ["a", "b", "b", "c"], {}) == [False, True, False, True]
    assert not reads_texts("gold")


def test_only_gemkr_removes_what_came_back_twice() -> None:
    found = ["a", "b", "a"]
    assert mark_hits("gemkr", RECORD, found, TEXTS) == [True, False]
    for preset in set(TEXT_PRESETS) - {"gemkr"}:
        assert mark_hits(preset, RECORD, found, TEXTS) == [True, False, True]
        assert reads_texts(preset)


def test_a_document_that_is_not_in_the_corpus_is_named() -> None:
    with pytest.raises(
        ValueError, match="Document 'z', retrieved for question 'q', is not in the corpus"
    ):
        mark_hits("vrr", RECORD, ["a", "z"], TEXTS)


def test_an_unknown_preset_is_an_error() -> None:
    message = "Unknown hit preset 'em': choose gold, vrr, dpr, preflmr, word, gemkr"
    with pytest.raises(ValueError, match=message):
        check_preset("em")


def test_the_old_name_of_a_preset_still_works() -> None:
    assert check_preset("gold") == "gold"
    with pytest.warns(FutureWarning, match="'answer' is deprecated .* use 'vrr'"):
        assert check_preset("answer") == "vrr"


def test_any_id_of_a_document_may_be_the_relevant_one() -> None:
    assert is_hit("gold", RECORD, ["z", "b"], "")
    assert not is_hit("gold", RECORD, ["z"], "the ram")
    assert is_hit("vrr", RECORD, ["z"], "The RAM")
