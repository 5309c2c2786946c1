"""``gemkr evaluate table1`` to ``table5``, ``figure3`` and ``errors``: the paper's evaluation."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemkr_hf.cli.command_errors import log_to_standard_error, one_sentence_errors

if TYPE_CHECKING:
    from gemkr_hf.paper.system_evaluation import Evaluation

SYSTEM_NAMES = (
    "bm25, bm25-caption, dpr, corpusbrain, seal, clip, clip-fusion, vrr, reviz, reviz-ict, gemkr"
)
"""The names in ``gemkr_hf.paper.systems.SYSTEMS``, whose import loads all model libraries."""

Jobs = Annotated[
    int | None,
    typer.Option(help="Parallel runs; by default 1 on a GPU, else one per core, at most 8."),
]


def open_evaluation(
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings, see configs/evaluate_*.yaml; default: symbols."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, such as tuning.seed=3. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of all results, by default runs/evaluation. An interrupted table resumes."
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Seed of the trainings, by default 0 and 1. Repeatable."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            help="SYSTEM=FOLDER or SYSTEM=HUB_ID: use a checkpoint instead of training. "
            "Repeatable.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results of other settings.")
    ] = False,
) -> "Evaluation":
    """Open the benchmark and check all settings before any long work."""
    from gemkr_hf.utils.config import override, parse, read_yaml

    log_to_standard_error()
    settings = override({} if config is None else read_yaml(config), set_ or [])
    if output is not None:
        settings["output"] = str(output)
    if seed:
        settings["seeds"] = list(seed)
    for assignment in checkpoint or ():
        system, _, name = assignment.partition("=")
        if not name:
            raise ValueError(f"Invalid --checkpoint '{assignment}': write SYSTEM=FOLDER")
        settings["checkpoints"] = {**(settings.get("checkpoints") or {}), system: name}
    from gemkr_hf.paper.evaluation_config import EvaluationConfig
    from gemkr_hf.paper.system_evaluation import Evaluation
    from gemkr_hf.paper.systems import check_checkpoints

    parsed = parse(EvaluationConfig, settings)
    check_checkpoints(parsed.checkpoints)
    return Evaluation(parsed, log=typer.echo, overwrite=overwrite)


def evaluation_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `open_evaluation`, and its `Evaluation` as first argument."""
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = list(inspect.signature(open_evaluation).parameters.values())

    @wraps(command)
    def run(**options: Any) -> None:
        evaluation = open_evaluation(**{one.name: options.pop(one.name) for one in shared})
        command(evaluation, **options)

    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
    return one_sentence_errors(run)


def _print_table(markdown: str, paths: Iterable[Path]) -> None:
    typer.echo("\n" + markdown)
    typer.echo("Written: " + ", ".join(str(path) for path in paths))


def _make_table(
    evaluation: "Evaluation", name: str, jobs: int | None, systems: list[str] | None = None
) -> None:
    from gemkr_hf.paper.parallel_runs import default_jobs
    from gemkr_hf.paper.table_formats import to_markdown
    from gemkr_hf.paper.tables import make_table, write_result

    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs is the number of parallel runs, at least 1, got {jobs}")
    result = make_table(evaluation, name, systems or None, jobs or default_jobs())
    _print_table(to_markdown(result), write_result(result, evaluation.folder))


@evaluation_command
def table1(
    evaluation: "Evaluation",
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help=f"Only this system. Repeatable. One of {SYSTEM_NAMES}."),
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Compare all systems of the paper on one benchmark (Table 1).

    Systems without a checkpoint are trained on the benchmark, once for each seed.

    Example: gemkr evaluate table1 --system bm25 --system gemkr --seed 0
    """
    _make_table(evaluation, "table1", jobs, system)


@evaluation_command
def table2(evaluation: "Evaluation") -> None:
    """Count questions and documents of the paper's benchmarks and of this one (Table 2).

    Example: gemkr evaluate table2 --output runs/statistics
    """
    from gemkr_hf.paper.statistics_tables import statistics_table, write_statistics

    _print_table(*write_statistics(statistics_table(evaluation), evaluation.folder))


@evaluation_command
def table3(evaluation: "Evaluation", jobs: Jobs = None) -> None:
    """Train GeMKR without each of its parts (Table 3).

    Example: gemkr evaluate table3 --seed 0
    """
    _make_table(evaluation, "table3", jobs)


@evaluation_command
def table4(evaluation: "Evaluation", jobs: Jobs = None) -> None:
    """Compare GeMKR's generation strategies (Table 4).

    Example: gemkr evaluate table4 --checkpoint gemkr=runs/quickstart/model
    """
    _make_table(evaluation, "table4", jobs)


@evaluation_command
def table5(evaluation: "Evaluation") -> None:
    """Count the keywords of clues for text-only and image-only queries (Table 5).

    Example: gemkr evaluate table5 --checkpoint gemkr=runs/quickstart/model
    """
    from gemkr_hf.paper.statistics_tables import keywords_table, write_keywords

    _print_table(*write_keywords(keywords_table(evaluation), evaluation.folder))


@evaluation_command
def figure3(evaluation: "Evaluation", jobs: Jobs = None) -> None:
    """Compare GeMKR on language models of several sizes (Figure 3).

    Example: gemkr evaluate figure3 --seed 0
    """
    _make_table(evaluation, "figure3", jobs)


@evaluation_command
def errors(
    evaluation: "Evaluation",
    system: Annotated[str, typer.Option("--system", help="The system, such as gemkr.")] = "gemkr",
    html: Annotated[
        Path | None, typer.Option("--html", help="HTML file; default: in the output folder.")
    ] = None,
    hits: Annotated[
        bool, typer.Option("--hits", help="Also show questions that were answered.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of questions shown.")] = 100,
) -> None:
    """Explain why questions failed, in an HTML report with images and confusion tables.

    Example: gemkr evaluate errors --system gemkr --checkpoint gemkr=runs/quickstart/model
    """
    from gemkr_hf.paper.error_report import report_errors

    path, counts = report_errors(evaluation, system, html, hits, limit)
    for cause, number in counts.items():
        typer.echo(f"{number:5}  {cause}")
    typer.echo(f"Written: {path}")


def add_table_commands(app: typer.Typer) -> None:
    """Add the commands to ``gemkr evaluate``."""
    for command in (table1, table2, table3, table4, table5, figure3, errors):
        app.command()(command)


__all__ = ["add_table_commands"]
