"""The report as a reader's browser takes it."""

import base64
import re
from io import BytesIO

import pytest
from PIL import Image

from gemkr_hf.evaluation.error_analysis import Cause, analyze_errors, write_error_report
from gemkr_hf.evaluation.question_records import make_records
from gemkr_hf.evaluation.run_metrics import score
from gemkr_hf.processing import Object
from gemkr_hf.retrieval.types import Run
from gemkr_hf.toy.symbols import load_symbols
from gemkr_hf.toy.symbols.scene_annotations import scene_annotations
from tests.conftest import SHORT
from tests.unit.error_analysis.errors_parts import (
    DOCUMENTS,
    Page,
    annotations,
    make_image,
    record,
    scene,
)

RECORDS = [
    record(["anchor/meaning"], name="q-0"),
    record([("gear/meaning", "gear has a tale"), "anchor/meaning"], name="q-1"),
    record(["umbrella/meaning"], name="q-2"),
    record([], name="q-3"),
]
IMAGES = {f"image-q-{number}": make_image() for number in range(4)}
SCENES = annotations(*[scene(f"q-{number}") for number in range(4)])


class Processor:
    """Finds both objects of every scene."""

    detector = "one"

    def detect(self, images):
        found = [Object((10, 10, 50, 50), 0.9, "<b>sign"), Object((90, 90, 130, 130), 0.8)]
        return [found for _ in images]


def written(tmp_path, records=RECORDS, images=IMAGES, documents=DOCUMENTS, **options) -> Page:
    path = tmp_path / "deep" / "e.html"
    analysis = write_error_report(records, path, images, documents, **options)
    assert sum(analysis.counts().values()) == len(records)
    assert [file.name for file in path.parent.iterdir()] == ["e.html"]
    return Page(path.read_text(encoding="utf-8"))


def test_a_card_for_each_failed_question(tmp_path) -> None:
    page = written(tmp_path, processor=Processor(), scenes=SCENES)
    assert page.open == []
    assert [card["data-cause"] for card in page.cards] == [
        "nothing-retrieved",
        "wrong-object",
        "object-mistaken",
    ]
    assert "3 of 4 questions did not get a hit" in page.words
    assert "All of them are shown." in page.words
    assert "P@1 0.250" in page.words
    assert page.marked == ["gear has a tale"]
    assert len(page.ids) == len(set(page.ids))


def test_images_are_in_the_file_and_say_what_they_show(tmp_path) -> None:
    page = written(tmp_path, processor=Processor(), scenes=SCENES)
    assert len(page.images) == 3 + 2 * 2  # cards, and two pairs of symbols
    for image in page.images:
        head, content = image["src"].split(",", 1)
        assert re.fullmatch(r"data:image/(jpeg|png);base64", head)
        with Image.open(BytesIO(base64.b64decode(content))) as opened:
            opened.load()
            assert max(opened.size) <= 440
        assert image["alt"]
    [card, *_] = [image["alt"] for image in page.images if "image-q-1" in image["alt"]]
    assert "2 numbered boxes" in card
    assert "a dashed box around the red anchor at the top left" in card


def test_nothing_comes_from_elsewhere_and_nothing_runs(tmp_path) -> None:
    page = written(tmp_path, processor=Processor(), scenes=SCENES)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    for given in page.attributes:
        assert not any(name.startswith("on") for name in given)
        assert "href" not in given
        assert given.get("src", "data:").startswith("data:")


def test_whatever_a_document_says_is_text(tmp_path) -> None:
    evil = (
        "</p><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} {% raw %} \"'&amp;"
    )
    documents = {
        "gear/meaning": {"id": "gear/meaning", "title": evil, "text": f"gear {evil}"},
        '"><script>': {"id": '"><script>', "text": evil},
    }
    asked = record(
        [("gear/meaning", evil), '"><script>'], relevant=["lost<script>"], answers=[evil], name=evil
    )
    asked = type(asked)(**{**vars(asked), "question": evil, "system": evil, "image_id": evil})
    page = written(tmp_path, [asked], {evil: make_image()}, documents, processor=Processor())
    assert "script" not in page.tags
    assert len(page.images) == 1
    assert not any(name.startswith("on") for given in page.attributes for name in given)
    assert page.text.count("{{ 7 * 7 }}") >= 7  # title, heading, question, id, documents, clue
    assert page.marked == [evil]
    assert "not in the knowledge base" in page.words


def test_more_cards_than_the_limit_are_counted(tmp_path) -> None:
    many = [record(["umbrella/meaning"], name=f"q-{number}") for number in range(9)]
    page = written(tmp_path, many, {}, limit=2)
    assert len(page.cards) == 2
    assert "2 of 9 are shown, chosen from the causes in turn; 7 are not shown." in page.words


def test_hits_have_cards_where_they_are_wanted(tmp_path) -> None:
    page = written(tmp_path, processor=Processor(), scenes=SCENES, include_hits=True)
    assert [card["data-cause"] for card in page.cards][-1] == "hit"
    assert len(page.cards) == 4
    assert "All of them are shown." in page.words


