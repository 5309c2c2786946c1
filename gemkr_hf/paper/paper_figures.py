"""The figures that the paper reports, to stand beside one's own."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parent / "paper.yaml"


@dataclass(frozen=True)
class PaperTable:
    """A table, or the figure, of the paper.

    Attributes:
        name: ``table1`` to ``table5``, ``figure3``.
        title: what it shows.
        measures: benchmark -> the measures given for it.
        rows: the row's name -> benchmark -> figures in percent, in the order of ``measures``;
            a benchmark that is left out was not measured. In Table 2 the row holds numbers by
            their names, in Table 5 it is a list of words.
    """

    name: str
    title: str
    measures: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)

    def figures(self, row: str, benchmark: str) -> dict[str, float]:
        """Measure -> share in [0, 1] of one row; empty where the paper gives none."""
        values = self.rows.get(row, {}).get(benchmark, [])
        return {
            measure: value / 100
            for measure, value in zip(self.measures[benchmark], values, strict=False)
        }


@cache
def paper_tables() -> dict[str, PaperTable]:
    """All of them by name.

    >>> paper_tables()["table1"].figures("GeMKR", "OKVQA-GS112K")["R@5"]
    0.7859999999999999
    """
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {name: PaperTable(name, **table) for name, table in content.items()}


__all__ = ["PaperTable", "paper_tables"]
