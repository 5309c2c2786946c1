"""``gemkr evaluate table1`` and its like, as they are typed."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gemkr_hf.cli import app
from tests.unit.paper.evaluation_settings import squeezed

DATA = {"data": {"format": "symbols", "scenes": 4}}


def run(folder: Path, *arguments: str):
    config = folder / "evaluation.yaml"
    if not config.exists():
        config.write_text(yaml.safe_dump(DATA))
    options = ["--config", str(config), "--output", str(folder / "output")]
    return CliRunner().invoke(app, ["evaluate", *arguments, *options])


@pytest.mark.slow
def test_table_1_and_its_error_report(tmp_path) -> None:
    done = run(tmp_path, "table1", "--system", "bm25", "--jobs", "1")
    assert done.exit_code == 0, done.output
    assert "| BM25, question | 27.5 / 51.4 / 63.0 |" in squeezed(done.output)
    assert "hit preset `gold`" in done.output
    output = tmp_path / "output"
    for kind in ("md", "tex", "json", "png"):
        assert str(output / f"table1.{kind}") in done.output
        assert (output / f"table1.{kind}").stat().st_size > 500
    figures = json.loads((output / "table1.json").read_text())
    assert figures["questions"] == 200
    # gemkr evaluate score gives the same figures for its run.
    trec = output / "rows" / "bm25-question" / "seed-0" / "run.trec"
    scored = CliRunner().invoke(app, ["evaluate", "score", str(trec), "--measure", "R@10"])
    mean = figures["rows"][0]["ours"]["R@10"]["mean"]
    assert f"| R@10 | {mean:.3f} |" in scored.output, scored.output
    report = run(tmp_path, "errors", "--system", "bm25", "--limit", "2")
    assert report.exit_code == 0, report.output
    counts = re.findall(r"^ +(\d+)  \w", report.stdout, flags=re.M)
    assert sum(map(int, counts)) == 200
    assert (output / "errors-bm25.html").is_file()


def test_table_2_counts(tmp_path) -> None:
    done = run(tmp_path, "table2")
    assert done.exit_code == 0, done.output
    assert "| ReMuQ | paper | 7,576 | 842 | 3,609 | - | 195,837 |" in squeezed(done.output)
    assert "| symbols | here | 12 | 100 | 200 | 60 | 596 |" in squeezed(done.output)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("table1", "--system", "bm26"), "Unknown system 'bm26': choose bm25"),
        (("table1", "--checkpoint", "dpr"), "Invalid --checkpoint 'dpr': write SYSTEM=FOLDER"),
        (("table1", "--checkpoint", "bm25=x"), "No checkpoint can be given for 'bm25'"),
        (("table1", "--system", "bm25", "--jobs", "0"), "at least 1, got 0"),
        (("table3", "--set", "hit=exact"), "Unknown hit preset 'exact': choose gold, vrr"),
        (("table4", "--set", "measures=[P5]"), "such as P@5, got 'P5'"),
        (("table1", "--set", "seeds=[1,1]"), "seeds contains duplicates: 1, 1"),
        (("table1", "--set", "tunning.num_train_epochs=1"), "did you mean tuning?"),
        (("table1", "--set", "split=dev"), "Unknown split 'dev': choose train"),
        (("errors", "--system", "clap"), "Unknown system 'clap'"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(tmp_path, arguments, sentence) -> None:
    done = run(tmp_path, *arguments)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split()), done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "output" / "rows").exists()
