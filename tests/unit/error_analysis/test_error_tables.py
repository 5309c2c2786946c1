"""Confusion tables, and the choice and content of cards."""

from gemkr_hf.evaluation.error_analysis import Cause, Evidence, classify
from gemkr_hf.evaluation.error_analysis.confusion import (
    aspects_table,
    causes_by_objects,
    causes_by_rank,
    causes_by_reference,
    count_causes,
    symbol_pairs,
)
from gemkr_hf.evaluation.error_analysis.question_cards import choose_questions, mark_clues
from gemkr_hf.processing import Object
from gemkr_hf.toy.symbols import ASPECTS
from tests.unit.error_analysis.errors_parts import DOCUMENTS, annotations, record, scene


def findings(*asked):
    """Of (retrieved, settings of the scene)."""
    found = []
    for number, (retrieved, settings) in enumerate(asked):
        name = f"q-{number}"
        known = annotations(scene(name, **settings)).scenes[name]
        found.append(classify(Evidence(record(retrieved, name=name), None, known), DOCUMENTS))
    return found


def as_dict(table):
    return {cell: count for cell, count in table.counts.stack().items() if count}


RUN = findings(
    (["anchor/meaning"], {"others": ()}),
    (["anchor/use"], {"by": "place"}),
    (["gear/meaning", "anchor/meaning"], {}),
    (["umbrella/meaning"], {}),
    (["umbrella/meaning"], {"others": ("gear", "umbrella")}),
    ([], {"aspect": "origin", "by": "only"}),
)


def test_counts_are_in_the_order_of_the_causes() -> None:
    assert list(count_causes(RUN).items()) == [
        (Cause.HIT, 1),
        (Cause.NOTHING_RETRIEVED, 1),
        (Cause.WRONG_ASPECT, 1),
        (Cause.WRONG_OBJECT, 2),
        (Cause.OBJECT_MISTAKEN, 1),
    ]


def test_asked_and_retrieved_aspects() -> None:
    table = aspects_table(RUN, DOCUMENTS, ASPECTS)
    assert list(table.counts.columns) == ["meaning", "origin", "use", "nothing"]
    assert as_dict(table) == {
        ("meaning", "meaning"): 4,
        ("meaning", "use"): 1,
        ("origin", "nothing"): 1,
    }
    assert table.counts.sum(axis="columns").tolist() == [5, 1, 0]
    assert table.shares.at["meaning", "meaning"] == 0.8
    assert table.shares.loc["use"].tolist() == [0.0] * 4


def test_documents_of_no_symbol_have_a_column() -> None:
    table = aspects_table(findings((["elsewhere"], {})), DOCUMENTS, ASPECTS)
    assert as_dict(table) == {("meaning", "not of a symbol"): 1}


def test_causes_by_objects_and_by_reference() -> None:
    objects = causes_by_objects(RUN)
    assert list(objects.counts.columns) == ["1", "2", "3"]
    assert as_dict(objects)["wrong object", "3"] == 1
    assert objects.counts.sum().tolist() == [1, 4, 1]
    assert as_dict(causes_by_reference(RUN))["nothing retrieved", "only"] == 1


def test_causes_by_rank_are_of_failed_questions() -> None:
    table = causes_by_rank(RUN)
    assert as_dict(table)["wrong object", "2"] == 1
    assert table.counts.to_numpy().sum() == 5
    assert causes_by_rank(RUN[:1]) is None


def test_without_scenes_the_objects_are_those_found() -> None:
    box = Object((0, 0, 9, 9))
    found = [
        classify(Evidence(record(["gear/use"]), boxes), DOCUMENTS) for boxes in ([box] * 12, [box])
    ]
    assert list(causes_by_objects(found).counts.columns) == ["1", "12"]
    assert aspects_table(found, DOCUMENTS, ASPECTS) is None
    assert causes_by_reference(found) is None
    assert symbol_pairs(found, DOCUMENTS) == []


def test_pairs_of_symbols_the_most_frequent_first() -> None:
    pairs = symbol_pairs(RUN, DOCUMENTS)
    assert [(pair.relevant, pair.retrieved, pair.count, pair.in_scene) for pair in pairs] == [
        ("anchor", "umbrella", 2, 1),
        ("anchor", "gear", 1, 1),
    ]
    assert pairs[0].chars == ("⚓", "☂")


def test_causes_take_turns_and_hits_come_last() -> None:
    many = findings(
        *[(["umbrella/meaning"], {})] * 9, (["anchor/use"], {}), *[(["anchor/meaning"], {})] * 3
    )
    chosen = [finding.cause for finding in choose_questions(many, 4, include_hits=True)]
    assert chosen == [Cause.WRONG_ASPECT, *[Cause.OBJECT_MISTAKEN] * 3]
    assert len(choose_questions(many, 100, include_hits=False)) == 10
    assert [f.cause for f in choose_questions(many, 12, include_hits=True)][-2:] == [Cause.HIT] * 2
    assert choose_questions(many, 0, include_hits=True) == []


def test_clues_are_marked_where_they_stand() -> None:
    def marked(*arguments):
        return "".join(f"[{p.text}]" if p.marked else p.text for p in mark_clues(*arguments))

    assert marked("one two three four", ["two three"]) == "one [two three] four"
    assert marked("one two three four", ["three", "two three ... one"]) == "[one] [two three] four"
    assert marked("one two", ["Two", ""]) == "one two"
    assert marked("", ["one"]) == ""


def test_long_texts_are_cut_around_the_first_clue() -> None:
    text = "a" * 3000 + " clue " + "b" * 3000
    parts = mark_clues(text, ["clue"])
    assert [part.text for part in parts if part.marked] == ["clue"]
    assert parts[0].text == "… " and parts[-1].text == " …"
    assert sum(len(part.text) for part in parts) < 720
    assert mark_clues(text, [])[0].text.startswith("aaa")
