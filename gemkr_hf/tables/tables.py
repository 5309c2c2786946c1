"""The tables of the paper, each of rows that are made, kept and continued one by one."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gemkr_hf.evaluation.hits import reads_texts
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.retrievers import Retriever
from gemkr_hf.tables.config import LanguageModelSize
from gemkr_hf.tables.gemkr import BLIND, FULL, gemkr_system, trained_gemkr
from gemkr_hf.tables.ground import Ground
from gemkr_hf.tables.paper import paper_tables
from gemkr_hf.tables.plots import plot_result
from gemkr_hf.tables.result import Measured, Result, make_rows
from gemkr_hf.tables.rows import Row, answer, score_row
from gemkr_hf.tables.systems import GEMKR, SYSTEMS, System, check_checkpoints
from gemkr_hf.tables.writing import to_json, to_latex, to_markdown, write_text

STRATEGIES = {
    "document": "Full Document w/ Constraints",
    "first_sentence": "First Sentence w/ Constraints",
    "clue": "Knowledge Clue w/ Constraints",
    "free": "Free Text w/o Constraints",
}
"""Strategy of ``GeMKRRetriever.retrieve`` -> the row of Table 4."""


def check_systems(names: Sequence[str]) -> None:
    """Raise ValueError where a name is no system's, or stands twice."""
    for name in names:
        if name not in SYSTEMS:
            raise ValueError(f"There is no system '{name}': there are {', '.join(SYSTEMS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"A system is named twice: {', '.join(names)}")


def system_row(ground: Ground, system: System) -> Row:
    """What is asked of a system of Table 1, with its checkpoint or with each seed."""
    named = ground.config.checkpoints.get(system.name.removesuffix("-fusion"))
    seeds = ground.config.seeds
    settings = ground.settings_of(*system.settings) if named is None else {"checkpoint": named}
    if system.reads_captions:
        settings |= ground.settings_of("captions")
    return Row(
        system.label,
        system.build,
        seeds if system.trained and named is None else seeds[:1],
        system.reads_captions,
        settings,
    )


def _gemkr_settings(ground: Ground) -> dict[str, object]:
    named = ground.config.checkpoints.get(GEMKR)
    if named is not None:
        return {"checkpoint": named}
    return ground.settings_of("tuning", "sampling", "aggregate")


def systems_table(
    ground: Ground, names: Sequence[str] | None = None, overwrite: bool = False
) -> Result:
    """Table 1: all systems, or some of them.

    Args:
        ground: the benchmark.
        names: of ``SYSTEMS``; all where None.
        overwrite: replace runs that were made with other settings.

    Raises:
        ValueError: an unknown system.
    """
    check_checkpoints(ground.config.checkpoints)
    check_systems(names or ())
    names = [name for name in SYSTEMS if names is None or name in names]
    rows = [system_row(ground, SYSTEMS[name]) for name in names]
    papers = [SYSTEMS[name].paper for name in names]
    return _result(ground, "table1", rows, papers, SYSTEMS[GEMKR].label, overwrite)


def ablations_table(ground: Ground, overwrite: bool = False) -> Result:
    """Table 3: GeMKR trained anew without each of its parts."""
    rows = []
    for label in ABLATIONS:
        if label == FULL:  # Table 1's row, found again
            rows.append(system_row(ground, SYSTEMS[GEMKR]))
            continue
        blind = label == BLIND
        settings = ground.settings_of("tuning", "sampling", "aggregate")
        if blind:
            settings |= ground.settings_of("captions")
        rows.append(
            Row(
                label,
                partial(_ablated, label=label),
                ground.config.seeds,
                blind,
                {**settings, "ablation": label},
            )
        )
    reference = SYSTEMS[GEMKR].label
    return _result(ground, "table3", rows, list(ABLATIONS), reference, overwrite)


def _ablated(ground: Ground, seed: int, label: str) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed, label))


def strategies_table(ground: Ground, overwrite: bool = False) -> Result:
    """Table 4: the full model with each generation strategy."""
    full = system_row(ground, SYSTEMS[GEMKR])
    rows = [
        Row(
            label,
            partial(_with_strategy, strategy=strategy),
            full.seeds,
            settings={**_gemkr_settings(ground), "strategy": strategy},
        )
        for strategy, label in STRATEGIES.items()
    ]
    labels = list(STRATEGIES.values())
    return _result(ground, "table4", rows, labels, STRATEGIES["clue"], overwrite)


def _with_strategy(ground: Ground, seed: int, strategy: str) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed), strategy=strategy)


def sizes_figure(ground: Ground, overwrite: bool = False) -> Result:
    """Figure 3: other language models, tuned alike."""
    sizes = ground.config.language_models
    rows = [
        Row(
            size.name,
            partial(_of_size, size=size),
            ground.config.seeds[:1],
            settings={
                **ground.settings_of("tuning", "sampling", "aggregate"),
                "language_model": dataclasses.asdict(size),
            },
        )
        for size in sizes
    ]
    labels = [size.name for size in sizes]
    return _result(ground, "figure3", rows, labels, labels[-1], overwrite)


def _of_size(ground: Ground, seed: int, size: LanguageModelSize) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed, size=size))


def _result(
    ground: Ground,
    name: str,
    rows: Sequence[Row],
    papers: Sequence[str],
    reference: str,
    overwrite: bool,
) -> Result:
    paper = paper_tables()[name]
    measured = []
    for row, in_paper in zip(rows, papers, strict=True):
        answered = answer(ground, row, overwrite)
        scores = score_row(ground, answered)
        measured.append(
            Measured(
                row.label,
                {benchmark: paper.figures(in_paper, benchmark) for benchmark in paper.measures},
                scores,
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
        ground.config.seeds,
        measures,
        reference,
        make_rows(measured, measures, reference),
    )


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
    return paths


TABLES: dict[str, Callable[..., Result]] = {
    "table1": systems_table,
    "table3": ablations_table,
    "table4": strategies_table,
    "figure3": sizes_figure,
}
"""The tables that compare systems; Tables 2 and 5 say something else."""


__all__ = [
    "STRATEGIES",
    "TABLES",
    "ablations_table",
    "check_systems",
    "sizes_figure",
    "strategies_table",
    "system_row",
    "systems_table",
    "write_result",
]
