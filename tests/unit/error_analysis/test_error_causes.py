"""Each cause, by a case made for it."""

from typing import ClassVar

import pytest

from gemkr_hf.evaluation.error_analysis import (
    Cause,
    Evidence,
    GeneratedClue,
    SearchReplay,
    classify,
)
from gemkr_hf.evaluation.error_analysis.search_replay import pieces_of
from gemkr_hf.processing import Object
from tests.unit.error_analysis.errors_parts import DOCUMENTS, annotations, record, scene

TARGET = Object((12, 10, 50, 50), 0.9, "object")
OTHER = Object((90, 90, 130, 130), 0.8, "object")


def cause_of(retrieved, objects=(TARGET,), search=None, others=("gear",), **about):
    known = annotations(scene(others=others)).scenes["q-0"]
    return classify(Evidence(record(retrieved, **about), objects, known, search), DOCUMENTS)


def general(retrieved, objects=None, search=None, **about):
    return classify(Evidence(record(retrieved, **about), objects, None, search), DOCUMENTS)


def dropped(score: float, relevant: bool) -> SearchReplay:
    return SearchReplay(-1.0, {}, (GeneratedClue("has a tale", score, relevant),))


def test_a_relevant_first_document_is_a_hit() -> None:
    found = cause_of(["anchor/meaning", "gear/use"], objects=())
    assert (found.cause, found.rank, found.detail) == (Cause.HIT, 1, "")


def test_an_object_without_a_matching_box_is_not_found() -> None:
    found = cause_of(["gear/meaning", "anchor/meaning"], objects=(OTHER,))
    assert (found.cause, found.rank) == (Cause.OBJECT_NOT_FOUND, 2)
    assert "None of the detected boxes matches the red anchor at the top left" in found.detail
    assert "0.00" in found.detail
    assert "No box was detected" in cause_of(["gear/meaning"], objects=()).detail


def test_a_box_with_an_iou_of_one_half_does_not_match() -> None:
    half = Object((10, 10, 30, 50))
    assert cause_of(["gear/meaning"], objects=(half,)).cause is Cause.OBJECT_NOT_FOUND


def test_without_a_detector_no_cause_is_about_objects() -> None:
    assert cause_of(["gear/meaning"], objects=None).cause is Cause.WRONG_OBJECT


def test_a_dropped_clue_with_the_best_score_is_the_cause() -> None:
    found = cause_of(["gear/meaning"], search=dropped(-0.5, relevant=True))
    assert found.cause is Cause.CLUE_AMBIGUOUS
    assert "“has a tale” (score -0.50)" in found.detail
    assert general(["gear/use"], search=dropped(-0.5, relevant=True)).cause is Cause.CLUE_AMBIGUOUS


@pytest.mark.parametrize("search", [dropped(-0.5, relevant=False), dropped(-1.5, relevant=True)])
def test_irrelevant_or_lower_dropped_clues_are_not_the_cause(search) -> None:
    assert cause_of(["gear/meaning"], search=search).cause is Cause.WRONG_OBJECT


def test_no_retrieved_documents_is_a_separate_cause() -> None:
    found = cause_of([])
    assert (found.cause, found.rank) == (Cause.NOTHING_RETRIEVED, None)
    assert general([]).cause is Cause.NOTHING_RETRIEVED


def test_the_right_symbol_with_another_aspect() -> None:
    found = cause_of(["anchor/use"])
    assert found.cause is Cause.WRONG_ASPECT
    assert found.detail == (
        "The question asks for the meaning of the anchor, the document describes its use."
    )


def test_the_right_symbol_in_a_document_about_another_symbol() -> None:
    by_clue = cause_of([("gear/use", "beside an Anchor stands")])
    assert by_clue.cause is Cause.RIGHT_SYMBOL_WRONG_DOCUMENT
    assert by_clue.detail == "Its clue mentions the anchor, but it is about the gear."
    by_text = cause_of(["umbrella/use"])
    assert by_text.cause is Cause.RIGHT_SYMBOL_WRONG_DOCUMENT
    assert by_text.detail == "Its text mentions the anchor, but it is about the umbrella."


def test_another_object_of_the_scene_takes_precedence_over_the_text() -> None:
    assert cause_of(["umbrella/use"], others=("umbrella",)).cause is Cause.WRONG_OBJECT


def test_another_object_of_the_scene_with_either_aspect() -> None:
    found = cause_of(["gear/meaning"])
    assert found.cause is Cause.WRONG_OBJECT
    assert found.detail.endswith("describes that of the blue gear at the bottom right.")
    assert cause_of(["gear/use"]).detail.endswith(
        "describes the use of the blue gear at the bottom right."
    )


def test_a_symbol_that_is_not_in_the_scene() -> None:
    found = cause_of(["umbrella/meaning"])
    assert found.cause is Cause.OBJECT_MISTAKEN
    assert found.detail.startswith("It is about the umbrella; the scene shows the red anchor")
    assert cause_of(["of no symbol"]).cause is Cause.OBJECT_MISTAKEN


def test_relevant_documents_that_are_not_in_the_knowledge_base() -> None:
    found = general(["gear/use"], relevant=("lost", "gone"))
    assert found.cause is Cause.NOT_IN_CORPUS
    assert found.detail == "Not found: “lost”, “gone”."
    assert general(["gear/use"], relevant=("lost", "anchor/use")).cause is not Cause.NOT_IN_CORPUS
    assert general(["gear/use"], relevant=(), preset="word").cause is Cause.NOT_RETRIEVED


def test_without_a_scene_an_image_without_boxes_is_the_cause() -> None:
    assert general(["gear/use"], objects=()).cause is Cause.NO_OBJECT
    assert general(["gear/use"], objects=(OTHER,)).cause is Cause.NOT_RETRIEVED


def test_without_a_scene_a_hit_further_down_has_its_rank() -> None:
    found = general(["gear/use", "umbrella/use", "anchor/meaning"])
    assert (found.cause, found.rank) == (Cause.RELEVANT_LOWER, 3)


def test_without_a_scene_an_answer_in_a_document_that_is_not_relevant() -> None:
    found = general(["gear/use", "umbrella/use"])
    assert (found.cause, found.rank) == (Cause.ANSWER_ELSEWHERE, None)
    assert found.detail == "The document at rank 2 contains “anchor”."
    assert general(["gear/use"]).cause is Cause.NOT_RETRIEVED
    assert general(["umbrella/use"], answers=()).cause is Cause.NOT_RETRIEVED


def test_every_cause_has_a_one_sentence_explanation() -> None:
    for cause in Cause:
        assert cause.explanation.endswith(".") and cause.explanation[0].isupper()
        assert ". " not in cause.explanation
    assert len({cause.label for cause in Cause}) == len(Cause)


def test_invalid_scenes() -> None:
    with pytest.raises(ValueError, match="row of the symbols dataset: 'by' missing"):
        annotations({"question_id": "q", "aspect": "use"})
    row = scene()
    row["objects"][0]["target"] = False
    with pytest.raises(ValueError, match="'q-0' must have one target object, got 0"):
        annotations(row)


def test_pieces_of_a_clue_are_separated() -> None:
    class Node:
        def __init__(self, token, parent):
            self.token, self.parent = token, parent

    class Trace:
        nodes: ClassVar = [Node(-1, -1), Node(5, 0), Node(6, 1), Node(-1, 2), Node(7, 3)]

    assert pieces_of(Trace(), 4) == [[5, 6], [7]]
    assert pieces_of(Trace(), 2) == [[5, 6]]
