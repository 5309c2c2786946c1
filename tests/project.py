"""The checkout of the project."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write_metadata(folder: Path) -> None:
    """Write what an installation tells of the project's entry points.

    Args:
        folder: one on ``sys.path``, before an installation of an older state.
    """
    groups = re.findall(
        r'^\[project\.entry-points\."(.+?)"\]\n(.*?)\n\n',
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    info = folder / "gemkr_hf-0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gemkr-hf\nVersion: 0\n")
    lines = [f"[{name}]\n{entries}\n".replace('"', "") for name, entries in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


def python_path() -> str:
    """The checkout, and where this process imports from: ``PYTHONPATH`` of child processes."""
    return os.pathsep.join([str(ROOT), *filter(None, sys.path)])


def run_python(*arguments: str | Path, cwd: Path) -> str:
    """Run Python with these arguments in a folder, and return what it prints."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def link_quickstart(quickstart: Path, folder: Path) -> None:
    """Put the results of a quickstart where documentation and examples expect them."""
    (folder / "runs").mkdir()
    (folder / "runs" / "quickstart").symlink_to(quickstart)
