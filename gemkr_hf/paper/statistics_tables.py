"""The tables of the paper that compare no systems: Table 2, of data, and Table 5, of words."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemkr_hf.evaluation.clue_keywords import top_keywords
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.gemkr_rows import gemkr_system, trained_gemkr
from gemkr_hf.paper.paper_figures import paper_tables
from gemkr_hf.paper.table_formats import latex_table, markdown_table, tex, write_text
from gemkr_hf.utils.io import atomic_file

KEYWORDS = 10
_SPLITS = ("train", "validation", "test", "documents")


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
        query: what the queries were made of.
        paper: the paper's words, most frequent first.
        ours: words in the best clues, and how many clues hold them.
        clues: how many clues there were.
    """

    query: str
    paper: Sequence[str]
    ours: Sequence[tuple[str, int]]
    clues: int


def statistics_table(ground: Ground) -> list[Statistics]:
    """Table 2: questions of each split and documents; the paper's benchmarks, then ours."""
    rows = [
        Statistics(name, "paper", numbers)
        for name, numbers in paper_tables()["table2"].rows.items()
    ]
    questions = ground.benchmark.questions
    number = len(ground.benchmark.documents) or len(ground.knowledge_base)
    ours = {split: len(questions[split]) for split in questions}
    return [*rows, Statistics(ground.benchmark.name, "here", {**ours, "documents": number})]


def keywords_table(ground: Ground, questions: int = 100) -> list[Keywords]:
    """Table 5: the most frequent words in the best clues of queries without image or question.

    Args:
        ground: the benchmark.
        questions: how many of the split are asked ("we sample 100 data points").
    """
    if ground.images is None:
        raise ValueError("Table 5 asks with images alone, and data.images names none")
    system = gemkr_system(ground, trained_gemkr(ground, ground.config.seeds[0]))
    system.index(ground.documents)
    assert system.retriever is not None
    asked = ground.asked[:questions]
    words = [record["question"] for record in asked]
    rows = []
    nothing: list[Any] = [None] * len(asked)
    for query, images, texts in (
        ("Only Textual Query", None, words),
        ("Only Visual Query", ground.images[: len(asked)], nothing),
    ):
        hits: Any = system.retriever.retrieve(images, texts, k=1)
        clues = [of_question[0].clues[0].text for of_question in hits if of_question]
        paper = paper_tables()["table5"].rows[query]
        rows.append(Keywords(query, paper, top_keywords(clues, KEYWORDS), len(clues)))
    return rows


def write_statistics(rows: Sequence[Statistics], folder: Path) -> tuple[str, list[Path]]:
    """Table 2 as Markdown, which comes back, LaTeX, JSON and a plot; and their paths."""
    splits = [*_SPLITS[:-1]]
    splits += [name for row in rows for name in row.numbers if name not in {*splits, "documents"}]
    columns = [*dict.fromkeys(splits), "documents"]
    cells = [
        [
            row.benchmark,
            row.source,
            *(f"{row.numbers[name]:,}" if name in row.numbers else "-" for name in columns),
        ]
        for row in rows
    ]
    title = paper_tables()["table2"].title
    return _write(
        "table2", title, ["benchmark", "from", *columns], cells, rows, folder, _draw_sizes
    )


def write_keywords(rows: Sequence[Keywords], folder: Path) -> tuple[str, list[Path]]:
    """Table 5 as Markdown, which comes back, LaTeX, JSON and a plot; and their paths."""
    cells = [
        [
            row.query,
            ", ".join(row.paper),
            ", ".join(f"{word} ({number})" for word, number in row.ours),
        ]
        for row in rows
    ]
    title = f"{paper_tables()['table5'].title} (ours: clues that hold the word, of {rows[0].clues})"
    heads = ["query", "paper", "ours"]
    return _write("table5", title, heads, cells, rows, folder, _draw_keywords)


def _write(
    name: str,
    title: str,
    heads: Sequence[str],
    cells: Sequence[Sequence[str]],
    rows: Sequence[Any],
    folder: Path,
    draw: Callable[[Sequence[Any]], Any],
) -> tuple[str, list[Path]]:
    markdown = f"**{title}.**\n\n{markdown_table(heads, cells)}\n"
    in_latex = [[tex(cell) for cell in row] for row in (heads, *cells)]
    columns = "l" * len(heads)
    latex = latex_table(name, f"{tex(title)}.", columns, in_latex[:1], in_latex[1:])
    paths = [folder / f"{name}.{kind}" for kind in ("md", "tex", "json", "png")]
    plain = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n"
    for path, text in zip(paths, (markdown, latex, plain), strict=False):
        write_text(path, text)
    figure = draw(rows)
    figure.suptitle(title, fontsize=10)
    with atomic_file(paths[-1]) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return markdown, paths


def _draw_sizes(rows: Sequence[Statistics]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panel = figure.subplots()
    width = 0.8 / len(_SPLITS)
    for number, split in enumerate(_SPLITS):
        places = [row + (number - 1.5) * width for row in range(len(rows))]
        bars = panel.bar(places, [row.numbers.get(split, 0) for row in rows], width, label=split)
        panel.bar_label(bars, [f"{row.numbers.get(split, 0):,}" for row in rows], fontsize=6)
    panel.set_yscale("log")
    panel.set_xticks(range(len(rows)), [f"{row.benchmark}\n({row.source})" for row in rows])
    panel.legend(ncols=len(_SPLITS), frameon=False, loc="upper center", fontsize=8)
    smallest = min((number for row in rows for number in row.numbers.values() if number), default=1)
    panel.set_ylim(min(10, 0.8 * smallest), 1e9)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    return figure


def _draw_keywords(rows: Sequence[Keywords]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for panel, row, color in zip(panels, rows, ("#2b6cb0", "#c05621"), strict=False):
        words = [word for word, _ in row.ours][::-1]
        panel.barh(words, [number for _, number in row.ours][::-1], color=color)
        panel.set_title(row.query, fontsize=10)
        panel.set_xlabel(f"clues of {row.clues}")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure


__all__ = [
    "Keywords",
    "Statistics",
    "keywords_table",
    "statistics_table",
    "write_keywords",
    "write_statistics",
]
