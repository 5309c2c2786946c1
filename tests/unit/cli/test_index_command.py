"""``gemkr index``, as its users call it."""

import csv
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from datasets import Dataset
from PIL import Image
from typer.testing import CliRunner

from gemkr_hf.cli import app
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS

TOKENIZER = str(CHECKPOINTS / "tokenizer")
RECORDS = [
    {"id": "anchor", "text": "An anchor, cast out, holds a ship in its place.", "title": "Anchor"},
    {"id": "gear", "text": 'A gear turns "another" gear.', "title": "Gear"},
    {"id": "ship", "text": "A ship sails; in its place an anchor holds it.", "title": "Ship"},
]


def gemkr(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["index", *map(str, arguments)])


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text", "title"])
        writer.writeheader()
        writer.writerows(RECORDS)


WRITERS = {
    "d.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, RECORDS)) + "\n\n"),
    "d.jsonl.gz": lambda path: path.write_bytes(
        gzip.compress("\n".join(map(json.dumps, RECORDS)).encode())
    ),
    "d.json": lambda path: path.write_text(json.dumps(RECORDS)),
    "d.csv": write_csv,
    "d.tsv": lambda path: path.write_text(
        "id\ttext\ttitle\n" + "".join(f"{r['id']}\t{r['text']}\t{r['title']}\n" for r in RECORDS)
    ),
    "d.parquet": lambda path: pq.write_table(pa.Table.from_pylist(RECORDS), path),
    "saved": lambda path: Dataset.from_list(RECORDS).save_to_disk(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_document_formats(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    result = gemkr(tmp_path / name, "--tokenizer", TOKENIZER, "--output", tmp_path / "kb")
    assert result.exit_code == 0, result.output
    assert "3 documents" in result.output
    assert list(KnowledgeBase.from_pretrained(tmp_path / "kb")) == RECORDS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    WRITERS["d.jsonl"](tmp_path / "d.jsonl")
    result = gemkr(tmp_path / "d.jsonl", "--tokenizer", TOKENIZER, "--output", tmp_path / "kb")
    assert result.exit_code == 0, result.output
    return tmp_path / "kb"


def test_columns_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("no,words,year\n7,A ship sails.,1900\n8,A gear turns.,1901\n")
    options = ["--tokenizer", TOKENIZER, "--output", tmp_path / "kb", "--text-column", "words"]
    result = gemkr(tmp_path / "d.csv", *options, "--id-column", "no")
    assert result.exit_code == 0, result.output
    assert KnowledgeBase.from_pretrained(tmp_path / "kb")[1] == {
        "id": "8", "text": "A gear turns.", "year": "1901",
    }  # fmt: skip
    result = gemkr(tmp_path / "d.csv", *options, "--id-column", "")
    assert result.exit_code == 2
    assert "replace it with --overwrite" in result.output
    result = gemkr(tmp_path / "d.csv", *options, "--id-column", "", "--overwrite")
    assert result.exit_code == 0, result.output
    assert [record["id"] for record in KnowledgeBase.from_pretrained(tmp_path / "kb")] == ["0", "1"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", '{"id": 1, "text": "a"}\n{"id"', "Line 2 of .* is not valid JSON"),
        ("d.jsonl", '{"id": 1, "text": "a"}\n[1]', "Line 2 of .* is not an object"),
        ("d.jsonl", '{"id": 1, "words": "a"}', "No column 'text' in .*, which has id, words"),
        ("d.jsonl", '{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', "The id 1 occurs twice"),
        ("d.jsonl", "", "No documents in"),
        ("d.json", "[1, 2", "is not valid JSON"),
        ("d.csv", "id,text\n1,a\n2,b,c\n", "Line 3 of .* has 3 fields, but the header has 2"),
        ("d.csv", "id,text,text\n1,a,b\n", "The column 'text' of .* occurs twice"),
        ("d.tsv", "no\ttext\n1\ta\n", "No column 'id' .* choose one with --id-column"),
        ("d.parquet", "PAR1", "not a valid Parquet file"),
        ("d.jsonl.gz", "plain", "truncated or not a gzip file"),
        ("d.pdf", "x", "documents are read from"),
    ],
)
def test_broken_files(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    result = gemkr(tmp_path / name, "--tokenizer", TOKENIZER, "--output", tmp_path / "kb")
    assert result.exit_code == 2
    error = result.output.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    assert re.search(message, result.output), result.output
    assert not (tmp_path / "kb").exists()


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes("id,text\n1,Köln\n".encode("latin-1"))
    result = gemkr(tmp_path / "d.csv", "--tokenizer", TOKENIZER, "--output", tmp_path / "kb")
    assert result.exit_code == 2
    assert "is not in UTF-8" in result.output


def test_a_missing_source_or_tokenizer(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = ["--tokenizer", TOKENIZER, "--output", tmp_path / "kb"]
    assert "File not found" in gemkr(tmp_path / "d.jsonl", *options).output
    WRITERS["d.jsonl"](tmp_path / "d.jsonl")
    result = gemkr(
        tmp_path / "d.jsonl", "--tokenizer", tmp_path / "none", "--output", tmp_path / "kb"
    )
    assert result.exit_code == 2
    assert "neither a folder with a tokenizer" in result.output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("two years of work")
    result = gemkr(tmp_path / "d.jsonl", "--tokenizer", TOKENIZER, "--output", tmp_path / "full")
    assert "is not empty and not a knowledge base" in result.output


def test_inspect(folder: Path, tmp_path: Path) -> None:
    result = gemkr("inspect", folder, "--plot", tmp_path / "lengths.png")
    assert result.exit_code == 0, result.output
    for words in ("documents   3", "longest", "shortest", "until they are distinctive"):
        assert words in result.output
    pixels = np.asarray(Image.open(tmp_path / "lengths.png").convert("L"))
    assert pixels.shape[1] > 800
    assert pixels.std() > 10
    assert gemkr("inspect", folder, "--sample", 0).exit_code == 2
    assert "no local file or folder" in gemkr("inspect", tmp_path / "nowhere").output


def test_query(folder: Path) -> None:
    result = gemkr("query", folder, "in its place")
    assert result.exit_code == 0, result.output
    assert "occurs     2 times" in result.output
    assert "ship: A ship sails; [in its place] an anchor" in result.output
    assert "only in document gear" in gemkr("query", folder, "gear turns").output
    assert "occurs     0 times" in gemkr("query", folder, "zebra").output
    assert "is empty" in gemkr("query", folder, "  ").output


def test_add_remove_compact_and_verify(folder: Path, tmp_path: Path) -> None:
    new = {"id": "moon", "text": "The moon turns.", "title": "Moon"}
    (tmp_path / "new.jsonl").write_text(json.dumps(new))
    assert (
        "Added 1 document with 1 id. Now: 4 documents, 2 shards"
        in gemkr("add", folder, tmp_path / "new.jsonl").output
    )
    assert "The id 'moon' occurs twice" in gemkr("add", folder, tmp_path / "new.jsonl").output
    assert "No document with the id 'sun'" in gemkr("remove", folder, "gear", "sun").output
    assert (
        "Removed 2 documents. Now: 2 documents" in gemkr("remove", folder, "gear", "anchor").output
    )
    assert "no errors found" in gemkr("verify", folder).output
    assert "2 documents, 1 shard; index size" in gemkr("compact", folder).output
    assert [record["id"] for record in KnowledgeBase.from_pretrained(folder)] == ["ship", "moon"]
    result = gemkr("verify", folder)
    assert result.exit_code == 0
    shard = next(folder.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    result = gemkr("verify", folder)
    assert result.exit_code == 2
    assert "truncated" in result.output
    for command in (["add", tmp_path / "none", tmp_path / "new.jsonl"], ["compact", tmp_path]):
        assert "No knowledge base found in" in gemkr(*command).output


def test_documents_with_numbers_as_ids_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}')
    gemkr(tmp_path / "d.jsonl", "--tokenizer", TOKENIZER, "--output", tmp_path / "kb")
    assert "Removed 1 document. Now: 1 document" in gemkr("remove", tmp_path / "kb", "2").output


def test_an_empty_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,text\n1,A ship.\n2,\n")
    result = gemkr(tmp_path / "d.csv", "--tokenizer", TOKENIZER, "--output", tmp_path / "kb")
    assert "empty text, which no clue can retrieve: document '2'" in result.output
