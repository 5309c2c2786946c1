"""The scripts of ``benchmarks/`` run, on little."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS
from tests.project import ROOT


def test_model(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    options = ["--queries", "1", "--objects", "1", "--rounds", "1", "--json", str(output)]
    result = subprocess.run(
        [sys.executable, "benchmarks/model.py", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "all stages" in result.stdout
    figures = json.loads(output.read_text())
    assert len(figures) == 7 and all(ours > 0 and bare > 0 for ours, bare in figures.values())


def test_decoding() -> None:
    options = ["--queries", "1", "--beams", "4", "--groups", "2", "--tokens", "3e4"]
    options += ["--vocab-size", "500", "--hidden-size", "64", "--layers", "1", "--prompt", "8"]
    result = subprocess.run(
        [sys.executable, "benchmarks/decoding.py", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "| TreeSearch, 2 groups |" in result.stdout
    for other in ("transformers", "row by row"):
        assert f"the clues of {other} with their scores (to 0.001) in 2 of 2" in result.stdout
    assert "| tree (`TreeSearch`) |" in result.stdout
    assert result.stdout.count("\n| 16 |") == result.stdout.count("\n| 50 |") == 1


def test_strategies(short_quickstart) -> None:
    options = ["--run", str(short_quickstart), "--questions", "2", "--only", "clue, m"]
    result = subprocess.run(
        [sys.executable, "benchmarks/strategies.py", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "| clue, max_pieces=3 |" in result.stdout
    for given in ("question", "image"):
        assert f"- only the {given}: " in result.stdout


@pytest.mark.parametrize("given", ["synthetic", "text"])
def test_fm_index(given: str, tmp_path: Path) -> None:
    options = ["--tokens", "3e4", "--vocab-size", "500"]
    if given == "text":
        options = ["--text", str(ROOT / "README.md"), str(ROOT / "CONTRIBUTING.md")]
        options += ["--tokenizer", str(CHECKPOINTS / "tokenizer")]
    output = tmp_path / "figures.json"
    result = subprocess.run(
        [sys.executable, "benchmarks/fm_index.py", *options, "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "GetNext after 10 tokens, us per prefix" in result.stdout
    (record,) = json.loads(output.read_text())
    assert record["here"]["bytes per token"] > record["H1"] / 8
    assert record["tokens"] > 1000


def test_captions(tmp_path: Path) -> None:
    from gemkr_hf.toy.symbols import SymbolsConfig, load_symbols

    true = load_symbols(SymbolsConfig())["test"].select_columns(["image_id", "caption"])
    captions = {record["image_id"]: record["caption"] for record in true}
    for name in list(captions)[: len(captions) // 2]:
        captions[name] = "nothing"
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    result = subprocess.run(
        [sys.executable, "benchmarks/captions.py", "--captions", str(tmp_path / "captions.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    share = float(result.stdout.split("named: ")[1].split("%")[0])
    assert 40 < share < 60


def test_installation() -> None:
    """The wheel in an environment with the four packages of the index alone."""
    result = subprocess.run(
        [sys.executable, "benchmarks/installation.py", "index"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    [row] = [line for line in result.stdout.splitlines() if line.startswith("| index |")]
    _, seconds, gigabytes, packages = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(gigabytes) < 1 and int(packages) < 20 and float(seconds) > 0
