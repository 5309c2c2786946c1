"""Questions of every format, in all its variants, and the errors of invalid files."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gemkr_hf.data import QUESTION_FEATURES, DataConfig, read_questions
from tests.unit.data.data_files import gemkr_records, okvqa_records, remuq_records, write_json


def read(path: Path, data_format: str, **options: Any) -> datasets.Dataset:
    return read_questions(path, DataConfig(format=data_format, train=str(path), **options))


TABLE = "question,image,document,answer\nWhat is it?,1.png,7;8,a race; a ride\nWho?,2.png,,\n"


@pytest.mark.parametrize(
    ("data_format", "content"),
    [
        ("okvqa", json.dumps(okvqa_records())),
        ("remuq", json.dumps(remuq_records())),
        ("gemkr", json.dumps(gemkr_records())),
        ("table", TABLE),
    ],
)
def test_every_format_gives_the_same_features(
    data_format: str, content: str, tmp_path: Path
) -> None:
    path = tmp_path / ("q.csv" if data_format == "table" else "q.json")
    path.write_text(content)
    questions = read(path, data_format)
    assert questions.features == QUESTION_FEATURES
    assert all(row["question"].endswith("?") for row in questions)
    for row in questions:
        assert len(row["answers"]) == len(row["answer_scores"])


@pytest.mark.parametrize("prefix", ["", "google:", "GS_"])
def test_okvqa(prefix: str, tmp_path: Path) -> None:
    row = read(write_json(tmp_path / "q.json", okvqa_records(prefix)), "okvqa")[0]
    assert row["question_id"] == "2971476"
    assert row["image_id"] == "COCO_val2014_000000000001"
    assert row["question"] == "What is number 1?"
    assert row["caption"] == "an image of 1."
    assert row["answers"] == ["race", "ride"]
    assert row["answer_scores"] == pytest.approx([1.0, 0.6])
    assert row["relevant_ids"] == ["1"]
    assert row["negative_ids"] == []


def test_okvqa_with_marks_takes_what_has_the_answer(tmp_path: Path) -> None:
    records = okvqa_records(marked=True)
    # One mark in the file is enough: what has none there has no answer.
    records[1]["ctxs"] = [{"id": 2, "text": "Text"}]
    records[2]["negatives"] = [{"id": "GS_5", "text": "x"}, "google:6", 3]
    rows = list(read(write_json(tmp_path / "q.json", records), "okvqa"))
    assert [row["relevant_ids"] for row in rows] == [["1"], [], ["3"]]
    assert [row["negative_ids"] for row in rows] == [["2"], ["2"], ["4", "5", "6"]]


def test_okvqa_as_json_lines_without_captions_and_with_listed_answers(tmp_path: Path) -> None:
    records = okvqa_records()
    for record in records:
        del record["caption"]
        record["answers"] = ["race", "ride"]
        record["image_id"] = int(record.pop("img_id")[-12:])
    path = tmp_path / "q.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, records)) + "\n\n", encoding="utf-8")
    row = read(path, "okvqa")[2]
    assert row["image_id"] == "3"
    assert row["caption"] == ""
    assert row["answer_scores"] == [1.0, 1.0]


def test_okvqa_without_documents_is_to_measure_on(tmp_path: Path) -> None:
    records = [{**record, "ctxs": None} for record in okvqa_records()]
    del records[0]["ctxs"]
    rows = list(read(write_json(tmp_path / "q.json", records), "okvqa"))
    assert [row["relevant_ids"] for row in rows] == [[], [], []]
    assert rows[0]["answers"] == ["race", "ride"]


def test_remuq_takes_the_first_document_and_its_exact_id(tmp_path: Path) -> None:
    row = read(write_json(tmp_path / "test.json", remuq_records()), "remuq")[1]
    assert row["image_id"] == "30000002"
    assert row["relevant_ids"] == ["webqa_2"]
    assert row["answers"] == ["a bridge"]


def test_gemkr_with_answers(tmp_path: Path) -> None:
    row = read(write_json(tmp_path / "test.json", gemkr_records()), "gemkr")[0]
    assert row["question_id"] == "test-1"
    assert (row["question"], row["caption"]) == ("What is number 1?", "an image of 1.")
    assert row["answers"] == ["race", "ride"]
    assert row["clues"] == row["relevant_ids"] == []


def test_gemkr_gathers_the_clues_of_a_question(tmp_path: Path) -> None:
    first, second, third = gemkr_records()
    records = [{**first, "output": "motocross is"}, {**second, "output": "vines climb"}]
    records += [{**first, "output": "a race of"}, {**third, "image": "x", "output": "bears"}]
    rows = list(read(write_json(tmp_path / "train.json", records), "gemkr"))
    assert [row["clues"] for row in rows] == [
        ["motocross is", "a race of"],
        ["vines climb"],
        ["bears"],
    ]
    assert rows[0]["answers"] == []


def test_table_with_columns_of_other_names(tmp_path: Path) -> None:
    records = [
        {"q": "What?", "file": "a.png", "docs": ["x", "y"], "question_id": 4, "caption": "a"}
    ]
    options = {"question_column": "q", "image_column": "file", "documents_column": "docs"}
    (tmp_path / "q.jsonl").write_text(json.dumps(records[0]))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "q.parquet")
    for name in ("q.jsonl", "q.parquet"):
        row = read(tmp_path / name, "table", **options)[0]
        assert (row["question_id"], row["caption"]) == ("4", "a")
        assert row["relevant_ids"] == ["x", "y"]


def test_table_cells(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(TABLE)
    rows = list(read(tmp_path / "q.csv", "table"))
    assert [row["question_id"] for row in rows] == ["q-1", "q-2"]
    assert rows[0]["relevant_ids"] == ["7", "8"]
    assert rows[0]["answers"] == ["a race", "a ride"]
    assert rows[1]["relevant_ids"] == rows[1]["answers"] == []
    (tmp_path / "q.tsv").write_text(TABLE.replace(",", "\t").replace(";", "|"))
    row = read(tmp_path / "q.tsv", "table", separator="|")[0]
    assert row["relevant_ids"] == ["7", "8"]


def broken(change: Any) -> str:
    """The three questions, one on each line, the second one changed."""
    records = okvqa_records()
    change(records[1])
    return "[\n" + ",\n".join(map(json.dumps, records)) + "\n]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            broken(lambda r: r.pop("ctxs")),
            r"Record 2 \(line 3\) of '.*' has no 'ctxs', but other records have it",
        ),
        (broken(lambda r: r.pop("img_id")), r"Record 2 \(line 3\).* no 'img_id' or 'image_id'"),
        (broken(lambda r: r.update(question=" ")), r"Record 2 \(line 3\).* an empty 'question'"),
        (broken(lambda r: r.update(question=[1])), r"'question' must be a string, got '\[1\]'"),
        (broken(lambda r: r.update(answers=7)), None),
        (
            broken(lambda r: r.update(answers={"a": "x"})),
            r"score of 'a' .* a number, got 'x'",
        ),
        (broken(lambda r: r.update(answers={"a": float("nan")})), r"score of 'a' .* is nan"),
        (broken(lambda r: r.update(answers=[{}])), r"'answers' must be an object answer"),
        (broken(lambda r: r.update(ctxs={})), None),
        (broken(lambda r: r.update(ctxs="x")), r"'ctxs' must be a list, got 'x'"),
        (broken(lambda r: r["ctxs"][0].pop("id")), r"line 3.*: item 1 of 'ctxs' has no 'id' or"),
        (
            broken(lambda r: r["ctxs"][0].update(has_answer="no")),
            r"'has_answer' must be true or false, got 'no'",
        ),
        (
            broken(lambda r: r.update(question_id=2971476)),
            r"'2971476' occurs 2 times in '.*q.json'",
        ),
        (broken(lambda r: None)[:-1], r"'.*q.json' is truncated after record 3"),
        (broken(lambda r: None)[:-20], r"Record 3 \(line 4\) of .* is not valid JSON: .* column"),
        (broken(lambda r: None) + "x", r"has content after the list, which ends in line 5"),
        (
            broken(lambda r: None).replace("},\n", "}\n", 1),
            r"JSON after record 1 \(line 3\)",
        ),
        ("[]", r"No questions in"),
        ("", r"No questions in"),
        ("[1]", r"Record 1 \(line 1\) of .* is not an object"),
        ('{"questions": []}', r"Record 1 \(line 1\) of .*has no .*: its fields are questions"),
    ],
)
def test_errors_contain_line_and_field(content: str, message: str | None, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(content)
    if message is None:
        assert len(read(tmp_path / "q.json", "okvqa")) == 3
        return
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "q.json", "okvqa")


@pytest.mark.parametrize(
    ("data_format", "name", "content", "message"),
    [
        ("gemkr", "q.json", '[{"input": "a", "image": "b"}]', r"Record 1 .* has no 'output'"),
        (
            "gemkr",
            "q.json",
            '[{"input": "a", "image": "b", "output": 3}]',
            r"'output' must be a list of answers or a clue, got '3'",
        ),
        ("gemkr", "q.json", '[{"input": "a", "output": "b"}]', r"Record 1 .* has no 'image'"),
        (
            "remuq",
            "q.json",
            '[{"question": "a", "ctxs": []}]',
            r"has no 'question_id': its fields are question",
        ),
        (
            "remuq",
            "q.json",
            '[{"question": "a"}]',
            r"Record 1 .* has no 'ctxs': its fields are question",
        ),
        (
            "table",
            "q.csv",
            "q,image\na,b\n",
            r"No column 'question' in .* question_column",
        ),
        ("table", "q.csv", "question,p\na,b\n", r"No column 'image' in .* set image_column"),
        (
            "table",
            "q.csv",
            "question,image\na,b\n",
            r"No column 'document' in .* documents_column",
        ),
        ("table", "q.csv", TABLE + ",3.png,,\n", r"Record 3 of '.*q.csv' has an empty 'question'"),
        ("table", "q.csv", TABLE + "a,3.png\n", r"Line 4 of '.*q.csv' has 2 fields"),
        ("table", "q.csv", "question,image,answer\n", r"No questions in"),
        ("table", "q.xlsx", "x", r"questions are read from"),
    ],
)
def test_errors_of_other_formats(
    data_format: str, name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, data_format)


def test_missing_files_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"File not found: '.*none.json'"):
        read(tmp_path / "none.json", "okvqa")
    (tmp_path / "q.json").write_bytes("[ä".encode("latin-1"))
    with pytest.raises(ValueError, match=r"'.*q.json' is not valid UTF-8"):
        read(tmp_path / "q.json", "okvqa")
    with pytest.raises(ValueError, match=r"'symbols' has no question files"):
        read_questions(tmp_path / "q.json", DataConfig(format="symbols"))


def test_a_table_with_the_old_image_column_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,picture,document\nWhat?,a.png,7\n")
    with pytest.warns(FutureWarning, match="'picture' is deprecated .* use 'image'"):
        assert read(path, "table")[0]["image_id"] == "a.png"
    path.write_text("question,picture,image,document\nWhat?,a.png,b.png,7\n")
    assert read(path, "table")[0]["image_id"] == "b.png"
    assert read(path, "table", image_column="picture")[0]["image_id"] == "a.png"
