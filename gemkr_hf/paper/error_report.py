"""The error report of a system, from its run in the tables."""

from pathlib import Path

from gemkr_hf.evaluation.error_analysis import write_error_report
from gemkr_hf.evaluation.question_records import read_records
from gemkr_hf.paper.gemkr_systems import gemkr
from gemkr_hf.paper.runs import make_run, run_folder, score_runs
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.systems import SYSTEMS, check_systems, check_trainable


def report_errors(
    evaluation: Evaluation,
    system: str = "gemkr",
    path: Path | None = None,
    include_hits: bool = False,
    limit: int = 100,
) -> tuple[Path, dict[str, int]]:
    """Write why questions failed, for the run of the first seed.

    Args:
        evaluation: the evaluation.
        system: a name in ``SYSTEMS``; its run is made first if it is missing.
        path: path of the HTML file; ``errors-SYSTEM.html`` in the evaluation's folder if None.
        include_hits: also show questions that were answered.
        limit: maximum number of questions shown.

    Returns:
        The file, and cause -> number of failed questions.
    """
    check_systems([system])
    evaluation.check_scorable()
    chosen, seed = SYSTEMS[system], evaluation.config.seeds[0]
    check_trainable(evaluation, [chosen])
    run, _ = make_run(evaluation, chosen, seed)
    score_runs(evaluation, chosen, {seed: run})
    scenes = evaluation.benchmark.scenes
    target = path or evaluation.path(f"errors-{system}.html")
    analysis = write_error_report(
        read_records(run_folder(evaluation, chosen, seed)),
        target,
        evaluation.benchmark.images,
        evaluation.knowledge_base,
        # Without object detection, no error can be the detector's; GeMKR has its own processor.
        evaluation.processor if chosen.detects_objects else None,
        gemkr(evaluation, seed) if system == "gemkr" else None,
        scenes(evaluation.config.split) if scenes else None,
        limit=limit,
        include_hits=include_hits,
    )
    return target, {cause.value[0]: number for cause, number in analysis.counts().items()}


__all__ = ["report_errors"]