def test_a_run_without_errors(tmp_path) -> None:
    page = written(tmp_path, RECORDS[:1], scenes=SCENES)
    assert page.cards == []
    assert "Every one of 1 question got a hit" in page.words
    assert "Failed questions" not in page.words


def test_a_benchmark_and_a_system_of_which_little_is_known(tmp_path) -> None:
    found = analyze_errors(RECORDS, {}, DOCUMENTS)
    assert found.counts() == {
        Cause.HIT: 1,
        Cause.NOTHING_RETRIEVED: 1,
        Cause.RELEVANT_LOWER: 1,
        Cause.NOT_RETRIEVED: 1,
    }
    plain = [
        record([document["id"] for document in r.retrieved], name=r.question_id) for r in RECORDS
    ]
    page = written(tmp_path, plain, {})
    assert len(page.cards) == 3
    for word in ("clue", "aspect", "Dashed", "objects detected", "Confused symbols", "dropped"):
        assert word not in page.words, word
    assert page.images == []


def test_mistakes_are_told_before_any_work(tmp_path) -> None:
    def refused(match, records=RECORDS, path="e.html", **options) -> None:
        with pytest.raises(ValueError, match=match):
            write_error_report(records, tmp_path / path, IMAGES, DOCUMENTS, **options)

    refused("no records", records=[])
    refused("at least 0 cards, got -1", limit=-1)
    refused("is a folder", path="")
    refused("'q-0' more than once", records=[RECORDS[0], RECORDS[0]])
    refused(
        "2 questions have no scene, the first is 'q-2'",
        scenes=annotations(scene("q-0"), scene("q-1")),
    )
    other = type(RECORDS[0])(**{**vars(RECORDS[1]), "system": "BM25"})
    refused(r"of one system, got \['BM25', 'GeMKR'\]", [RECORDS[0], other])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_quickstarts_model(tmp_path, retriever, short_quickstart) -> None:
    rows = load_symbols(SHORT.symbols, cache_dir=short_quickstart / "data")["test"]
    hits = retriever.retrieve(list(rows["image"]), list(rows["question"]), k=5)
    run = Run(
        "GeMKR",
        {
            n: [h.document["id"] for h in found]
            for n, found in zip(rows["question_id"], hits, strict=True)
        },
        {n: [h.score for h in found] for n, found in zip(rows["question_id"], hits, strict=True)},
        None,
        {
            n: [h.clues[0].text for h in found]
            for n, found in zip(rows["question_id"], hits, strict=True)
        },
    )
    records = make_records(run, score(run, list(rows)), list(rows))
    images = {row["image_id"]: row["image"] for row in rows}
    scenes = scene_annotations(rows)
    knowledge_base = retriever.knowledge_base
    found = analyze_errors(records, images, knowledge_base, retriever=retriever, scenes=scenes)
    failed = [finding for finding in found.findings if finding.cause is not Cause.HIT]
    assert len(failed) == sum(record.measures["P@1"] == 0 for record in records) > 0
    assert all(finding.evidence.objects for finding in failed)
    searched = [finding.evidence.search for finding in failed if finding.evidence.search]
    assert len(searched) >= 0.8 * len(failed)
    assert all(search.clues for search in searched)

    page = written(
        tmp_path,
        records,
        images,
        knowledge_base,
        retriever=retriever,
        scenes=scenes,
        limit=5,
    )
    assert len(page.cards) == min(5, len(failed))
    assert page.marked


def test_clues_that_several_documents_hold_are_learned_from_the_trace(tmp_path, retriever) -> None:
    # With clues of one or two tokens many end while they are ambiguous.
    short = {"min_length": 1, "max_length": 2}
    knowledge_base = retriever.knowledge_base
    hits = retriever.retrieve(make_image(), record().question, k=3, **short)
    ids = [hit.document["id"] for hit in hits]
    texts = {d["id"]: " " + d["text"] for d in knowledge_base if d["id"] not in ids}

    def search_of(asked):
        [finding] = analyze_errors(
            [asked],
            {asked.image_id: make_image()},
            knowledge_base,
            retriever=retriever,
            decoding=short,
        ).findings
        return finding.evidence.search

    dropped = search_of(record(ids, relevant=list(texts)[:1])).dropped
    scores = [clue.score for clue in dropped]
    assert dropped and scores == sorted(scores, reverse=True)
    written_clue, holder = next(
        (clue.text, name)
        for clue in dropped
        for name, text in texts.items()
        if f" {clue.text} " in text  # whole words are tokens of their own
    )

    asked = record(ids, relevant=[holder])
    relevant = [clue.text for clue in search_of(asked).dropped if clue.relevant]
    assert written_clue in relevant
    assert all(text in texts[holder] for text in relevant)
    page = written(
        tmp_path,
        [asked],
        {asked.image_id: make_image()},
        knowledge_base,
        retriever=retriever,
        decoding=short,
    )
    assert "Dropped clues (several documents contain them)" in page.words
    assert search_of(record(ids[::-1], relevant=[holder])) is None  # another first document
