"""Tables as Markdown and LaTeX, through pandas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gemkr_hf.paper.result_table import ResultRow, ResultTable
from gemkr_hf.utils.io import atomic_write_text, write_json

SIGNIFICANT = "*"
"""Marks results that differ from the reference with p < 0.05."""

_LATEX = str.maketrans(
    {
        **{character: "\\" + character for character in "&%$#_{}"},
        "`": "",
        "<": "$<$",
        ">": "$>$",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def to_markdown(result: ResultTable) -> str:
    """Return a table of the reported results, and ours with their intervals."""
    papers = _paper_columns(result)
    records = []
    for row in result.rows:
        cells = {"system": row.label}
        for benchmark, measures in papers.items():
            figures = [f"{100 * value:.1f}" for value in row.paper.get(benchmark, {}).values()]
            column = f"paper, {benchmark}: {' / '.join(measures)}"
            cells[column] = " / ".join(figures) or "-"
        for measure in result.measures:
            mean, interval = _figure(row, measure)
            cells[measure] = f"{mean} [{interval}]" if interval else mean
        cells |= {"runs": "-", "training, s": "-", "s/question": "-"}
        if row.over_seeds:
            cells["runs"] = str(len(next(iter(row.over_seeds.values()))))
            cells["training, s"] = f"{row.training_seconds:.0f}"
            cells["s/question"] = f"{row.question_seconds:.3f}"
        records.append(cells)
    title = (
        f"**{result.title}.** Paper in percent. Ours in percent, 95% bootstrap interval over "
        f"questions in brackets: {result.subtitle}."
    )
    notes = _notes(result, f"\\{SIGNIFICANT}")
    return "\n\n".join([title, markdown_table(pd.DataFrame(records)), *notes]) + "\n"


def to_latex(result: ResultTable) -> str:
    """Return a table for the package ``booktabs``; the best of our means are bold."""
    papers = _paper_columns(result)
    best = {
        measure: max(
            (row.ours[measure].mean for row in result.rows if row.over_seeds), default=None
        )
        for measure in result.measures
    }
    records = []
    for row in result.rows:
        cells = {("", "Model"): escape_latex(row.label)}
        for benchmark, measures in papers.items():
            figures = row.paper.get(benchmark, {})
            for measure in measures:
                column = (escape_latex(f"{benchmark} (paper)"), escape_latex(measure))
                cells[column] = f"{100 * figures[measure]:.1f}" if measure in figures else "-"
        for measure in result.measures:
            mean, interval = _figure(row, measure)
            mean, mark, _ = mean.partition(SIGNIFICANT)
            if row.ours[measure].mean == best[measure] and not measure.startswith("distinct"):
                mean = rf"\textbf{{{mean}}}"
            mean += f"$^{{{mark}}}$" if mark else ""
            column = (escape_latex(f"{result.benchmark} (ours)"), escape_latex(measure))
            cells[column] = rf"{mean} {{\scriptsize[{interval}]}}" if interval else mean
        records.append(cells)
    frame = pd.DataFrame(records)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    caption = " ".join([f"{result.title}. Ours: {result.subtitle}.", *_notes(result, SIGNIFICANT)])
    return latex_table(frame, result.name, caption, "l" + "r" * (frame.shape[1] - 1))


def write_formats(folder: Path, name: str, markdown: str, latex: str, content: Any) -> list[Path]:
    """Write a table as Markdown, LaTeX and JSON.

    Returns:
        The three files, and the file for its plot.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in ("md", "tex", "json", "png")]
    atomic_write_text(paths[0], markdown)
    atomic_write_text(paths[1], latex)
    write_json(paths[2], content)
    return paths


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a data frame of texts as Markdown.

    >>> print(markdown_table(pd.DataFrame({"a": ["1"], "b": ["22"]})))
    | a   | b   |
    |-----|-----|
    | 1   | 22  |
    """
    return frame.to_markdown(index=False, tablefmt="github", disable_numparse=True)


def latex_table(frame: pd.DataFrame, name: str, caption: str, columns: str) -> str:
    """Return a data frame as a LaTeX table across both columns of a page.

    Args:
        frame: cells and headings are LaTeX; the headings may have two levels.
        name: name of the label, after ``tab:``.
        caption: plain text.
        columns: alignment of each column, such as ``lrr``.
    """
    return frame.style.hide(axis="index").to_latex(
        environment="table*",
        position_float="centering",
        hrules=True,
        multicol_align="c",
        column_format=columns,
        caption=escape_latex(caption),
        label=f"tab:{name}",
    )


def escape_latex(text: str) -> str:
    r"""Return plain text as LaTeX.

    >>> print(escape_latex(r"50% of a_b, x^2 < C:\d"))
    50\% of a\_b, x\textasciicircum{}2 $<$ C:\textbackslash{}d
    """
    return text.translate(_LATEX)


def _figure(row: ResultRow, measure: str) -> tuple[str, str]:
    """Return the mean, with the mark of a significant difference, and the interval's bounds."""
    interval = row.ours[measure]
    if interval.mean != interval.mean:
        return "-", ""
    mark = SIGNIFICANT if row.p.get(measure, 1.0) < 0.05 else ""
    if measure.startswith("distinct"):
        return f"{interval.mean:.2f}{mark}", ""
    mean, low, high = (f"{100 * v:.1f}" for v in (interval.mean, interval.low, interval.high))
    return mean + mark, f"{low}, {high}"


def _paper_columns(result: ResultTable) -> dict[str, Sequence[str]]:
    """Return the paper's benchmarks, with their measures, of which a row has figures."""
    columns: dict[str, Sequence[str]] = {}
    for row in result.rows:
        for benchmark, figures in row.paper.items():
            if figures:
                columns.setdefault(benchmark, list(figures))
    return columns


def _notes(result: ResultTable, mark: str) -> list[str]:
    tested = dict.fromkeys(measure for row in result.rows for measure in row.p)
    if not tested:
        return list(result.notes)
    significance = (
        f"{mark} differs from {result.reference} with p < 0.05 (randomisation test over questions, "
        f"for {', '.join(tested)} only; Holm's adjustment for the number of rows)."
    )
    return [significance, *result.notes]


__all__ = [
    "escape_latex",
    "latex_table",
    "markdown_table",
    "to_latex",
    "to_markdown",
    "write_formats",
]
