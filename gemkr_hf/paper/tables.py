"""The tables of the paper, each of rows that are made, kept and continued one by one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gemkr_hf.baselines import Retriever
from gemkr_hf.evaluation.hits import reads_texts
from gemkr_hf.evaluation.significance import Interval
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.paper.evaluation_config import LanguageModelSize
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.gemkr_rows import BLIND, FULL, gemkr_system, trained_gemkr
from gemkr_hf.paper.paper_figures import PaperTable, paper_tables
from gemkr_hf.paper.parallel_runs import RowsOf, answer_side_by_side
from gemkr_hf.paper.systems import GEMKR, SYSTEMS, System, check_checkpoints
from gemkr_hf.paper.table_formats import to_json, to_latex, to_markdown, write_text
from gemkr_hf.paper.table_plot import plot_result
from gemkr_hf.paper.table_result import Measured, Result, ResultRow, make_rows
from gemkr_hf.paper.table_rows import Row, answer, score_row
from gemkr_hf.paper.weights_digest import weights_digest
from gemkr_hf.training.training_checks import has_images

STRATEGIES = {
    "document": "Full Document w/ Constraints",
    "first_sentence": "First Sentence w/ Constraints",
    "clue": "Knowledge Clue w/ Constraints",
    "free": "Free Text w/o Constraints",
}
"""Strategy of ``GeMKRRetriever.retrieve`` -> the row of Table 4."""
TABLES = ("table1", "table3", "table4", "figure3")
"""Those that compare systems; Tables 2 and 5 say something else."""


def check_systems(names: Sequence[str]) -> None:
    """Raise ValueError where a name is no system's, or stands twice."""
    for name in names:
        if name not in SYSTEMS:
            raise ValueError(f"There is no system '{name}': there are {', '.join(SYSTEMS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"A system is named twice: {', '.join(names)}")


def system_row(ground: Ground, system: System) -> Row:
    """What is asked of a system of Table 1, with its checkpoints or with each seed."""
    named = {
        part: ground.config.checkpoints[part]
        for part in system.parts
        if part in ground.config.checkpoints
    }
    trained = len(named) < len(system.parts)
    settings: dict[str, object] = ground.settings_of(*system.settings) if trained else {}
    if named:
        settings["checkpoints"] = named
        settings["weights"] = {part: weights_digest(place) for part, place in named.items()}
    if system.reads_captions:
        settings |= caption_settings(ground)
    return Row(
        system.label,
        system.build,
        ground.config.seeds if trained else ground.config.seeds[:1],
        system.reads_captions,
        settings,
        tuple(SYSTEMS[name].label for name in system.after),
        trained and system.looks,
    )


def caption_settings(ground: Ground) -> dict[str, object]:
    """What the captions of those rows that read them follow from."""
    written_by = ground.config.checkpoints.get("captions")
    settings = ground.settings_of("captions")
    return settings if written_by is None else {**settings, "captions by": written_by}


def system_rows(ground: Ground, names: Sequence[str] | None = None) -> list[Row]:
    """Table 1's rows: all systems, or some of them, in the table's order."""
    return [
        system_row(ground, system)
        for name, system in SYSTEMS.items()
        if names is None or name in names
    ]


def ablation_rows(ground: Ground) -> list[Row]:
    """Table 3's rows: the full model, which is Table 1's, and it without each of its parts."""
    rows = []
    for label in ABLATIONS:
        if label == FULL:
            rows.append(system_row(ground, SYSTEMS[GEMKR]))
            continue
        blind = label == BLIND
        settings = ground.settings_of("tuning", "sampling", "aggregate")
        if blind:
            settings |= caption_settings(ground)
        rows.append(
            Row(
                label,
                partial(_ablated, label=label),
                ground.config.seeds,
                blind,
                {**settings, "ablation": label},
                looks=not blind,
            )
        )
    return rows


def _ablated(ground: Ground, seed: int, label: str) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed, label))


def strategy_rows(ground: Ground) -> list[Row]:
    """Table 4's rows: the full model with each generation strategy."""
    full = system_row(ground, SYSTEMS[GEMKR])
    first = STRATEGIES["clue"]  # trains the model, unless Table 1 has
    return [
        Row(
            label,
            partial(_with_strategy, strategy=strategy),
            full.seeds,
            settings={**full.settings, "strategy": strategy},
            after=() if label == first else (first,),
            looks=full.looks,
        )
        for strategy, label in STRATEGIES.items()
    ]


def _with_strategy(ground: Ground, seed: int, strategy: str) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed), strategy=strategy)


def size_rows(ground: Ground) -> list[Row]:
    """Figure 3's rows: other language models, tuned alike."""
    return [
        Row(
            size.name,
            partial(_of_size, size=size),
            ground.config.seeds[:1],
            settings={
                **ground.settings_of("tuning", "sampling", "aggregate"),
                "language_model": dataclasses.asdict(size),
            },
            looks=True,
        )
        for size in ground.config.language_models
    ]


def _of_size(ground: Ground, seed: int, size: LanguageModelSize) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed, size=size))


@dataclass(frozen=True)
class TableOfSystems:
    """A table, or the figure, that compares systems.

    Attributes:
        name: of the paper's.
        rows_of: makes its rows.
        papers: the paper's row that each of them stands beside.
        reference: label of the row that the others are tested against.
    """

    name: str
    rows_of: RowsOf
    papers: Sequence[str]
    reference: str


