"""The README's Python code runs as it stands, in a folder with the results of a quickstart."""

import re
from pathlib import Path

from tests.project import ROOT, link_quickstart, run_python

# Blocks that need the Hub run in tests/slow/hub, against a local server in its place.
BLOCKS = [
    block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    if '"org/' not in block
]


def test_the_first_screen_has_the_commands() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:16])
    for command in ("make quickstart", "make test", "make test-slow"):
        assert command in first_screen


def run_blocks(code: str, quickstart: Path, folder: Path) -> str:
    """Run code in a folder with the results of a quickstart, and return what it prints."""
    link_quickstart(quickstart, folder)
    return run_python("-c", code, cwd=folder)


def test_python_blocks_run(short_quickstart, tmp_path) -> None:
    """One after the other, in one process: importing takes longer than running."""
    assert len(BLOCKS) > 2
    run_blocks("\n".join(BLOCKS), short_quickstart, tmp_path)
