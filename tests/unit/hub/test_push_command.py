"""``gemkr push``."""

import re
import shlex
import shutil

import pytest
from typer.testing import CliRunner

from gemkr_hf.cli import app
from tests.project import ROOT


def gemkr(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["push", *map(str, arguments)])
    return result.exit_code, result.output


def test_a_dry_run_lists_sizes_offline(short_quickstart) -> None:
    code, output = gemkr("model", short_quickstart / "model", "alice/gemkr", "--dry-run")
    assert code == 0, output
    assert "model.safetensors" in output and " MB" in output
    assert "for the model repository alice/gemkr" in output
    assert "Nothing was uploaded (--dry-run)" in output
    code, output = gemkr("kb", short_quickstart / "knowledge_base", "alice/kb", "--dry-run")
    assert code == 0 and "shard-" in output and "kB" in output
    code, output = gemkr(
        "space", "alice/ask", "--model", "alice/gemkr", "--knowledge-base", "alice/kb", "--dry-run"
    )
    assert code == 0 and "requirements.txt" in output


def test_forbidden_files_are_listed(short_quickstart, tmp_path) -> None:
    shutil.copytree(short_quickstart / "model", tmp_path / "model")
    (tmp_path / "model" / "optimizer.pt").write_bytes(b"x")
    code, output = gemkr("model", tmp_path / "model", "alice/gemkr", "--dry-run")
    assert code == 2 and "optimizer.pt (a training state" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model", "nowhere", "alice/x"), "No model found in 'nowhere'"),
        (("kb", "nowhere", "alice/x"), "No knowledge base found in 'nowhere'"),
        (("adapter", "nowhere", "alice/x"), "No adapter found in 'nowhere'"),
    ],
)
def test_invalid_arguments(arguments, message) -> None:
    code, output = gemkr(*arguments)
    assert code == 2 and message in output


def test_an_adapter_needs_a_base(short_quickstart) -> None:
    code, output = gemkr("adapter", short_quickstart / "training", "alice/lora")
    assert code == 2 and "name its Hub id with --base" in output


def test_the_commands_of_the_docs_push_all_of_a_quickstart(
    hub, client, short_quickstart, tmp_path
) -> None:
    """As they stand, and without --dry-run."""
    (tmp_path / "client" / "runs").mkdir()
    (tmp_path / "client" / "runs" / "quickstart").symlink_to(short_quickstart)
    text = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [command[1] for command in commands] == ["kb", "model", "adapter", "space"]
    run = """
    from typer.testing import CliRunner
    from gemkr_hf.cli import app
    result = CliRunner().invoke(app, {command})
    assert result.exit_code == 0, result.output
    print(result.output)
    """
    for command in commands:
        if "--dry-run" in command:
            assert "Nothing was uploaded" in client(run.format(command=command))
        real = [word for word in command if word != "--dry-run"]
        assert "(commit " in client(run.format(command=real))
    for name, repo_type, file in (
        ("org/symbols", "dataset", "knowledge_base.json"),
        ("org/gemkr-symbols", "model", "model.safetensors"),
        ("org/gemkr-lora", "model", "adapter_model.safetensors"),
        ("org/gemkr-base", "model", "config.json"),
        ("org/ask", "space", "app.py"),
    ):
        assert file in hub.files(name, repo_type), sorted(hub.files(name, repo_type))


def test_a_private_repository_and_a_branch(hub, client, short_quickstart) -> None:
    run = f"""
    from typer.testing import CliRunner
    from gemkr_hf.cli import app
    kb = {str(short_quickstart / "knowledge_base")!r}
    result = CliRunner().invoke(app, ["push", "kb", kb, "alice/kb", *{{options}}])
    print(result.exit_code, result.output)
    """
    assert client(run.format(options=["--private", "--revision", "trial"])).startswith("0 ")
    repository = hub.repository("alice/kb", "dataset")
    assert repository.private
    assert "knowledge_base.json" in hub.files("alice/kb", "dataset", "trial")
    assert "knowledge_base.json" not in hub.files("alice/kb", "dataset", "main")
    repository.private = False
    output = client(run.format(options=["--private"]))
    assert output.startswith("2 ") and "exists and is public" in output