def table_of(ground: Ground, name: str, systems: Sequence[str] | None = None) -> TableOfSystems:
    """Table 1, 3 or 4, or Figure 3.

    Args:
        ground: the benchmark.
        name: of ``TABLES``.
        systems: of Table 1; all where None.

    Raises:
        ValueError: no such table or system, or a checkpoint for something that has none.
    """
    check_checkpoints(ground.config.checkpoints)
    gemkr = SYSTEMS[GEMKR].label
    if name == "table1":
        check_systems(systems or ())
        papers = [s.paper for n, s in SYSTEMS.items() if systems is None or n in systems]
        return TableOfSystems(name, partial(system_rows, names=systems), papers, gemkr)
    if name == "table3":
        return TableOfSystems(name, ablation_rows, list(ABLATIONS), gemkr)
    if name == "table4":
        labels = list(STRATEGIES.values())
        return TableOfSystems(name, strategy_rows, labels, STRATEGIES["clue"])
    if name == "figure3":
        labels = [size.name for size in ground.config.language_models]
        return TableOfSystems(name, size_rows, labels, labels[-1])
    raise ValueError(f"A table of systems is one of {', '.join(TABLES)}, not '{name}'")


def make_table(
    ground: Ground,
    name: str,
    systems: Sequence[str] | None = None,
    jobs: int = 1,
) -> Result:
    """Make the runs of a table that are missing, and score all of them.

    Args:
        ground: the benchmark.
        name: of ``TABLES``.
        systems: of Table 1; all where None.
        jobs: runs that are made side by side, each in a process of its own; above 1 the benchmark
            must be one that the configuration names.

    Raises:
        ValueError: no such table or system, or a run that was made with other settings.
    """
    table = table_of(ground, name, systems)
    paper = paper_tables()[name]
    rows = table.rows_of(ground)
    ground.check_scorable()
    _check_trainable(ground, rows)
    if name == "table1":
        _tell_unused(ground, systems, rows)
    if jobs > 1:
        answer_side_by_side(ground, table.rows_of, jobs)
    measured = []
    for row, in_paper in zip(rows, table.papers, strict=True):
        answered = answer(ground, row)
        measured.append(
            Measured(
                row.label,
                {benchmark: paper.figures(in_paper, benchmark) for benchmark in paper.measures},
                score_row(ground, answered),
                answered.seconds,
                answered.seconds_a_question,
            )
        )
    measures = tuple(
        measure
        for measure in ground.config.measures
        if not (measure.startswith("nDCG") and reads_texts(ground.config.hit))
    )
    return Result(
        name,
        paper.title,
        ground.benchmark.name,
        ground.config.split,
        len(ground.asked),
        ground.config.hit,
        tuple(sorted({seed for row in rows for seed in row.seeds})),
        measures,
        table.reference,
        (*_paper_rows(table, paper, measures), *make_rows(measured, measures, table.reference)),
        _notes(jobs, table, paper),
        _paper_benchmark(ground),
    )


def _tell_unused(ground: Ground, systems: Sequence[str] | None, rows: Sequence[Row]) -> None:
    used = {part for name in systems or SYSTEMS for part in SYSTEMS[name].parts}
    used |= {"captions"} if any(row.reads_captions for row in rows) else set()
    for name in ground.config.checkpoints:
        if name not in used:
            ground.say(f"The checkpoint for {name} is left aside: no row that was asked for has it")


def _check_trainable(ground: Ground, rows: Sequence[Row]) -> None:
    """Raise ValueError for a system that would learn from images where there are none."""
    looking = [row for row in rows if row.looks]
    if looking and not has_images(ground.benchmark):
        raise ValueError(
            f"{looking[0].label} learns from images, and data.images names none: choose others "
            "(--system bm25) or name a folder of images"
        )
    if looking:
        _ = ground.training_questions


def _paper_rows(
    table: TableOfSystems, paper: PaperTable, measures: Sequence[str]
) -> list[ResultRow]:
    """Rows of the paper that none of ours stands beside, where it gives their figures."""
    absent = Interval(float("nan"), float("nan"), float("nan"))
    return [
        ResultRow(
            f"{name} (paper)",
            {benchmark: paper.figures(name, benchmark) for benchmark in paper.measures},
            dict.fromkeys(measures, absent),
            {},
        )
        for name, figures in paper.rows.items()
        if table.name == "figure3" and figures and name not in table.papers
    ]


def _notes(jobs: int, table: TableOfSystems, paper: PaperTable) -> tuple[str, ...]:
    drawn = [name for name, figures in paper.rows.items() if not figures]
    notes = []
    if table.name == "figure3":
        notes.append(
            f"The paper draws {', '.join(drawn)} without figures; LLaMA-7b's are in its Table 1."
        )
    told = (
        "Seconds: of training and index before the first answer, a mean over the runs (a part that "
        "another row has trained is not counted), and of an answer"
    )
    if jobs > 1:
        told += f"; up to {jobs} runs were made side by side, each with one thread"
    return (*notes, told + ".")


def _paper_benchmark(ground: Ground) -> str:
    """The paper's benchmark that this one is, or that a drawing shows beside another."""
    if ground.config.data.format == "remuq":
        return "ReMuQ"
    large = ground.config.data.format == "okvqa" and len(ground.knowledge_base) > 10**6
    return "OKVQA-WK21M" if large else "OKVQA-GS112K"


def write_result(result: Result, folder: Path) -> dict[str, Path]:
    """Markdown, LaTeX, JSON and a plot of a result.

    Returns:
        Kind -> file.
    """
    paths = {kind: folder / f"{result.name}.{kind}" for kind in ("md", "tex", "json", "png")}
    write_text(paths["md"], to_markdown(result))
    write_text(paths["tex"], to_latex(result))
    write_text(paths["json"], to_json(result))
    plot_result(result, paths["png"])
    return {kind: path for kind, path in paths.items() if path.exists()}


__all__ = [
    "STRATEGIES",
    "TABLES",
    "check_systems",
    "make_table",
    "system_row",
    "table_of",
    "write_result",
]
