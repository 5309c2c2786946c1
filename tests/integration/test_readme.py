"""The code of the README runs as it stands, in a folder where the quickstart has run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT

# What is asked of the Hub runs in tests/unit/hub, against a stand-in for it.
BLOCKS = [
    block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    if '"org/' not in block
]
INDEX_BLOCKS, MODEL_BLOCKS, DECODING_BLOCKS, TRAINING_BLOCKS, HUB_BLOCKS, EVALUATION_BLOCKS = (
    re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    for name in (
        "fm-index.md",
        "model.md",
        "decoding.md",
        "training.md",
        "hub.md",
        "evaluation.md",
    )
)


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:16])
    assert "make quickstart" in first_screen and "make test" in first_screen


def run_blocks(code: str, quickstart: Path, folder: Path) -> str:
    """What code of a page prints, in a folder where the quickstart has run."""
    (folder / "runs").mkdir()
    (folder / "runs" / "quickstart").symlink_to(quickstart)
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {n}" for n in range(len(BLOCKS))])
def test_python_blocks_run(block, short_quickstart, tmp_path) -> None:
    run_blocks(block, short_quickstart, tmp_path)


def test_the_blocks_about_the_model_run(short_quickstart, tmp_path) -> None:
    """One after the other."""
    run_blocks("".join(MODEL_BLOCKS), short_quickstart, tmp_path)
    assert (tmp_path / "runs" / "objects.png").is_file()


def test_the_blocks_about_decoding_run(short_quickstart, tmp_path) -> None:
    """One after the other."""
    printed = run_blocks("".join(DECODING_BLOCKS), short_quickstart, tmp_path)
    assert (tmp_path / "runs" / "beams.png").is_file()
    assert "dropped mass" in printed
    for strategy in ("clue", "first_sentence", "document", "free"):
        assert f"\n{strategy} [(" in printed


def test_the_blocks_about_training_run(short_quickstart, tmp_path) -> None:
    printed = run_blocks("".join(TRAINING_BLOCKS), short_quickstart, tmp_path)
    assert (tmp_path / "runs" / "sampling.png").is_file()
    assert "off-road circuits" in printed
    assert "The model is in runs/few-symbols/model" in printed
    assert "'R@5': " in printed


def test_the_blocks_about_the_hub_run(short_quickstart, tmp_path) -> None:
    """Those that need no Hub; what is pushed there is tested in tests/unit/hub."""
    run_blocks("".join(HUB_BLOCKS), short_quickstart, tmp_path)


def test_the_blocks_about_evaluation_run(short_quickstart, tmp_path) -> None:
    assert EVALUATION_BLOCKS
    run_blocks("".join(EVALUATION_BLOCKS), short_quickstart, tmp_path)


def test_the_blocks_about_the_index_say_what_they_print(tmp_path) -> None:
    """They run one after the other, and a comment behind an expression is its value."""
    script = """
from numpy import array, asarray
def plain(value):
    return [plain(part) for part in value] if isinstance(value, list) else asarray(value).tolist()
"""
    for line in "".join(INDEX_BLOCKS).splitlines():
        code, _, comment = line.partition("  # ")
        value = comment.split(": ")[0]
        if value.startswith(("array(", "[array(")):
            script += f"assert plain({code}) == plain({value}), {code!r}\n"
        else:
            script += line + "\n"
    assert script.count("assert") == 4
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=300,
    )
