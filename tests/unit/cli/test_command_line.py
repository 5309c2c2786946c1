"""The ``gemkr`` command as a whole: help, examples, errors."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gemkr_hf.cli import app

ROOT = typer.main.get_command(app)


def commands(command: Any, name: str = "gemkr") -> Iterator[tuple[str, Any]]:
    """All commands with their full names, groups included."""
    yield name, command
    for part, member in getattr(command, "commands", {}).items():
        yield from commands(member, f"{name} {part}")


COMMANDS = dict(commands(ROOT))


def examples(name: str) -> list[str]:
    """The commands after ``Example:`` in a help text."""
    paragraphs = (COMMANDS[name].help or "").split("\n\n")
    found = [" ".join(text.split()) for text in paragraphs if text.startswith("Example:")]
    return [text.removeprefix("Example:").strip() for text in found]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "gemkr"])
def test_each_help_text_has_an_example_with_valid_options(name: str, monkeypatch) -> None:
    assert examples(name)
    for command in COMMANDS.values():
        if not hasattr(command, "commands"):
            monkeypatch.setattr(command, "callback", lambda **arguments: None)
    for example in examples(name):
        program, *arguments = shlex.split(example)
        assert program == "gemkr"
        assert example.startswith(name), example
        ROOT.main(arguments, standalone_mode=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_described(name: str) -> None:
    for parameter in COMMANDS[name].params:
        hidden = getattr(parameter, "hidden", False)
        assert hidden or parameter.help, f"{name}: {parameter.name}"


def test_examples_of_retrieve_and_index_run(short_quickstart, tmp_path, monkeypatch) -> None:
    quickstart = tmp_path / "runs" / "quickstart"
    quickstart.parent.mkdir()
    quickstart.symlink_to(short_quickstart, target_is_directory=True)
    shutil.copy(short_quickstart / "examples" / "scene-1.png", tmp_path / "scene.png")
    documents = [
        {"id": "anchor", "text": "An anchor holds a ship."},
        {"id": "gear", "text": "A gear turns another gear."},
        {"id": "star", "text": "A star shines at night."},
    ]
    lines = [json.dumps(document) for document in documents]
    (tmp_path / "documents.jsonl").write_text("\n".join(lines))
    (tmp_path / "more.jsonl").write_text('{"id": "moon", "text": "The moon is round."}')
    monkeypatch.chdir(tmp_path)
    names = ["", " add", " remove", " compact", " inspect", " query", " verify"]
    for name in ["gemkr retrieve", *(f"gemkr index{name}" for name in names)]:
        for example in examples(name):
            result = CliRunner().invoke(app, shlex.split(example)[1:])
            assert result.exit_code == 0, f"{example}\n{result.output}"
    assert (tmp_path / "lengths.png").exists()


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from gemkr_hf.cli import app\n"
        f"for name in {list(COMMANDS)!r}:\n"
        "    result = CliRunner().invoke(app, [*name.split()[1:], '--help'])\n"
        "    assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numba', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    """As in ``gemkr retrieve ... | head -1``."""
    code = """
import typer
from gemkr_hf.cli.command_errors import one_sentence_errors
typer.run(one_sentence_errors(lambda: typer.echo("line\\n" * 100_000)))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_an_error_is_one_sentence_unless_debugging(tmp_path: Path, monkeypatch) -> None:
    arguments = ["index", "verify", str(tmp_path / "none")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    monkeypatch.setenv("GEMKR_DEBUG", "1")
    assert isinstance(CliRunner().invoke(app, arguments).exception, (ValueError, OSError))
