"""Tables 1, 3 and 4 and Figure 3 of the paper: run the systems, score them, write the results."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gemkr_hf.evaluation.hits import reads_texts
from gemkr_hf.paper.parallel_runs import make_runs_in_parallel
from gemkr_hf.paper.reported_results import PaperTable, paper_tables
from gemkr_hf.paper.result_table import NOT_MEASURED, ResultRow, ResultTable, with_p_values
from gemkr_hf.paper.runs import make_run, score_runs
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.systems import System, check_trainable, table_systems, unused_checkpoints
from gemkr_hf.paper.table_formats import to_latex, to_markdown, write_formats
from gemkr_hf.paper.table_plot import plot_result


def make_table(
    evaluation: Evaluation, name: str, systems: Sequence[str] | None = None, jobs: int = 1
) -> ResultTable:
    """Make the missing runs of a table, and score all of its runs.

    Args:
        evaluation: the evaluation.
        name: ``table1``, ``table3``, ``table4`` or ``figure3``.
        systems: systems of Table 1; all if None.
        jobs: runs made in parallel, each in its own process. With more than one the benchmark must
            be the one that the configuration describes.

    Raises:
        ValueError: Unknown table or system, or a run was made with other settings.
    """
    paper = paper_tables()[name] if name in paper_tables() else PaperTable(name, "")
    chosen, reference = table_systems(evaluation, name, systems)
    evaluation.check_scorable()
    check_trainable(evaluation, chosen)
    if name == "table1":
        for part in unused_checkpoints(evaluation, chosen):
            evaluation.log(f"Ignored the checkpoint for {part}: no requested system uses it")
    if jobs > 1:
        make_runs_in_parallel(evaluation, chosen, jobs)
    config = evaluation.config
    # Without all relevant documents, nDCG is not defined.
    measures = [
        m for m in config.measures if not (m.startswith("nDCG") and reads_texts(config.hit))
    ]
    rows, scores = [], []
    for system in chosen:
        results = {seed: make_run(evaluation, system, seed) for seed in system.seeds(evaluation)}
        runs = {seed: run for seed, (run, _) in results.items()}
        scores.append(score_runs(evaluation, system, runs))
        rows.append(
            ResultRow.from_scores(
                system.label,
                paper.all_figures(system.paper),
                scores[-1],
                measures,
                sum(seconds for _, seconds in results.values()) / len(results),
                sum(run.seconds or 0.0 for run in runs.values()) / len(runs),
            )
        )
    return ResultTable(
        name,
        paper.title,
        evaluation.benchmark.name,
        config.split,
        len(evaluation.test_questions),
        config.hit,
        tuple(sorted({seed for system in chosen for seed in system.seeds(evaluation)})),
        tuple(measures),
        reference,
        (*_paper_rows(paper, chosen, measures), *with_p_values(rows, scores, reference)),
        _notes(paper, jobs),
        _paper_benchmark(evaluation),
    )


def _paper_rows(
    paper: PaperTable, systems: Sequence[System], measures: Sequence[str]
) -> list[ResultRow]:
    """Return the rows of Figure 3 for which the paper reports figures and that we do not run."""
    ours = {system.paper for system in systems}
    return [
        ResultRow(f"{name} (paper)", paper.all_figures(name), dict.fromkeys(measures, NOT_MEASURED))
        for name, figures in paper.rows.items()
        if paper.name == "figure3" and figures and name not in ours
    ]


def _notes(paper: PaperTable, jobs: int) -> tuple[str, ...]:
    note = (
        "Seconds: training and indexing before the first question, mean over the runs (without "
        "parts that another row trained), and time per question"
    )
    if jobs > 1:
        note += f"; up to {jobs} runs in parallel, each with one thread"
    notes = [note + "."]
    if paper.name == "figure3":
        drawn = ", ".join(name for name, figures in paper.rows.items() if not figures)
        notes.insert(0, f"The paper draws {drawn} without figures; LLaMA-7b's are in its Table 1.")
    return tuple(notes)


def _paper_benchmark(evaluation: Evaluation) -> str:
    """Return the paper's benchmark to compare with."""
    data_format = evaluation.config.data.format
    if data_format == "remuq":
        return "ReMuQ"
    large = data_format == "okvqa" and len(evaluation.knowledge_base) > 10**6
    return "OKVQA-WK21M" if large else "OKVQA-GS112K"


def write_result(result: ResultTable, folder: Path) -> list[Path]:
    """Write a table as Markdown, LaTeX, JSON (shares in [0, 1]) and a plot.

    Returns:
        The files.
    """
    paths = write_formats(
        folder, result.name, to_markdown(result), to_latex(result), asdict(result)
    )
    plot_result(result, paths[-1])
    return [path for path in paths if path.exists()]


__all__ = ["make_table", "write_result"]
