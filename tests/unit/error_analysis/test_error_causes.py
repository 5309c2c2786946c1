"""Each cause, by a case made for it."""

from typing import ClassVar

import pytest

from gemkr_hf.evaluation.error_analysis import (
    Cause,
    Evidence,
    Search,
    WrittenClue,
    classify,
    read_truths,
)
from gemkr_hf.evaluation.error_analysis.repeated_search import pieces_of
from gemkr_hf.processing import Object
from tests.unit.error_analysis.errors_parts import DOCUMENTS, record, scene

TARGET = Object((12, 10, 50, 50), 0.9, "object")
OTHER = Object((90, 90, 130, 130), 0.8, "object")


def cause_of(retrieved, objects=(TARGET,), search=None, others=("gear",), **about):
    truth = read_truths([scene(others=others)])["q-0"]
    return classify(Evidence(record(retrieved, **about), objects, truth, search), DOCUMENTS)


def general(retrieved, objects=None, search=None, **about):
    return classify(Evidence(record(retrieved, **about), objects, None, search), DOCUMENTS)


def dropped(score: float, relevant: bool) -> Search:
    return Search(-1.0, {}, (WrittenClue("has a tale", score, relevant),))


def test_a_relevant_document_that_is_first_is_a_hit_whatever_else_is_known() -> None:
    found = cause_of(["anchor/meaning", "gear/use"], objects=())
    assert (found.cause, found.rank, found.detail) == (Cause.HIT, 1, "")


def test_an_object_that_no_box_covers_was_not_found() -> None:
    found = cause_of(["gear/meaning", "anchor/meaning"], objects=(OTHER,))
    assert (found.cause, found.rank) == (Cause.OBJECT_NOT_FOUND, 2)
    assert "None of the boxes found covers the red anchor at the top left" in found.detail
    assert "0.00" in found.detail
    assert "No box was found" in cause_of(["gear/meaning"], objects=()).detail


def test_a_box_that_overlaps_by_half_only_has_not_found_the_object() -> None:
    half = Object((10, 10, 30, 50))
    assert cause_of(["gear/meaning"], objects=(half,)).cause is Cause.OBJECT_NOT_FOUND


def test_where_nobody_looked_for_objects_no_cause_speaks_of_them() -> None:
    assert cause_of(["gear/meaning"], objects=None).cause is Cause.WRONG_OBJECT


def test_a_dropped_clue_that_would_have_won_was_ambiguous() -> None:
    found = cause_of(["gear/meaning"], search=dropped(-0.5, relevant=True))
    assert found.cause is Cause.CLUE_AMBIGUOUS
    assert "“has a tale” (score -0.50)" in found.detail
    assert general(["gear/use"], search=dropped(-0.5, relevant=True)).cause is Cause.CLUE_AMBIGUOUS


@pytest.mark.parametrize("search", [dropped(-0.5, relevant=False), dropped(-1.5, relevant=True)])
def test_dropped_clues_of_others_or_of_lower_score_explain_nothing(search) -> None:
    assert cause_of(["gear/meaning"], search=search).cause is Cause.WRONG_OBJECT


def test_an_empty_list_is_a_cause_of_its_own() -> None:
    found = cause_of([])
    assert (found.cause, found.rank) == (Cause.NOTHING_RETRIEVED, None)
    assert general([]).cause is Cause.NOTHING_RETRIEVED


def test_the_right_symbol_with_another_aspect() -> None:
    found = cause_of(["anchor/use"])
    assert found.cause is Cause.WRONG_ASPECT
    assert found.detail == "Asked for the meaning of the anchor, it tells its use."


def test_a_clue_or_a_text_that_names_the_right_symbol_in_another_ones_document() -> None:
    by_clue = cause_of([("gear/use", "beside an Anchor stands")])
    assert by_clue.cause is Cause.RIGHT_SYMBOL_WRONG_DOCUMENT
    assert by_clue.detail == "Its clue names the anchor; it is of the gear."
    by_text = cause_of(["umbrella/use"])
    assert by_text.cause is Cause.RIGHT_SYMBOL_WRONG_DOCUMENT
    assert by_text.detail == "Its text names the anchor; it is of the umbrella."


def test_another_object_of_the_scene_counts_before_a_text_that_names_the_symbol() -> None:
    assert cause_of(["umbrella/use"], others=("umbrella",)).cause is Cause.WRONG_OBJECT


def test_another_object_of_the_scene_with_either_aspect() -> None:
    found = cause_of(["gear/meaning"])
    assert found.cause is Cause.WRONG_OBJECT
    assert found.detail.endswith("it tells that of the blue gear at the bottom right.")
    assert cause_of(["gear/use"]).detail.endswith(
        "tells the use of the blue gear at the bottom right."
    )


def test_a_symbol_that_is_not_in_the_scene() -> None:
    found = cause_of(["umbrella/meaning"])
    assert found.cause is Cause.OBJECT_MISTAKEN
    assert found.detail.startswith("It is of the umbrella; the scene shows the red anchor")
    assert cause_of(["of no symbol"]).cause is Cause.OBJECT_MISTAKEN


def test_relevant_documents_that_are_not_in_the_knowledge_base() -> None:
    found = general(["gear/use"], relevant=("lost", "gone"))
    assert found.cause is Cause.NOT_IN_CORPUS
    assert found.detail == "There is no document “lost”, “gone”."
    assert general(["gear/use"], relevant=("lost", "anchor/use")).cause is not Cause.NOT_IN_CORPUS
    assert general(["gear/use"], relevant=(), preset="word").cause is Cause.NOT_RETRIEVED


def test_without_a_scene_a_image_without_boxes_is_the_cause() -> None:
    assert general(["gear/use"], objects=()).cause is Cause.NO_OBJECT
    assert general(["gear/use"], objects=(OTHER,)).cause is Cause.NOT_RETRIEVED


def test_without_a_scene_a_hit_further_down_is_told_with_its_rank() -> None:
    found = general(["gear/use", "umbrella/use", "anchor/meaning"])
    assert (found.cause, found.rank) == (Cause.RELEVANT_LOWER, 3)


def test_without_a_scene_an_answer_in_a_document_that_is_not_relevant() -> None:
    found = general(["gear/use", "umbrella/use"])
    assert (found.cause, found.rank) == (Cause.ANSWER_ELSEWHERE, None)
    assert found.detail == "The document at rank 2 holds “anchor”."
    assert general(["gear/use"]).cause is Cause.NOT_RETRIEVED
    assert general(["umbrella/use"], answers=()).cause is Cause.NOT_RETRIEVED


def test_every_cause_says_what_it_means_in_one_sentence() -> None:
    for cause in Cause:
        assert cause.explanation.endswith(".") and cause.explanation[0].isupper()
        assert ". " not in cause.explanation
    assert len({cause.label for cause in Cause}) == len(Cause)


def test_scenes_that_are_none() -> None:
    with pytest.raises(ValueError, match="rows of the symbols benchmark, which 'by' is missing"):
        read_truths([{"question_id": "q", "aspect": "use"}])
    row = scene()
    row["objects"][0]["target"] = False
    with pytest.raises(ValueError, match="'q-0' has 0"):
        read_truths([row])


def test_pieces_of_a_clue_come_apart() -> None:
    class Node:
        def __init__(self, token, parent):
            self.token, self.parent = token, parent

    class Trace:
        nodes: ClassVar = [Node(-1, -1), Node(5, 0), Node(6, 1), Node(-1, 2), Node(7, 3)]

    assert pieces_of(Trace(), 4) == [[5, 6], [7]]
    assert pieces_of(Trace(), 2) == [[5, 6]]
