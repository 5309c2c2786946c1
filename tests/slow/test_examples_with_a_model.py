"""The examples that need the quickstart's model, on their defaults and on files."""

import csv
import json
import re
from pathlib import Path

import pytest

from gemkr_hf import KnowledgeBase
from gemkr_hf.data import DataConfig, load_benchmark
from gemkr_hf.evaluation.run_files import read_trec_run
from tests.project import ROOT, link_quickstart, run_python


@pytest.fixture
def folder(short_quickstart, tmp_path) -> Path:
    """A folder with the results of a quickstart, as the examples expect them."""
    link_quickstart(short_quickstart, tmp_path)
    return tmp_path


def run_example(name: str, folder: Path, *arguments: str) -> str:
    """Run an example in a folder, and return what it prints."""
    return run_python(ROOT / "examples" / name, *arguments, cwd=folder)


def hits_of(printed: str) -> dict[str, list[tuple[str, str]]]:
    """Query -> (document's id, clue) of each hit."""
    hits = {}
    for block in printed.split("\n\n")[1:]:
        query, *lines = block.strip().splitlines()
        hits[query] = [
            re.fullmatch(r" *-\d+\.\d\d  ([\w-]+): '(.*)'", line).groups() for line in lines
        ]
    return hits


def test_own_documents_of_the_script(folder) -> None:
    printed = run_example("own_documents.py", folder)
    knowledge_base = KnowledgeBase.from_pretrained(folder / "runs" / "own-documents")
    texts = {document["id"]: document["text"] for document in knowledge_base}
    assert len(texts) == 5
    hits = hits_of(printed)
    assert list(hits) == [
        "runs/quickstart/examples/scene-1.png: What does this sign mean?",
        "runs/quickstart/examples/scene-2.png: What does it stand for?",
    ]
    for found in hits.values():
        assert len({name for name, _ in found}) == 3
        for name, clue in found:
            assert clue in texts[name]


def test_own_documents_of_files(folder) -> None:
    texts = {"one": "A lighthouse warns ships of rocks.", "two": "Bees bring pollen to trees."}
    (folder / "notes.jsonl").write_text(
        "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items())
    )
    with (folder / "questions.csv").open("w", newline="") as file:
        image = "runs/quickstart/examples/scene-3.png"
        csv.writer(file).writerows([("image", "question"), (image, "What is it, then?")])
    printed = run_example(
        "own_documents.py",
        folder,
        *("--documents", "notes.jsonl", "--questions", "questions.csv"),
        *("--output", "runs/notes", "-k", "2"),
    )
    assert "KnowledgeBase(documents=2, " in printed and " in runs/notes" in printed
    [(query, found)] = hits_of(printed).items()
    assert query == f"{image}: What is it, then?"
    assert {name for name, _ in found} == {"one", "two"}
    assert all(clue in texts[name] for name, clue in found)


def test_evaluation_of_a_run(folder) -> None:
    printed = run_example("evaluate_run.py", folder, "--questions", "24")
    questions = load_benchmark(DataConfig("symbols", scenes=1)).questions["test"].take(24)
    for name, line in zip(("GeMKR", "BM25"), printed.splitlines()[2:4], strict=True):
        run = read_trec_run(folder / "runs" / "evaluate-run" / f"{name}.trec")
        assert run.name == name
        top = [run.documents.get(record["question_id"], [""])[0] for record in questions]
        right = [one in record["relevant_ids"] for one, record in zip(top, questions, strict=True)]
        assert line.split()[:3] == [name, "P@1", f"{sum(right) / 24:.3f}"]
    gemkr, bm25 = (float(line.split()[2]) for line in printed.splitlines()[2:4])
    assert gemkr > bm25
    difference = re.search(r"GeMKR minus BM25: (\S+) \[(\S+), (\S+)\]", printed)
    assert difference and float(difference[1]) == pytest.approx(gemkr - bm25, abs=0.0011)
    assert float(difference[2]) <= float(difference[1]) <= float(difference[3])
    assert 0 < float(re.search(r"p = (\S+)", printed)[1]) < 1


def test_evaluation_with_a_preset_that_reads_answers(folder) -> None:
    """An answer to a question about a symbol is the symbol's name."""
    printed = run_example("evaluate_run.py", folder, "--questions", "8", "--preset", "word")
    assert printed.startswith("8 questions, hit preset word")
    assert re.search(r"^GeMKR  P@1 [01]\.\d{3}", printed, re.MULTILINE)
