"""``docs/own-data.md`` runs as it stands, block after block."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from gemkr_hf.cli import app
from tests.project import ROOT

PAGE = (ROOT / "docs" / "own-data.md").read_text()
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```", re.M | re.S
)


def run_page(page: str) -> Iterator[str]:
    """Write the files that the page shows, run its Python and its commands; what commands print."""
    for block in BLOCK.finditer(page):
        file, kind, code = block.group("file", "kind", "code")
        if file is not None:
            Path(file).write_text(code)
        elif kind == "python":
            exec(compile(code, "own-data.md", "exec"), {})
        elif kind == "bash":
            for line in code.replace("\\\n", " ").splitlines():
                name, *arguments = shlex.split(line)
                assert name == "gemkr"
                result = CliRunner().invoke(app, arguments)
                assert result.exit_code == 0, result.output
                yield result.output


def test_own_data(tmp_path: Path, monkeypatch, capsys, short_quickstart: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(short_quickstart)
    indexed, checked, trained, answered = run_page(PAGE)
    assert "3 documents" in indexed
    assert re.search(r"questions +4 +2\n", checked)
    assert re.search(r"with an existing image +4 +2\n", checked)
    assert "Warning" not in checked
    assert "8 instructions of 4 questions; 4 for validation" in trained
    assert "The model is in runs/own/model" in trained
    assert "1. " in answered
    assert "['" in capsys.readouterr().out
