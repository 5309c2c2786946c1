"""Table 2, dataset statistics, and Table 5, keywords of clues."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gemkr_hf.evaluation.clue_keywords import top_keywords
from gemkr_hf.paper.gemkr_systems import gemkr
from gemkr_hf.paper.reported_results import paper_tables
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.table_formats import (
    escape_latex,
    latex_table,
    markdown_table,
    write_formats,
)
from gemkr_hf.paper.table_plot import COLORS, save_figure

KEYWORDS = 10
_COLUMNS = ("train", "validation", "test", "documents")


@dataclass(frozen=True)
class Statistics:
    """A row of Table 2.

    Attributes:
        benchmark: its name.
        source: ``paper`` or ``here``.
        numbers: questions of each split, and ``documents``.
    """

    benchmark: str
    source: str
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Keywords:
    """A row of Table 5.

    Attributes:
        query: what the queries consisted of.
        paper: the paper's keywords, most frequent first.
        ours: keywords of the best clues, with the number of clues that contain them.
        clues: number of clues.
    """

    query: str
    paper: Sequence[str]
    ours: Sequence[tuple[str, int]]
    clues: int


def statistics_table(evaluation: Evaluation) -> list[Statistics]:
    """Return Table 2: questions and documents of the paper's benchmarks and of this one."""
    rows = [
        Statistics(name, "paper", numbers)
        for name, numbers in paper_tables()["table2"].rows.items()
    ]
    benchmark = evaluation.benchmark
    numbers = {split: len(questions) for split, questions in benchmark.questions.items()}
    numbers["documents"] = len(benchmark.documents) or len(evaluation.knowledge_base)
    return [*rows, Statistics(benchmark.name, "here", numbers)]


def keywords_table(evaluation: Evaluation, questions: int = 100) -> list[Keywords]:
    """Return Table 5: the keywords of the best clues of text-only and image-only queries.

    Args:
        evaluation: the evaluation; GeMKR is tuned or loaded with its first seed.
        questions: number of test questions ("we sample 100 data points").

    Raises:
        ValueError: The benchmark has no images.
    """
    if evaluation.test_images is None:
        raise ValueError("Table 5 needs image-only queries, and data.images is not set")
    retriever = gemkr(evaluation, evaluation.config.seeds[0])
    texts = [record["question"] for record in evaluation.test_questions[:questions]]
    queries: dict[str, tuple[Any, Sequence[Any]]] = {
        "Only Textual Query": (None, texts),
        "Only Visual Query": (evaluation.test_images[: len(texts)], [None] * len(texts)),
    }
    rows = []
    for query, (images, asked) in queries.items():
        results = retriever.retrieve(images, asked, k=1)
        clues = [hits[0].clues[0].text for hits in results if hits]
        paper = paper_tables()["table5"].rows[query]
        rows.append(Keywords(query, paper, top_keywords(clues, KEYWORDS), len(clues)))
    return rows


def write_statistics(rows: Sequence[Statistics], folder: Path) -> tuple[str, list[Path]]:
    """Write Table 2 as Markdown, LaTeX, JSON and a plot.

    Returns:
        The Markdown, and the files.
    """
    splits = [*_COLUMNS[:-1], *(name for row in rows for name in row.numbers)]
    columns = [name for name in dict.fromkeys(splits) if name != "documents"] + ["documents"]
    frame = pd.DataFrame(
        {
            "benchmark": row.benchmark,
            "from": row.source,
            **{n: f"{row.numbers[n]:,}" if n in row.numbers else "-" for n in columns},
        }
        for row in rows
    )

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        width = 0.8 / len(_COLUMNS)
        for number, column in enumerate(_COLUMNS):
            positions = [row + (number - 1.5) * width for row in range(len(rows))]
            values = [row.numbers.get(column, 0) for row in rows]
            bars = panel.bar(positions, values, width, label=column)
            panel.bar_label(bars, [f"{value:,}" for value in values], fontsize=6)
        panel.set_yscale("log")
        panel.set_xticks(range(len(rows)), [f"{row.benchmark}\n({row.source})" for row in rows])
        panel.legend(ncols=len(_COLUMNS), frameon=False, loc="upper center", fontsize=8)
        smallest = min((n for row in rows for n in row.numbers.values() if n), default=1)
        panel.set_ylim(min(10, 0.8 * smallest), 1e9)

    return _write("table2", paper_tables()["table2"].title, frame, rows, folder, (8, 3.6), draw)


def write_keywords(rows: Sequence[Keywords], folder: Path) -> tuple[str, list[Path]]:
    """Write Table 5 as Markdown, LaTeX, JSON and a plot.

    Returns:
        The Markdown, and the files.
    """
    frame = pd.DataFrame(
        {
            "query": row.query,
            "paper": ", ".join(row.paper),
            "ours": ", ".join(f"{word} ({number})" for word, number in row.ours),
        }
        for row in rows
    )

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(rows), squeeze=False)[0]
        for panel, row, color in zip(panels, rows, COLORS, strict=False):
            words, numbers = zip(*reversed(row.ours), strict=True) if row.ours else ((), ())
            panel.barh(words, numbers, color=color)
            panel.set_title(row.query, fontsize=10)
            panel.set_xlabel(f"clues of {row.clues}")

    title = f"{paper_tables()['table5'].title} (ours: clues with the word, of {rows[0].clues})"
    return _write("table5", title, frame, rows, folder, (9, 3.6), draw)


def _write(
    name: str,
    title: str,
    frame: pd.DataFrame,
    rows: Sequence[Any],
    folder: Path,
    size: tuple[float, float],
    draw: Callable[[Any], None],
) -> tuple[str, list[Path]]:
    markdown = f"**{title}.**\n\n{markdown_table(frame)}\n"
    escaped = frame.map(escape_latex).rename(columns=escape_latex)
    latex = latex_table(escaped, name, f"{title}.", "l" * frame.shape[1])
    paths = write_formats(folder, name, markdown, latex, [asdict(row) for row in rows])
    save_figure(paths[-1], title, size, draw)
    return markdown, paths


__all__ = [
    "Keywords",
    "Statistics",
    "keywords_table",
    "statistics_table",
    "write_keywords",
    "write_statistics",
]
