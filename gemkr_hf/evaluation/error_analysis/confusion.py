"""Confusion tables: counts of the questions of a run by cause, aspect, symbol or rank."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from gemkr_hf.evaluation.error_analysis.causes import Cause, Documents, Finding

NOTHING = "nothing"
"""Column of questions for which no document was retrieved."""

OTHER = "not of a symbol"
"""Column of documents that have none of the aspects."""

ShareOf = Literal["row", "column"]

_REFERENCES = ("color", "place", "size", "only")


@dataclass(frozen=True)
class ConfusionTable:
    """Counts of questions.

    Attributes:
        title, note: Title and explanation of the table.
        counts: Counts, with the names of the row and the column variable.
        share_of: Whether counts are also shown as shares of their row or of their column.
        right: Names for which a cell with the same row and column is correct, not a confusion.
    """

    title: str
    note: str
    counts: pd.DataFrame
    share_of: ShareOf
    right: Sequence[str] = ()

    @property
    def shares(self) -> pd.DataFrame:
        """Shares of the row or column, in [0, 1]; 0 if it is empty."""
        axis, total_axis = ("index", "columns") if self.share_of == "row" else ("columns", "index")
        return self.counts.div(self.counts.sum(axis=total_axis), axis=axis).fillna(0.0)


def count_causes(findings: Sequence[Finding]) -> dict[Cause, int]:
    """Count the questions of each cause that occurs, in the order of `Cause`."""
    counted = Counter(finding.cause for finding in findings)
    return {cause: counted[cause] for cause in Cause if counted[cause]}


def aspects_table(
    findings: Sequence[Finding], documents: Documents, aspects: Sequence[str]
) -> ConfusionTable | None:
    """Count requested aspect x aspect of the first document; None without scenes."""
    columns = (*aspects, "catalogue", OTHER, NOTHING)
    pairs = []
    for finding in findings:
        scene, retrieved = finding.evidence.scene, finding.record.retrieved
        if scene is not None:
            aspect = documents.get(retrieved[0]["id"], {}).get("aspect") if retrieved else NOTHING
            pairs.append((scene.aspect, aspect if aspect in columns else OTHER))
    if not pairs:
        return None
    return ConfusionTable(
        "Requested aspect and retrieved aspect",
        "All questions, by the first document, whichever symbol it is about; shares of the row.",
        _count(pairs, ("requested", "retrieved"), aspects, columns, always=aspects),
        "row",
        aspects,
    )


def causes_by_objects(findings: Sequence[Finding]) -> ConfusionTable | None:
    """Count cause x number of objects: in the scene if annotated, otherwise detected.

    Without scenes, questions for which the detector was not used are not counted.
    """
    with_scenes = any(finding.evidence.scene is not None for finding in findings)

    def number(finding: Finding) -> str | None:
        scene, objects = finding.evidence.scene, finding.evidence.objects
        if with_scenes:
            return None if scene is None else str(1 + len(scene.other_objects))
        return None if objects is None else str(len(objects))

    where = "in the scene" if with_scenes else "detected"
    return _causes_table(findings, number, f"Cause and number of objects {where}", "objects")


def causes_by_reference(findings: Sequence[Finding]) -> ConfusionTable | None:
    """Count cause x how the question refers to its target; None without scenes."""
    return _causes_table(
        findings,
        lambda finding: finding.evidence.scene.reference if finding.evidence.scene else None,
        "Cause and how the question refers to the object",
        "by",
        _REFERENCES,
    )


def causes_by_rank(findings: Sequence[Finding]) -> ConfusionTable | None:
    """Count cause x rank of the first hit, of failed questions; None if none failed."""

    def rank_range(finding: Finding) -> str:
        rank = finding.rank
        if rank is None:
            return "none"
        return str(rank) if rank < 4 else "4–5" if rank < 6 else "6–10" if rank < 11 else "11+"

    return _causes_table(
        [finding for finding in findings if finding.cause is not Cause.HIT],
        rank_range,
        "Cause and rank of the first hit",
        "rank",
        ("2", "3", "4–5", "6–10", "11+", "none"),
        note="Failed questions, and their share of the row.",
        share_of="row",
    )


@dataclass(frozen=True)
class SymbolPair:
    """A symbol that was confused with another one.

    Attributes:
        relevant: Symbol that the question is about.
        retrieved: Symbol that the first document is about.
        count: Number of questions.
        in_scene: Number of these questions whose scene also shows the retrieved symbol.
        chars: Both characters, empty where unknown.
    """

    relevant: str
    retrieved: str
    count: int
    in_scene: int
    chars: tuple[str, str]


def symbol_pairs(findings: Sequence[Finding], documents: Documents) -> list[SymbolPair]:
    """List the confused pairs of symbols, most frequent first, then by name."""
    counted: Counter[tuple[str, str]] = Counter()
    in_scene: Counter[tuple[str, str]] = Counter()
    chars = {
        record["symbol"]: record["char"]
        for record in documents.values()
        if "symbol" in record and "char" in record
    }
    for finding in findings:
        scene, retrieved = finding.evidence.scene, finding.record.retrieved
        if scene is None or not retrieved:
            continue
        symbol = documents.get(retrieved[0]["id"], {}).get("symbol")
        if symbol is not None and symbol != scene.target.symbol:
            pair = (scene.target.symbol, symbol)
            counted[pair] += 1
            in_scene[pair] += any(item.symbol == symbol for item in scene.other_objects)
    return [
        SymbolPair(*pair, count, in_scene[pair], (chars.get(pair[0], ""), chars.get(pair[1], "")))
        for pair, count in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _causes_table(
    findings: Sequence[Finding],
    column_of: Callable[[Finding], str | None],
    title: str,
    variable: str,
    order: Sequence[str] | None = None,
    note: str = "Questions, and their share of the column.",
    share_of: ShareOf = "column",
) -> ConfusionTable | None:
    pairs = [
        (finding.cause.label, column)
        for finding in findings
        if (column := column_of(finding)) is not None
    ]
    if not pairs:
        return None
    if order is None:
        order = sorted({column for _, column in pairs}, key=int)
    labels = [cause.label for cause in Cause]
    return ConfusionTable(title, note, _count(pairs, ("cause", variable), labels, order), share_of)


def _count(
    pairs: Sequence[tuple[str, str]],
    variables: tuple[str, str],
    row_order: Sequence[str],
    column_order: Sequence[str],
    always: Sequence[str] = (),
) -> pd.DataFrame:
    """Count pairs of row and column; those that do not occur are left out, except ``always``."""
    rows, columns = zip(*pairs, strict=True)
    return pd.crosstab(pd.Series(rows), pd.Series(columns)).reindex(
        index=pd.Index([n for n in row_order if n in (*always, *rows)], name=variables[0]),
        columns=pd.Index([n for n in column_order if n in (*always, *columns)], name=variables[1]),
        fill_value=0,
    )


__all__ = [
    "ConfusionTable",
    "SymbolPair",
    "aspects_table",
    "causes_by_objects",
    "causes_by_rank",
    "causes_by_reference",
    "count_causes",
    "symbol_pairs",
]
