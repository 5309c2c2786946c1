"""The report of a system's errors, from the run that its table has."""

import dataclasses
from pathlib import Path

from gemkr_hf.baselines import GeMKRSystem
from gemkr_hf.evaluation.error_analysis import write_error_report
from gemkr_hf.evaluation.question_records import read_records
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.systems import SYSTEMS
from gemkr_hf.paper.table_rows import answer, score_row
from gemkr_hf.paper.tables import check_systems, system_row


def report_errors(
    ground: Ground,
    system: str = "gemkr",
    path: Path | None = None,
    include_hits: bool = False,
    limit: int = 100,
) -> tuple[Path, dict[str, int]]:
    """Write why questions failed, for the first seed's run.

    Args:
        ground: the benchmark.
        system: of ``SYSTEMS``; it is asked first where it has no run yet.
        path: of the HTML file; ``errors-SYSTEM.html`` in the evaluation's folder where None.
        include_hits: show questions that were answered as well.
        limit: questions shown, at most.

    Returns:
        The file, and how many questions failed for which cause.
    """
    check_systems([system])
    ground.check_scorable()
    row = system_row(ground, SYSTEMS[system])
    row = dataclasses.replace(row, seeds=row.seeds[:1])
    answered = answer(ground, row)
    score_row(ground, answered)
    records = read_records(answered.folders[0])
    retriever = None
    if system == "gemkr":
        built = row.build(ground, row.seeds[0])
        assert isinstance(built, GeMKRSystem)
        built.index(ground.documents)
        retriever = built.retriever
    target = path or ground.path(f"errors-{system}.html")
    analysis = write_error_report(
        records,
        target,
        ground.benchmark.images,
        ground.knowledge_base,
        # Where nothing was detected, no detector is to blame; GeMKR brings its own.
        ground.processor if SYSTEMS[system].detects else None,
        retriever,
        ground.benchmark.scenes(ground.config.split) if ground.benchmark.scenes else None,
        limit=limit,
        include_hits=include_hits,
    )
    return target, {cause.value[0]: number for cause, number in analysis.counts().items()}


__all__ = ["report_errors"]
