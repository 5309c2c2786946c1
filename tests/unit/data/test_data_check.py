"""``gemkr data check``, as its users call it."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gemkr_hf.cli import app
from gemkr_hf.data import DataConfig, load_benchmark
from gemkr_hf.knowledge_base import KnowledgeBase, load_tokenizer
from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS
from tests.unit.data.data_files import (
    gemkr_records,
    image_bytes,
    okvqa_records,
    write_images,
    write_json,
    write_okvqa_corpus,
)

YAML = """
data:
  format: okvqa
  train: train.json
  validation: 1
  documents: corpus.csv
  images: coco
training:
  epochs: 3
"""


def gemkr_data_check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data that can be trained on, with its configuration."""
    write_okvqa_corpus(tmp_path / "corpus.csv", "GS_")
    write_json(tmp_path / "train.json", okvqa_records())
    write_images(tmp_path / "coco", "val2014/COCO_val2014_{:012d}.jpg")
    (tmp_path / "own.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row_of(label: str, result: Result) -> list[str]:
    line = next(line for line in result.output.splitlines() if line.strip().startswith(label))
    return line.strip().removeprefix(label).split()


def test_data_that_match(folder: Path) -> None:
    result = gemkr_data_check("--config", "own.yaml", "--images-decode", 10)
    assert result.exit_code == 0, result.output
    assert row_of("questions", result) == ["2", "1"]
    for label in ("with answers", "with relevant documents", "all of them found"):
        assert row_of(label, result) == ["2", "1"]
    for label in ("some of them found", "none of them found", "with clues"):
        assert row_of(label, result) == ["0", "0"]
    assert row_of("with an existing image", result) == ["2", "1"]
    assert "documents  6 in 'corpus.csv'; 0 with a duplicate id" in result.output
    assert "images     3" in result.output
    assert "What is number 1? -> race, ride" in result.output
    assert '1: Text 1, with "quotes".' in result.output
    assert "Warning" not in result.output
    assert "can be used for training" in result.output


def test_options_win_over_the_configuration(folder: Path) -> None:
    write_json(folder / "other.json", okvqa_records()[:2])
    result = gemkr_data_check("--config", "own.yaml", "--train", "other.json")
    assert row_of("questions", result) == ["1", "1"]
    options = ["--format", "okvqa", "--train", "train.json", "--documents", "corpus.csv"]
    result = gemkr_data_check(*options, "--images", "coco/val2014", "--shown", 0)
    assert result.exit_code == 0, result.output
    assert row_of("questions", result) == ["3"]
    assert "->" not in result.output


def test_mismatches_are_listed(folder: Path) -> None:
    records = okvqa_records()
    records[0]["ctxs"].append({"id": 77})
    records[1]["ctxs"] = [{"id": 88}]
    records[2]["ctxs"], records[2]["answers"] = [], []
    write_json(folder / "test.json", records)
    (folder / "coco/val2014/COCO_val2014_000000000003.jpg").unlink()
    (folder / "coco/val2014/COCO_val2014_000000000002.jpg").write_bytes(image_bytes((1, 1, 1))[:50])
    with (folder / "corpus.csv").open("a") as file:
        file.write("17,\n")
    config = (folder / "own.yaml").read_text().replace("validation: 1", "test: test.json")
    (folder / "own.yaml").write_text(config)
    result = gemkr_data_check("--config", "own.yaml", "--images-decode", 10)
    assert result.exit_code == 0, result.output
    assert row_of("with answers", result) == ["3", "2"]
    assert row_of("with relevant documents", result) == ["3", "2"]
    assert row_of("all of them found", result) == ["3", "0"]
    assert row_of("some of them found", result) == ["0", "1"]
    assert row_of("none of them found", result) == ["0", "1"]
    assert row_of("with an existing image", result) == ["2", "2"]
    for warning in (
        "1 documents have no text",
        "test: none of the relevant documents exist for 1 questions, only some for 1",
        "test: question '2971476' names document '77', which is not in 'corpus.csv'",
        "test: question '2971477' names document '88'",
        "test: the image of 1 questions does not exist",
        "test: question '2971478': Image 'COCO_val2014_000000000003' not found in 'coco'",
        "COCO_val2014_000000000002.jpg is truncated",
    ):
        assert warning in result.output


@pytest.mark.parametrize("built", [False, True])
def test_documents_of_another_corpus_are_an_error(built: bool, folder: Path) -> None:
    write_okvqa_corpus(folder / "corpus.csv", "other ")
    options = ["--config", "own.yaml"]
    if built:
        benchmark = load_benchmark(
            DataConfig(format="okvqa", train="train.json", documents="corpus.csv")
        )
        KnowledgeBase.build(
            benchmark.documents, load_tokenizer(str(CHECKPOINTS / "tokenizer")), "kb"
        )
        write_okvqa_corpus(folder / "corpus.csv")
        options += ["--knowledge-base", "kb"]
    result = gemkr_data_check(*options)
    assert result.exit_code == 1
    place = "kb" if built else "corpus.csv"
    assert (
        f"Error: None of the training questions' documents are in '{place}': the questions name "
        in result.output
    )
    assert result.output.strip().endswith("the corpus has ids like 'other 0'")


def test_an_existing_knowledge_base_is_checked_instead_of_the_corpus(folder: Path) -> None:
    benchmark = load_benchmark(
        DataConfig(format="okvqa", train="train.json", documents="corpus.csv")
    )
    KnowledgeBase.build(benchmark.documents, load_tokenizer(str(CHECKPOINTS / "tokenizer")), "kb")
    for options in (["--documents", "corpus.csv"], []):
        given = ["--format", "okvqa", "--train", "train.json", "--knowledge-base", "kb", *options]
        result = gemkr_data_check(*given)
        assert result.exit_code == 0, result.output
        assert "documents  6 in 'kb'" in result.output
        assert '1: Text 1, with "quotes".' in result.output
        assert "Warning: No images are configured" in result.output


def test_errors_that_prevent_training(folder: Path) -> None:
    write_images(folder / "others", "x{}.png")
    result = gemkr_data_check("--config", "own.yaml", "--images", "others")
    assert result.exit_code == 1
    assert "None of the training questions' images are in 'others'" in result.output
    records = okvqa_records()
    for record in records:
        record["ctxs"] = []
    write_json(folder / "none.json", records)
    result = gemkr_data_check("--config", "own.yaml", "--train", "none.json")
    assert result.exit_code == 1
    assert "No training question has a relevant document or a clue" in result.output
    with (folder / "corpus.csv").open("a") as file:
        file.write("GS_3,twice\n4,twice\n")
    result = gemkr_data_check("--config", "own.yaml")
    assert result.exit_code == 1
    assert "must be unique: 2 records repeat an id, such as '3'" in result.output
    result = gemkr_data_check("--format", "okvqa", "--train", "train.json")
    assert result.exit_code == 1
    assert "There are no documents: set documents (a corpus)" in result.output


def test_clues_need_no_documents_of_questions(folder: Path) -> None:
    records = [{**record, "output": "a clue"} for record in gemkr_records()]
    write_json(folder / "clues.json", records)
    options = ["--format", "gemkr", "--train", "clues.json", "--documents", "corpus.csv"]
    result = gemkr_data_check(*options, "--images", "coco")
    assert result.exit_code == 0, result.output
    assert row_of("with clues", result) == ["3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give a configuration with --config, or the data format with --format"),
        (["--config", "none.yaml"], "Configuration not found: 'none.yaml'"),
        (["--config", "a.yaml"], "'a.yaml' has no section 'data'"),
        (["--config", "b.yaml"], "'b.yaml' is not valid YAML"),
        (["--config", "c.yaml"], "The section 'data' of 'c.yaml' must hold settings"),
        (["--config", "own.yaml", "--format", "zip"], "format must be one of"),
        (["--config", "own.yaml", "--train", "none.json"], "File not found: 'none.json'"),
        (["--config", "own.yaml", "--validation", "9"], "validation is 9, but there are only 3"),
        (["--config", "own.yaml", "--shown", "-1"], "--shown must not be negative, got -1"),
    ],
)
def test_mistakes_take_one_sentence(arguments: list[str], message: str, folder: Path) -> None:
    (folder / "a.yaml").write_text("training: {}\n")
    (folder / "b.yaml").write_text("a: [\n")
    (folder / "c.yaml").write_text("data: 3\n")
    result = gemkr_data_check(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_the_old_options_still_work(folder: Path) -> None:
    options = ["--format", "okvqa", "--train", "train.json", "--documents", "corpus.csv"]
    with pytest.warns(FutureWarning) as warned:
        result = gemkr_data_check(
            *options, "--pictures", "coco", "--picture-layout=coco", "--pictures-decode", 1
        )
    assert result.exit_code == 0, result.output
    assert "images     3" in result.output
    messages = " ".join(str(warning.message) for warning in warned)
    for old, new in (("pictures", "images"), ("picture-layout", "image-layout")):
        assert f"'--{old}' is deprecated" in messages and f"use '--{new}'" in messages
    assert "--pictures" not in gemkr_data_check("--help").output
