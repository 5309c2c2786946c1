"""``gemkr evaluate table1`` and its like: the paper's tables, its figures and ours side by side."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemkr_hf.cli.command_errors import be_quiet, log_to_standard_error, one_sentence_errors

if TYPE_CHECKING:
    from gemkr_hf.paper.evaluation_context import Ground

NAMES = (
    "bm25, bm25-caption, dpr, corpusbrain, seal, clip, clip-fusion, vrr, reviz, reviz-ict, gemkr"
)
"""Of ``gemkr_hf.paper.systems.SYSTEMS``, which would load the models' libraries."""

Config = Annotated[
    Path | None,
    typer.Option(help="YAML file of settings, see configs/; the symbols benchmark without one."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, such as tuning.num_train_epochs=3; several times."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder of everything that is made, runs/evaluation by default; a table that was "
        "stopped goes on in it, row by row."
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option("--seed", help="Of what is trained; several times; 0 and 1 by default."),
]
Checkpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoint",
        help="SYSTEM=FOLDER or SYSTEM=HUB_ID in the place of training it; several times.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(help="Runs made side by side; one a core without a GPU, at most 8."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace runs that were made with other settings.")
]


def _ground(
    config: Path | None,
    assignments: list[str] | None,
    output: Path | None,
    seeds: list[int] | None,
    checkpoints: list[str] | None,
    overwrite: bool,
) -> "Ground":
    """The benchmark, its settings checked before anything long begins."""
    from gemkr_hf.utils.config import override, parse, read_yaml

    be_quiet()
    log_to_standard_error()
    settings = override({} if config is None else read_yaml(config), assignments or [])
    if output is not None:
        settings["output"] = str(output)
    if seeds:
        settings["seeds"] = list(seeds)
    if checkpoints:
        named = dict(settings.get("checkpoints") or {})
        for one in checkpoints:
            system, sign, place = one.partition("=")
            if not sign or not place:
                raise ValueError(f"'{one}' names no checkpoint: write SYSTEM=FOLDER")
            named[system] = place
        settings["checkpoints"] = named
    from gemkr_hf.paper.evaluation_config import EvaluationConfig
    from gemkr_hf.paper.evaluation_context import Ground
    from gemkr_hf.paper.systems import check_checkpoints

    parsed = parse(EvaluationConfig, settings)
    check_checkpoints(parsed.checkpoints)
    return Ground(parsed, say=typer.echo, overwrite=overwrite)


def _make(
    ground: "Ground",
    name: str,
    jobs: int | None,
    systems: list[str] | None = None,
) -> None:
    """Make a table, print it, and write it down."""
    from gemkr_hf.paper.parallel_runs import usual_jobs
    from gemkr_hf.paper.table_formats import to_markdown
    from gemkr_hf.paper.tables import make_table, write_result

    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs is the number of runs made side by side, at least 1, got {jobs}")
    result = make_table(ground, name, systems or None, jobs or usual_jobs())
    _say(to_markdown(result), write_result(result, ground.folder).values())


def table1(
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help=f"Only this one; several times. One of {NAMES}."),
    ] = None,
    config: Config = None,
    set_: Assignments = None,
    output: Output = None,
    seed: Seeds = None,
    checkpoint: Checkpoints = None,
    jobs: Jobs = None,
    overwrite: Overwrite = False,
) -> None:
    """Every system of the paper on one benchmark (Table 1).

    What has no checkpoint is trained on the benchmark, once with each seed.

    Example: gemkr evaluate table1 --system bm25 --system gemkr --seed 0
    """
    ground = _ground(config, set_, output, seed, checkpoint, overwrite)
    _make(ground, "table1", jobs, system)


def _table_command(name: str, about: str, example: str) -> Callable[..., None]:
    def command(
        config: Config = None,
        set_: Assignments = None,
        output: Output = None,
        seed: Seeds = None,
        checkpoint: Checkpoints = None,
        jobs: Jobs = None,
        overwrite: Overwrite = False,
    ) -> None:
        ground = _ground(config, set_, output, seed, checkpoint, overwrite)
        _make(ground, name, jobs)

    command.__name__ = name
    command.__doc__ = f"{about}\n\nExample: {example}"
    return command


def table2(
    config: Config = None,
    set_: Assignments = None,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Questions and documents of the paper's benchmarks and of this one (Table 2).

    Example: gemkr evaluate table2 --config configs/evaluate_okvqa_gs112k.yaml
    """
    ground = _ground(config, set_, output, None, None, overwrite)
    from gemkr_hf.paper.statistics_tables import statistics_table, write_statistics

    _say(*write_statistics(statistics_table(ground), ground.folder))


def table5(
    config: Config = None,
    set_: Assignments = None,
    output: Output = None,
    seed: Seeds = None,
    checkpoint: Checkpoints = None,
    overwrite: Overwrite = False,
) -> None:
    """The words of clues of queries without an image and without a question (Table 5).

    Example: gemkr evaluate table5 --checkpoint gemkr=runs/quickstart/model
    """
    ground = _ground(config, set_, output, seed, checkpoint, overwrite)
    from gemkr_hf.paper.statistics_tables import keywords_table, write_keywords

    _say(*write_keywords(keywords_table(ground), ground.folder))


def _say(markdown: str, paths: Iterable[Path]) -> None:
    typer.echo("\n" + markdown)
    typer.echo("Written: " + ", ".join(str(path) for path in paths))


def errors(
    system: Annotated[str, typer.Option("--system", help="Whose run, such as gemkr.")] = "gemkr",
    html: Annotated[
        Path | None, typer.Option("--html", help="The report; in the output's folder by default.")
    ] = None,
    hits: Annotated[
        bool, typer.Option("--hits", help="Show questions that were answered as well.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Questions shown, at most.")] = 100,
    config: Config = None,
    set_: Assignments = None,
    output: Output = None,
    seed: Seeds = None,
    checkpoint: Checkpoints = None,
    overwrite: Overwrite = False,
) -> None:
    """Why questions failed: an HTML report with images, and tables of confusion.

    Example: gemkr evaluate errors --system gemkr --checkpoint gemkr=runs/quickstart/model
    """
    ground = _ground(config, set_, output, seed, checkpoint, overwrite)
    from gemkr_hf.paper.error_report import report_errors

    path, counts = report_errors(ground, system, html, hits, limit)
    for cause, number in counts.items():
        typer.echo(f"{number:5}  {cause}")
    typer.echo(f"Written: {path}")


def add_table_commands(app: typer.Typer) -> None:
    """Add the commands of the tables to ``gemkr evaluate``."""
    app.command()(one_sentence_errors(table1))
    app.command()(one_sentence_errors(table2))
    for name, about, example in (
        (
            "table3",
            "GeMKR trained anew without each of its parts (Table 3).",
            "gemkr evaluate table3 --seed 0",
        ),
        (
            "table4",
            "GeMKR with each generation strategy (Table 4).",
            "gemkr evaluate table4 --checkpoint gemkr=runs/quickstart/model",
        ),
    ):
        app.command(name)(one_sentence_errors(_table_command(name, about, example)))
    app.command()(one_sentence_errors(table5))
    app.command("figure3")(
        one_sentence_errors(
            _table_command(
                "figure3",
                "GeMKR on language models of several sizes (Fig. 3).",
                "gemkr evaluate figure3 --seed 0",
            )
        )
    )
    app.command()(one_sentence_errors(errors))


__all__ = ["add_table_commands"]
