"""The code of the README runs as it stands, in a folder where the quickstart has run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
INDEX_BLOCKS, MODEL_BLOCKS = (
    re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    for name in ("fm-index.md", "model.md")
)


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:16])
    assert "make quickstart" in first_screen and "make test" in first_screen


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {n}" for n in range(len(BLOCKS))])
def test_python_blocks_run(block, short_quickstart, tmp_path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(short_quickstart)
    result = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_blocks_about_the_model_run(short_quickstart, tmp_path) -> None:
    """One after the other."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(short_quickstart)
    result = subprocess.run(
        [sys.executable, "-c", "".join(MODEL_BLOCKS)],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "runs" / "objects.png").is_file()


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
