"""The checkout of the project."""

import re
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
