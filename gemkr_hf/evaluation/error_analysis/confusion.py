"""What was taken for what: tables of counts over the questions of a run."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.evaluation.error_analysis.causes import Cause, Finding
from gemkr_hf.toy.symbols.symbol_documents import ASPECTS

NOTHING = "nothing"
"""The column of questions for which no document came back."""

OTHER = "not of a symbol"
"""The column of documents that the symbols benchmark does not have."""

ShareOf = Literal["row", "column"]

_REFERENCES = ("color", "place", "size", "only")


@dataclass(frozen=True)
class ConfusionTable:
    """Counts of questions.

    Attributes:
        title, note: what is counted, in words.
        corner: what rows and columns are.
        rows, columns: names of n rows and m columns.
        counts: int64 ``(n, m)``.
        share_of: what a count is shown as a share of.
        right: names that are no confusion where row and column share them.
    """

    title: str
    note: str
    corner: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]
    share_of: ShareOf
    right: frozenset[str] = frozenset()

    def share(self, row: int, column: int) -> float:
        """Of a count in its row or column, 0..1."""
        total = (self.row_totals[row], self.column_totals[column])[self.share_of == "column"]
        return float(self.counts[row, column] / total) if total else 0.0

    @property
    def row_totals(self) -> list[int]:
        """Questions of each row."""
        return [int(total) for total in self.counts.sum(1)]

    @property
    def column_totals(self) -> list[int]:
        """Questions of each column."""
        return [int(total) for total in self.counts.sum(0)]


def count_causes(findings: Sequence[Finding]) -> dict[Cause, int]:
    """Questions of each cause that occurs, in the order of `Cause`."""
    counted = Counter(finding.cause for finding in findings)
    return {cause: counted[cause] for cause in Cause if counted[cause]}


def aspects_table(
    findings: Sequence[Finding], documents: Mapping[str, Mapping[str, Any]]
) -> ConfusionTable | None:
    """Asked aspect x the first document's; None where no scene is known."""
    columns = (*ASPECTS, "catalogue", OTHER, NOTHING)
    pairs = []
    for finding in findings:
        truth, retrieved = finding.evidence.truth, finding.record.retrieved
        if truth is not None:
            aspect = documents.get(retrieved[0]["id"], {}).get("aspect") if retrieved else NOTHING
            pairs.append((truth.aspect, aspect if aspect in columns else OTHER))
    return _table(
        "Asked aspect and retrieved aspect",
        "All questions, by the first document, of whichever symbol; shares of the row.",
        ("asked", "retrieved"),
        "row",
        pairs,
        ASPECTS,
        columns,
        always=ASPECTS,
    )


def causes_by_objects(findings: Sequence[Finding]) -> ConfusionTable | None:
    """Cause x number of objects: of the scene where it is known, else of those found.

    Without scenes the detector was asked about some questions only: the others are not counted.
    """
    of_scene = any(finding.evidence.truth is not None for finding in findings)

    def number(finding: Finding) -> str | None:
        truth, objects = finding.evidence.truth, finding.evidence.objects
        if of_scene:
            return None if truth is None else str(1 + len(truth.others))
        return None if objects is None else str(len(objects))

    return _by(
        findings,
        number,
        f"Cause and number of objects {'in the scene' if of_scene else 'found'}",
        "objects",
    )


def causes_by_reference(findings: Sequence[Finding]) -> ConfusionTable | None:
    """Cause x how the question refers to its target; None where no scene is known."""
    return _by(
        findings,
        lambda finding: None if finding.evidence.truth is None else finding.evidence.truth.by,
        "Cause and how the object is referred to",
        "by",
        _REFERENCES,
    )


def causes_by_rank(findings: Sequence[Finding]) -> ConfusionTable | None:
    """Cause x where the first hit stands, of failed questions; None where none failed."""

    def place(finding: Finding) -> str:
        rank = finding.rank
        if rank is None:
            return "none"
        return str(rank) if rank < 4 else "4–5" if rank < 6 else "6–10" if rank < 11 else "11+"

    return _by(
        [finding for finding in findings if finding.cause is not Cause.HIT],
        place,
        "Cause and rank of the first hit",
        "rank",
        ("2", "3", "4–5", "6–10", "11+", "none"),
        note="Failed questions, and their share of the row.",
        share_of="row",
    )


@dataclass(frozen=True)
class SymbolPair:
    """A symbol that was taken for another one.

    Attributes:
        relevant: the symbol that was asked about.
        retrieved: the symbol of the first document.
        count: questions.
        in_scene: questions whose scene shows the retrieved symbol as well.
        chars: both characters, where they are known.
    """

    relevant: str
    retrieved: str
    count: int
    in_scene: int
    chars: tuple[str, str]


def symbol_pairs(
    findings: Sequence[Finding], documents: Mapping[str, Mapping[str, Any]]
) -> list[SymbolPair]:
    """The confusions of symbols that happen, most frequent first, then by name."""
    counted: Counter[tuple[str, str]] = Counter()
    in_scene: Counter[tuple[str, str]] = Counter()
    chars = {
        record["symbol"]: record["char"]
        for record in documents.values()
        if "symbol" in record and "char" in record
    }
    for finding in findings:
        truth, retrieved = finding.evidence.truth, finding.record.retrieved
        if truth is None or not retrieved:
            continue
        symbol = documents.get(retrieved[0]["id"], {}).get("symbol")
        if symbol is not None and symbol != truth.target.symbol:
            pair = (truth.target.symbol, symbol)
            counted[pair] += 1
            in_scene[pair] += any(thing.symbol == symbol for thing in truth.others)
    return [
        SymbolPair(*pair, count, in_scene[pair], (chars.get(pair[0], ""), chars.get(pair[1], "")))
        for pair, count in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _by(
    findings: Sequence[Finding],
    column: Callable[[Finding], str | None],
    title: str,
    what: str,
    order: Sequence[str] | None = None,
    note: str = "Questions, and their share of the column.",
    share_of: ShareOf = "column",
) -> ConfusionTable | None:
    pairs = [
        (finding.cause.label, name) for finding in findings if (name := column(finding)) is not None
    ]
    if order is None:
        order = sorted({name for _, name in pairs}, key=int)
    labels = [cause.label for cause in Cause]
    return _table(title, note, ("cause", what), share_of, pairs, labels, order)


def _table(
    title: str,
    note: str,
    corner: tuple[str, str],
    share_of: ShareOf,
    pairs: Sequence[tuple[str, str]],
    row_order: Sequence[str],
    column_order: Sequence[str],
    always: Sequence[str] = (),
) -> ConfusionTable | None:
    """Count pairs; rows and columns that are not named in `always` are there if they occur."""
    if not pairs:
        return None
    counted = Counter(pairs)
    occurring = [{*always, *names} for names in zip(*pairs, strict=True)]
    rows = tuple(name for name in row_order if name in occurring[0])
    columns = tuple(name for name in column_order if name in occurring[1])
    counts = np.array([[counted[row, column] for column in columns] for row in rows], np.int64)
    return ConfusionTable(title, note, corner, rows, columns, counts, share_of, frozenset(always))


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
