"""Records of questions, and two runs compared by them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gemkr_hf.evaluation.comparison import compare, plot_comparison
from gemkr_hf.evaluation.question_records import (
    Record,
    make_records,
    mean_of,
    read_records,
    values_of,
    write_records,
)
from gemkr_hf.evaluation.run_metrics import score
from gemkr_hf.retrieval.types import Run

QUESTIONS: list[dict[str, Any]] = [
    {
        "question_id": f"q{number}",
        "image_id": f"image {number}",
        "question": f"What is “{number}”?",
        "relevant_ids": [f"d{number}"],
        "answers": ["ram"],
    }
    for number in range(3)
]
TEXTS = {"d0": "the ram", "d1": "the ox", "x": "a ram"}
RUN = Run(
    "GeMKR",
    {"q1": ["x", "d1", "x"], "q0": ["d0"]},
    {"q1": [-0.5, -1.5, -2.5], "q0": [-0.25]},
    clues={"q1": ["a", "the ox", "a r"], "q0": ["the"]},
)
MEASURES = ("P@1", "R@5", "nDCG@5", "distinct@5")


def make(preset: str = "gold") -> list[Record]:
    return make_records(RUN, score(RUN, QUESTIONS, preset, MEASURES, TEXTS), QUESTIONS)


def test_a_record_has_question_documents_and_hits() -> None:
    records = make()
    assert [record.question_id for record in records] == ["q0", "q1", "q2"]
    assert records[1] == Record(
        "q1",
        "image 1",
        "What is “1”?",
        ["d1"],
        ["ram"],
        "GeMKR",
        "gold",
        [
            {"id": "x", "score": -0.5, "hit": False, "clue": "a"},
            {"id": "d1", "score": -1.5, "hit": True, "clue": "the ox"},
            {"id": "x", "score": -2.5, "hit": False, "clue": "a r"},
        ],
        {"P@1": 0.0, "R@5": 1.0, "nDCG@5": pytest.approx(1 / np.log2(3)), "distinct@5": 2.0},
    )
    assert records[2].retrieved == []
    assert mean_of(records, "R@5") == pytest.approx(2 / 3)
    assert values_of(records, "P@1") == {"q0": 1.0, "q1": 0.0, "q2": 0.0}


def test_a_record_of_gemkr_holds_a_document_once_with_its_first_clue() -> None:
    retrieved = make("gemkr")[1].retrieved
    assert [(entry["id"], entry["clue"], entry["hit"]) for entry in retrieved] == [
        ("x", "a", True),
        ("d1", "the ox", False),
    ]


def test_a_measure_that_the_preset_does_not_define_is_left_out() -> None:
    records = make("vrr")
    assert set(records[0].measures) == {"P@1", "R@5", "distinct@5"}
    message = (
        r"records of 'GeMKR' \(hit preset vrr\) do not have nDCG@5: their measures are P@1, R@5"
    )
    with pytest.raises(ValueError, match=message):
        values_of(records, "nDCG@5")


def test_records_survive_their_file(tmp_path: Path) -> None:
    write_records(make(), tmp_path / "new" / "records.jsonl")
    assert read_records(tmp_path / "new" / "records.jsonl") == make()
    assert read_records(tmp_path / "new") == make()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["records.jsonl"]


def test_a_question_without_answers_is_recorded(tmp_path: Path) -> None:
    questions = [{name: q[name] for name in q if name != "answers"} for q in QUESTIONS]
    [first, *_] = make_records(RUN, score(RUN, questions), questions)
    assert first.answers == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [*lines, "{"], "Line 4 of .* is not a record of a question"),
        (lambda lines: [lines[0], "[]"], "Line 2 of .* is not a record"),
        (lambda lines: ['{"question_id": "q"}'], "Line 1 of .* is not a record"),
        (lambda lines: [*lines, "", lines[1]], "Line 5 of .* repeats question 'q1'"),
        (
            lambda lines: [lines[0], lines[1].replace('"gold"', '"vrr"')],
            "Line 2 .* has the hit preset 'vrr', the lines before it 'gold'",
        ),
        (lambda lines: [""], "contains no records"),
    ],
)
def test_invalid_records_are_errors(spoil, message, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(make(), path)
    path.write_text("\n".join(spoil(path.read_text(encoding="utf-8").splitlines())))
    with pytest.raises(ValueError, match=message):
        read_records(path)


def test_missing_records_are_an_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(FileNotFoundError, match="Records not found"):
            read_records(place)


def records_of(system: str, values: Any, measure: str = "P@5") -> list[Record]:
    return [
        Record(f"q{row}", "", "", [], [], system, "gold", [], {measure: float(value)})
        for row, value in enumerate(values)
    ]


def test_two_runs_are_compared_question_by_question() -> None:
    one = records_of("A", [1.0, 0.4, 0.2, 0.0, 0.6])
    other = records_of("B", [0.2, 0.4, 0.6, 0.2, 0.6])
    found = compare(one, other[::-1])  # in any order
    assert found.names == ("A", "B")
    assert (found.better, found.ties, found.worse) == (1, 2, 2)
    assert found.intervals[0].mean == pytest.approx(0.44)
    assert found.difference.mean == pytest.approx(0.04)
    assert found.difference.low < found.difference.mean < found.difference.high
    different = [(name, pytest.approx(value)) for name, value in found.most_different(2)]
    assert different == [("q0", 0.8), ("q2", -0.4)]
    assert [name for name, _ in found.most_different(9)] == ["q0", "q3", "q2"]


def test_a_comparison_has_a_p_value() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.binomial(5, 0.7, 100) / 5, rng.binomial(5, 0.4, 100) / 5
    assert compare(records_of("A", good), records_of("B", bad)).p < 0.001
    equal = compare(records_of("A", good), records_of("A", good))
    assert (equal.p, equal.difference.mean) == (1.0, 0.0)
    assert equal.names == ("A (first)", "A (second)")
    tests = ("fisher", "student")
    close = [compare(records_of("A", good), records_of("B", good[::-1]), test=t) for t in tests]
    assert tuple(found.test for found in close) == tests
    assert close[0].p != close[1].p


def test_runs_that_cannot_be_compared() -> None:
    one, other = records_of("A", [1, 0]), records_of("B", [0, 0])
    with pytest.raises(ValueError, match="1 questions are in only one of the runs, such as 'q1'"):
        compare(one, other[:1])
    with pytest.raises(ValueError, match=r"presets differ \('gold' and 'vrr'\)"):
        compare(one, [replace(record, preset="vrr") for record in other])
    with pytest.raises(ValueError, match=r"'A' .* do not have R@5: their measures are P@5"):
        compare(one, other, "R@5")
    with pytest.raises(ValueError, match="no records"):
        compare(one, [])
    with pytest.raises(ValueError, match="test must be one of"):
        compare(one, other, test="sign")


@pytest.mark.parametrize("measure", ["P@5", "nDCG@10"])
def test_the_plot_shows_both_runs(measure: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.random((2, 50)) * 5).round(0 if measure == "P@5" else 3) / 5
    found = compare(records_of("A", one, measure), records_of("B", other, measure), measure)
    plot_comparison(found, tmp_path / "new" / "plot.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plot.png"]
    with Image.open(tmp_path / "new" / "plot.png") as image:
        assert image.format == "PNG"
        assert image.size == (1650, 750)
        colors = {color for _, color in image.convert("RGB").getcolors(2**24)}
    # Where the one leads, and where the other.
    assert {(0x2B, 0x6C, 0xB0), (0xC0, 0x56, 0x21)} <= colors


@pytest.mark.filterwarnings("error")
def test_the_plot_of_equal_runs(tmp_path: Path) -> None:
    plot_comparison(compare(records_of("A", [0.2]), records_of("B", [0.2])), tmp_path / "p.svg")
    text = (tmp_path / "p.svg").read_text()
    assert text.lstrip().startswith("<?xml") and "<svg" in text


def test_an_unknown_plot_format_is_an_error(tmp_path: Path) -> None:
    found = compare(records_of("A", [0.2]), records_of("B", [0.2]))
    with pytest.raises(ValueError, match=r"end in .png, .svg, .pdf, got 'plot.gif'"):
        plot_comparison(found, tmp_path / "plot.gif")
