"""The results that the paper reports, for comparison with new ones."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class PaperTable:
    """A table or figure of the paper.

    Attributes:
        name: ``table1`` to ``table5``, ``figure3``.
        title: its subject.
        measures: benchmark -> the measures that the paper reports for it.
        rows: name of a row -> benchmark -> figures in percent, in the order of ``measures``; a
            missing benchmark was not measured. A row of Table 2 maps names to numbers, one of
            Table 5 is a list of words.
    """

    name: str
    title: str
    measures: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)

    def figures(self, row: str, benchmark: str) -> dict[str, float]:
        """Return measure -> share in [0, 1] of a row; empty if the paper reports nothing."""
        values = self.rows.get(row, {}).get(benchmark, [])
        return {
            measure: value / 100
            for measure, value in zip(self.measures[benchmark], values, strict=False)
        }

    def all_figures(self, row: str) -> dict[str, dict[str, float]]:
        """Return benchmark -> measure -> share of a row."""
        return {benchmark: self.figures(row, benchmark) for benchmark in self.measures}


@cache
def paper_tables() -> dict[str, PaperTable]:
    """Return all tables by name.

    >>> paper_tables()["table1"].figures("GeMKR", "OKVQA-GS112K")["R@5"]
    0.7859999999999999
    """
    content = yaml.safe_load(Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8"))
    return {name: PaperTable(name, **table) for name, table in content.items()}


__all__ = ["PaperTable", "paper_tables"]
