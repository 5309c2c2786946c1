"""A result as Markdown, LaTeX and JSON."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from gemkr_hf.evaluation.significance import Interval
from gemkr_hf.paper.table_result import Result, ResultRow
from gemkr_hf.utils.io import atomic_write_text

_TEX = {
    **{letter: "\\" + letter for letter in "&%$#_{}"},
    "`": "",
    "<": "$<$",
    ">": "$>$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_MARK = "*"
"""Behind a figure that differs from the reference with p < 0.05."""


def heading(result: Result) -> str:
    """What was measured, in one line."""
    seeds = f"seeds {', '.join(map(str, result.seeds))}"
    return (
        f"{result.benchmark}, split `{result.split}`, {result.questions:,} questions, hit preset "
        f"`{result.hit}`, {seeds}"
    )


def _figure(row: ResultRow, measure: str) -> tuple[str, str, str]:
    """Mean, half of the interval's bounds, and the mark of a significant difference."""
    interval: Interval = row.ours[measure]
    if interval.mean != interval.mean:
        return "-", "", ""
    mark = _MARK if row.p.get(measure, 1.0) < 0.05 else ""
    if measure.startswith("distinct"):
        return f"{interval.mean:.2f}", "", mark
    return (
        f"{100 * interval.mean:.1f}",
        f"{100 * interval.low:.1f}, {100 * interval.high:.1f}",
        mark,
    )


def _paper(row: ResultRow, benchmark: str) -> str:
    figures = row.paper.get(benchmark, {})
    return " / ".join(f"{100 * value:.1f}" for value in figures.values()) or "-"


def _paper_columns(result: Result) -> list[tuple[str, Sequence[str]]]:
    """Benchmarks of the paper, with their measures, of which a row has figures."""
    columns: dict[str, Sequence[str]] = {}
    for row in result.rows:
        for benchmark, figures in row.paper.items():
            if figures:
                columns.setdefault(benchmark, list(figures))
    return list(columns.items())


def to_markdown(result: Result) -> str:
    """A table with the paper's figures on the left and ours, with their intervals, on the right."""
    papers = _paper_columns(result)
    heads = [
        "system",
        *(f"paper, {name}: {' / '.join(measures)}" for name, measures in papers),
        *result.measures,
        "runs",
        "training, s",
        "s/question",
    ]
    title = (
        f"**{result.title}.** Paper in percent. Ours in percent, 95% bootstrap interval over "
        f"questions in brackets: {heading(result)}."
    )
    rows = []
    for row in result.rows:
        cells = [row.label, *(_paper(row, name) for name, _ in papers)]
        for measure in result.measures:
            mean, bounds, mark = _figure(row, measure)
            cells.append(f"{mean}{mark} [{bounds}]" if bounds else mean + mark)
        if row.over_seeds:
            runs = len(next(iter(row.over_seeds.values())))
            cells += [str(runs), f"{row.training_seconds:.0f}", f"{row.question_seconds:.3f}"]
        else:
            cells += ["-"] * 3  # the paper's alone
        rows.append(cells)
    return "\n".join([title, "", markdown_table(heads, rows), "", *_below(result)]) + "\n"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells as Markdown.

    >>> print(markdown_table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _below(result: Result) -> list[str]:
    notes = list(result.notes)
    tested = dict.fromkeys(measure for row in result.rows for measure in row.p)
    if tested:
        notes.insert(
            0,
            f"\\{_MARK} differs from {result.reference} with p < 0.05 (randomisation test on "
            f"questions, of {', '.join(tested)} alone; Holm's adjustment for the rows).",
        )
    return [line for note in notes for line in (note, "")][:-1]


def to_latex(result: Result) -> str:
    """A ``table`` of the ``booktabs`` package."""
    papers = _paper_columns(result)
    first = ["", *(rf"\multicolumn{{{len(m)}}}{{c}}{{{tex(n)} (paper)}}" for n, m in papers)]
    first.append(rf"\multicolumn{{{len(result.measures)}}}{{c}}{{{tex(result.benchmark)} (ours)}}")
    second = ["Model", *(m for _, measures in papers for m in measures), *result.measures]
    rows = []
    for row in result.rows:
        cells = [tex(row.label)]
        for benchmark, measures in papers:
            figures = row.paper.get(benchmark, {})
            cells += [f"{100 * figures[m]:.1f}" if m in figures else "-" for m in measures]
        for measure in result.measures:
            mean, bounds, mark = _figure(row, measure)
            means = [other.ours[measure].mean for other in result.rows if other.over_seeds]
            best = max(means, default=float("nan"))
            if row.ours[measure].mean == best and not measure.startswith("distinct"):
                mean = rf"\textbf{{{mean}}}"
            mark = f"$^{{{mark}}}$" if mark else ""
            cells.append(rf"{mean}{mark} {{\scriptsize[{bounds}]}}" if bounds else mean + mark)
        rows.append(cells)
    caption = f"{result.title}. Ours: {heading(result)}.".replace("`", "")
    return latex_table(
        result.name,
        f"{tex(caption)} {tex(' '.join(_below(result))).replace(chr(92) * 2, '')}",
        "l" + "r" * (len(second) - 1),
        [first, [tex(head) for head in second]],
        rows,
    )


def latex_table(
    name: str,
    caption: str,
    columns: str,
    heads: Iterable[Sequence[str]],
    rows: Iterable[Sequence[str]],
) -> str:
    """A table over both columns of a page, of the ``booktabs`` package; all texts are LaTeX."""
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *(" & ".join(row) + r" \\" for row in heads),
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{name}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def tex(text: str) -> str:
    r"""Plain text as LaTeX has it.

    >>> print(tex(r"50% of a_b, x^2 < C:\d"))
    50\% of a\_b, x\textasciicircum{}2 $<$ C:\textbackslash{}d
    """
    return "".join(_TEX.get(letter, letter) for letter in text.replace("\\*", "*"))


def to_json(result: Result) -> str:
    """Everything, shares in [0, 1]."""
    return json.dumps(dataclasses.asdict(result), indent=2, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    atomic_write_text(path, text)


__all__ = [
    "heading",
    "latex_table",
    "markdown_table",
    "tex",
    "to_json",
    "to_latex",
    "to_markdown",
    "write_text",
]
