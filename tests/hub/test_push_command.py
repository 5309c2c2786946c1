"""``gemkr push`` as its users run it."""

import shutil

import pytest
from typer.testing import CliRunner

from gemkr_hf.cli import app


def gemkr(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["push", *map(str, arguments)])
    return result.exit_code, result.output


def test_a_dry_run_lists_sizes_and_asks_nothing(short_quickstart) -> None:
    code, said = gemkr("model", short_quickstart / "model", "alice/gemkr", "--dry-run")
    assert code == 0, said
    assert "model.safetensors" in said and " MB" in said
    assert "for the model repository alice/gemkr" in said
    assert "Nothing was uploaded (--dry-run)" in said
    code, said = gemkr("kb", short_quickstart / "knowledge_base", "alice/kb", "--dry-run")
    assert code == 0 and "shard-" in said and "kB" in said
    code, said = gemkr(
        "space", "alice/ask", "--model", "alice/gemkr", "--knowledge-base", "alice/kb", "--dry-run"
    )
    assert code == 0 and "requirements.txt" in said


def test_what_must_not_go_is_named(short_quickstart, tmp_path) -> None:
    shutil.copytree(short_quickstart / "model", tmp_path / "model")
    (tmp_path / "model" / "optimizer.pt").write_bytes(b"x")
    code, said = gemkr("model", tmp_path / "model", "alice/gemkr", "--dry-run")
    assert code == 2 and "optimizer.pt (the state of a training" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("model", "nowhere", "alice/x"), "There is no model in 'nowhere'"),
        (("kb", "nowhere", "alice/x"), "There is no knowledge base in 'nowhere'"),
        (("adapter", "nowhere", "alice/x"), "There is no adapter in 'nowhere'"),
    ],
)
def test_mistakes(arguments, said) -> None:
    code, output = gemkr(*arguments)
    assert code == 2 and said in output


def test_an_adapter_needs_a_base(short_quickstart) -> None:
    code, said = gemkr("adapter", short_quickstart / "training", "alice/lora")
    assert code == 2 and "name the repository that it has there, or is to have, with --base" in said
