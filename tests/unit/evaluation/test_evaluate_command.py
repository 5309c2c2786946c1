"""``gemkr evaluate``, as its users call it."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from gemkr_hf.cli import app
from gemkr_hf.evaluation.question_records import read_records

ANIMALS = ("ram", "ox", "crab", "lion")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A benchmark of four questions in the format of OKVQA, and runs of two systems."""
    questions = [
        {
            "question_id": number,
            "img_id": f"COCO_val2014_{number:012d}",
            "question": f"Which animal is number {number}?",
            "answers": {animal: 1.0},
            "ctxs": [{"id": f"google:{number}", "text": animal, "has_answer": True}],
        }
        for number, animal in enumerate(ANIMALS)
    ]
    (tmp_path / "test.json").write_text(json.dumps(questions))
    lines = [f'GS_{number},"The {animal}, a sign."\n' for number, animal in enumerate(ANIMALS)]
    lines += ["GS_4,A ramp.\n"]
    (tmp_path / "corpus.csv").write_text("kid,text\n" + "".join(lines))
    (tmp_path / "own.yaml").write_text(
        "data:\n  format: okvqa\n  test: test.json\n  documents: corpus.csv\n"
    )
    (tmp_path / "a.json").write_text(
        json.dumps([["google:0", "GS_4"], ["1", "0"], ["2"], ["0", "1", "2", "3"]])
    )
    (tmp_path / "b.trec").write_text(
        "0 Q0 GS_4 1 2.5 BM25\n0 Q0 GS_0 2 1.5 BM25\n1 Q0 GS_3 1 7 BM25\n2 Q0 GS_1 1 3 BM25\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gemkr(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def score(*arguments: object) -> Result:
    return gemkr("score", *arguments, "--data", "own.yaml")


def test_a_released_list_of_lists_is_scored(folder: Path) -> None:
    result = score("a.json", "--measure", "P@1", "--measure", "MRR@10", "--name", "GeMKR")
    assert result.exit_code == 0, result.output
    assert "**GeMKR** on okvqa (test.json), test: 4 questions, hit preset `gold`" in result.output
    assert "| measure (`gold`) | mean | 95% interval |" in result.output
    assert re.search(r"^\| P@1 \| 0\.750 \| 0\.250 to 1\.000 \|$", result.output, re.M)
    assert re.search(r"^\| MRR@10 \| 0\.812 \| 0\.\d{3} to 1\.000 \|$", result.output, re.M)
    assert "failed" not in result.output


def test_a_trec_run_is_scored_with_several_presets(folder: Path) -> None:
    presets = ("gold", "vrr", "dpr")
    options = [option for preset in presets for option in ("--preset", preset)]
    result = score("b.trec", *options, "--measure", "P@1", "--measure", "nDCG@2")
    assert result.exit_code == 0, result.output
    tables = result.output.split("**BM25**")[1:]
    # The first document for the ram is "A ramp.", which holds the letters.
    for preset, table, p in zip(presets, tables, ("0.000", "0.250", "0.000"), strict=True):
        assert f"4 questions, hit preset `{preset}`" in table
        assert f"| P@1 | {p} |" in table
        assert "1 questions are not in the run and count as failed" in table
    assert re.search(r"\| nDCG@2 \| 0\.158 \|", tables[0])
    assert "| nDCG@2 | - | - |\n\nnDCG needs all relevant documents" in tables[1]


def test_texts_come_from_a_knowledge_base_too(folder: Path) -> None:
    from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS

    tokenizer = str(CHECKPOINTS / "tokenizer")
    options = ["--id-column", "kid", "--tokenizer", tokenizer, "--output", "kb"]
    result = CliRunner().invoke(app, ["index", "corpus.csv", *options])
    assert result.exit_code == 0, result.output
    (folder / "own.yaml").write_text(
        "data:\n  format: okvqa\n  test: test.json\n  knowledge_base: kb\n"
    )
    result = score("b.trec", "--preset", "vrr", "--measure", "P@1")
    assert result.exit_code == 0, result.output
    assert "| P@1 | 0.250 |" in result.output


def test_a_document_of_several_ids_is_relevant_by_any_of_them(folder: Path) -> None:
    from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS

    # A knowledge base keeps one document of a text that stands twice; its first id is GS_9.
    corpus = (folder / "corpus.csv").read_text().replace("text\n", 'text\nGS_9,"The ox, a sign."\n')
    (folder / "corpus.csv").write_text(corpus)
    options = ["--id-column", "kid", "--tokenizer", str(CHECKPOINTS / "tokenizer")]
    result = CliRunner().invoke(app, ["index", "corpus.csv", *options, "--output", "kb"])
    assert result.exit_code == 0, result.output
    (folder / "own.yaml").write_text(
        "data:\n  format: okvqa\n  test: test.json\n  knowledge_base: kb\n"
    )
    (folder / "c.json").write_text(json.dumps([["4"], ["9", "0"], ["1"], ["2", "77"]]))
    result = score("c.json", "--measure", "P@1", "--records", "c.jsonl")
    assert result.exit_code == 0, result.output
    assert "| P@1 | 0.250 |" in result.output
    assert "1 retrieved documents are not in the corpus, such as '77'; they count" in result.output
    found = read_records(folder / "c.jsonl")[1].retrieved
    assert [one["hit"] for one in found] == [True, False]


def test_two_runs_are_compared(folder: Path) -> None:
    for run, name in (("a.json", "GeMKR"), ("b.trec", "BM25")):
        result = score(run, "--name", name, "--records", f"{name}.jsonl")
        assert result.exit_code == 0, result.output
        assert f"Records of the questions: {name}.jsonl" in result.output
    assert [record.question_id for record in read_records("GeMKR.jsonl")] == ["0", "1", "2", "3"]
    result = gemkr(
        "compare",
        "GeMKR.jsonl",
        "BM25.jsonl",
        "--measure",
        "P@1",
        "--plot",
        "new/plot.png",
        "-n",
        2,
    )
    assert result.exit_code == 0, result.output
    assert "4 questions, hit preset `gold`" in result.output
    assert "| system | P@1 (`gold`) | 95% interval |" in result.output
    assert "| GeMKR | 0.750 | 0.250 to 1.000 |" in result.output
    assert "| BM25 | 0.000 | 0.000 to 0.000 |" in result.output
    assert "| GeMKR minus BM25 | +0.750 | +0.250 to +1.000 |" in result.output
    # 3 differences of one sign: 2 of the 8 ways to exchange them are as far from 0.
    [p] = re.findall(r"^p = (\S+) \(randomisation test, two-sided\)$", result.output, re.M)
    assert float(p) == pytest.approx(0.25, abs=0.03)
    assert "GeMKR is better for 3 questions, BM25 for 0; 1 are equal" in result.output
    different = result.output.split("Questions with the largest differences:\n")[1]
    assert different.splitlines()[:3] == [
        "+1.000  0 (COCO_val2014_000000000000): Which animal is number 0?",
        "        GeMKR: 0*, 4",
        "        BM25: 4, 0*",
    ]
    assert different.count("+1.000") == 2
    with Image.open(folder / "new" / "plot.png") as image:
        assert image.format == "PNG"


def test_the_t_test_and_no_questions(folder: Path) -> None:
    for run in ("a.json", "b.trec"):
        score(run, "--records", f"{run}.jsonl")
    result = gemkr("compare", "a.json.jsonl", "b.trec.jsonl", "--test", "student", "-n", 0)
    assert result.exit_code == 0, result.output
    assert "(paired t-test, two-sided)" in result.output
    assert "largest differences" not in result.output


@pytest.mark.slow
def test_the_symbols_are_the_benchmark_where_none_is_named(folder: Path) -> None:
    (folder / "symbols.yaml").write_text("data:\n  format: symbols\n  scenes: 1\n")
    (folder / "run.json").write_text(json.dumps([["aries/meaning"]] * 200))
    options = ["--measure", "R@1", "--preset", "gold", "--preset", "word"]
    result = gemkr("score", "run.json", "--data", "symbols.yaml", *options)
    assert result.exit_code == 0, result.output
    assert "on symbols, test: 200 questions, hit preset `word`" in result.output


@pytest.mark.parametrize("command", ["score", "compare"])
def test_the_example_of_the_help_works(command: str, folder: Path) -> None:
    import gemkr_hf.cli.evaluate_commands as commands

    (folder / "b.trec").rename("run.trec")
    if command == "compare":
        for name in ("a", "b"):
            score("run.trec", "--name", name, "--records", f"{name}.jsonl")
    [example] = re.findall(r"Example: gemkr evaluate (.*)", getattr(commands, command).__doc__)
    assert " ".join(example.split())[:40] in " ".join(gemkr(command, "--help").output.split())
    own = ["--data", "own.yaml"] if command == "score" else []
    result = gemkr(*shlex.split(example), *own)
    assert result.exit_code == 0, result.output
    assert Path(shlex.split(example)[-1]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.trec"], "Run file not found: 'none.trec'"),
        (["a.json", "--preset", "em"], "Unknown hit preset 'em': choose gold, vrr"),
        (["a.json", "--measure", "MAP"], "with its K, such as P@5, got 'MAP'"),
        (["a.json", "--split", "dev"], "Unknown split 'dev': choose test"),
        (["a.json", "--data", "no.yaml"], "Configuration not found: 'no.yaml'"),
        (["a.json", "--data", "empty.yaml"], "'empty.yaml' has no section 'data'"),
        (["short.json"], "contains lists for 1 questions, but the split has 4"),
        (["other.trec"], "The run 't' contains none of the 4 questions, such as '0'"),
        (["unknown.json", "--preset", "vrr"], "documents are not in the corpus, such as '99'"),
        (
            ["a.json", "--preset", "gold", "--preset", "vrr", "--records", "r.jsonl"],
            "--records needs a single hit preset",
        ),
    ],
)
def test_a_mistake_in_scoring_is_one_sentence(arguments, message, folder: Path) -> None:
    Path("empty.yaml").write_text("output: here\n")
    Path("short.json").write_text("[[1]]")
    Path("other.trec").write_text("77 Q0 a 1 1 t\n")
    Path("unknown.json").write_text(json.dumps([["99"]] * 4))
    own = [] if "--data" in arguments else ["--data", "own.yaml"]
    result = gemkr("score", *arguments, *own)
    assert result.exit_code == 2
    line = result.output.strip().splitlines()[-1]  # behind the bar of the documents
    assert "Traceback" not in result.output
    assert line.startswith("Error: ") and message in line
    assert not Path("r.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jsonl", "none.jsonl"], "Records not found: 'none.jsonl'"),
        (["a.jsonl", "a.json"], "Line 1 of 'a.json' is not a record of a question"),
        (["a.jsonl", "v.jsonl"], "The hit presets differ ('gold' and 'vrr')"),
        (
            ["a.jsonl", "b.jsonl", "--measure", "P@3"],
            "do not have P@3: their measures are P@1",
        ),
        (["a.jsonl", "b.jsonl", "--test", "sign"], "The test must be one of fisher, student"),
        (["a.jsonl", "b.jsonl", "--plot", "plot.gif"], "end in .png, .svg, .pdf"),
        (["a.jsonl", "b.jsonl", "-n", "-1"], "-n must be at least 0 questions"),
    ],
)
def test_a_mistake_in_comparing_is_one_sentence(arguments, message, folder: Path) -> None:
    score("a.json", "--records", "a.jsonl")
    score("b.trec", "--records", "b.jsonl")
    score("b.trec", "--records", "v.jsonl", "--preset", "vrr")
    result = gemkr("compare", *arguments)
    assert result.exit_code == 2
    [line] = result.output.strip().splitlines()
    assert line.startswith("Error: ") and message in line
