"""``gemkr evaluate``: how good what was retrieved is, and whether one system is better."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemkr_hf.cli.command_errors import be_quiet, one_sentence_errors
from gemkr_hf.cli.table_commands import add_table_commands
from gemkr_hf.utils.config import read_yaml

if TYPE_CHECKING:
    from gemkr_hf.data import DataConfig
    from gemkr_hf.evaluation.comparison import Comparison
    from gemkr_hf.evaluation.question_records import Record
    from gemkr_hf.evaluation.run_metrics import Scores
    from gemkr_hf.evaluation.significance import Interval

evaluate = typer.Typer(
    no_args_is_help=True,
    help="Measure what was retrieved, and compare systems question by question.\n"
    "\nExample: gemkr evaluate score run.trec --measure P@5 --measure MRR@10",
)

add_table_commands(evaluate)

Data = Annotated[
    Path | None,
    typer.Option(help="YAML file with a section 'data', see gemkr data check; else the symbols."),
]
Split = Annotated[str, typer.Option(help="Of the benchmark's questions.")]


@evaluate.command()
@one_sentence_errors
def score(
    run_file: Annotated[
        Path,
        typer.Argument(
            help="TREC run; or JSON (.json): lists of document ids, best first, in the order of "
            "the questions or by their ids."
        ),
    ],
    data: Data = None,
    split: Split = "test",
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="What a hit is: gold (by default), vrr, dpr, preflmr, word, gemkr; several times."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="P, R, MRR, nDCG or distinct with its K, such as P@5; several times."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the system; the run's own by default.")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Write one record a question here, for gemkr evaluate compare."),
    ] = None,
) -> None:
    """Score a run of any system, each figure with its 95% bootstrap interval.

    Example: gemkr evaluate score run.trec --preset gold --measure P@5 --records run.jsonl
    """
    be_quiet()
    from gemkr_hf.data import load_benchmark
    from gemkr_hf.data.corpus import document_id_of
    from gemkr_hf.data.corpus_lookup import look_up
    from gemkr_hf.evaluation.hits import GOLD, check_preset, reads_texts
    from gemkr_hf.evaluation.question_records import make_records, write_records
    from gemkr_hf.evaluation.run_files import read_run, with_first_ids
    from gemkr_hf.evaluation.run_metrics import MEASURES, check_measures
    from gemkr_hf.evaluation.run_metrics import score as score_of
    from gemkr_hf.retrieval.types import Run

    presets = list(dict.fromkeys(preset or [GOLD]))
    measures = list(dict.fromkeys(measure or MEASURES))
    for wanted in presets:
        check_preset(wanted)
    check_measures(measures)
    if records is not None and len(presets) > 1:
        raise ValueError("--records keeps what one hit preset says: give --preset once")
    if run_file.is_dir():
        raise ValueError(f"'{run_file}' is a folder: name a run file, such as run.trec in it")
    if not run_file.is_file():
        raise FileNotFoundError(f"There is no run file '{run_file}'")
    config = _data_config(data)
    benchmark = load_benchmark(config)
    if split not in benchmark.questions:
        splits = ", ".join(benchmark.questions)
        raise ValueError(f"There is no split '{split}': there are {splits}")
    questions = list(benchmark.questions[split])
    asked = [question["question_id"] for question in questions]
    document_id = document_id_of(config.format)
    read = read_run(run_file, asked, document_id)
    run = Run(name or read.name, read.documents, read.scores)
    texts: dict[str, str] | None = None
    renamed, asked_of = run, questions
    surplus = sorted(run.documents.keys() - set(asked))
    if surplus:
        typer.echo(
            f"{len(surplus):,} questions of the run are not in {split} and are left aside: "
            f"'{surplus[0]}' is the first",
            err=True,
        )
    if any(map(reads_texts, presets)) or benchmark.knowledge_base is not None:
        retrieved = {document for query in asked for document in run.documents.get(query, ())}
        relevant = {document for question in questions for document in question["relevant_ids"]}
        shown = retrieved if any(map(reads_texts, presets)) else ()
        found = look_up(benchmark, retrieved | relevant, shown, document_id)
        texts = found.texts
        _tell_unknown(retrieved - found.found, bool(shown))
        renamed, asked_of = with_first_ids(run, questions, found.goes_by)
    for number, wanted in enumerate(presets):
        # A document of several ids is one; texts are compared as they came back.
        judged, records_of = (renamed, asked_of) if wanted == GOLD else (run, questions)
        scores = score_of(judged, records_of, wanted, measures, texts)
        typer.echo(("\n" if number else "") + _scores_table(scores, benchmark.name, split))
        if records is not None:
            write_records(make_records(judged, scores, records_of), records)
            typer.echo(f"\nRecords of the questions: {records}")


@evaluate.command()
@one_sentence_errors
def compare(
    records_a: Annotated[
        Path, typer.Argument(help="Records of a system, from gemkr evaluate score --records.")
    ],
    records_b: Annotated[Path, typer.Argument(help="Records of another, of the same questions.")],
    measure: Annotated[str, typer.Option(help="One that was taken, such as P@5.")] = "P@5",
    test: Annotated[
        str, typer.Option(help="fisher (randomisation test) or student (paired t-test).")
    ] = "fisher",
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot here, such as comparison.png.")
    ] = None,
    shown: Annotated[int, typer.Option("-n", help="Questions shown that differ most.")] = 5,
) -> None:
    """Compare two systems question by question.

    Example: gemkr evaluate compare a.jsonl b.jsonl --measure P@5 --plot comparison.png
    """
    be_quiet()
    from gemkr_hf.evaluation.comparison import check_plot_path, plot_comparison
    from gemkr_hf.evaluation.comparison import compare as compare_runs
    from gemkr_hf.evaluation.question_records import read_records

    if shown < 0:
        raise ValueError(f"-n is the number of questions shown, at least 0, got {shown}")
    if plot is not None:
        check_plot_path(plot)
    one, other = read_records(records_a), read_records(records_b)
    comparison = compare_runs(one, other, measure, test)
    for line in _comparison_lines(comparison):
        typer.echo(line)
    for line in _difference_lines(comparison, one, other, shown):
        typer.echo(line)
    if plot is not None:
        plot_comparison(comparison, plot)
        typer.echo(f"\nPlot: {plot}")


def _tell_unknown(unknown: set[str], needed: bool) -> None:
    """Documents of a run that are nowhere: misses for ids, and an error where texts are read."""
    if not unknown:
        return
    told = f"{len(unknown):,} retrieved documents are not in the corpus: '{min(unknown)}' is one"
    if needed:
        raise ValueError(told)
    typer.echo(f"{told}; they count as misses", err=True)


def _data_config(path: Path | None) -> "DataConfig":
    """The section 'data' of a YAML file; the symbols benchmark where there is none."""
    from gemkr_hf.data import DataConfig

    if path is None:
        return DataConfig("symbols")
    settings = read_yaml(path)
    if "data" not in settings:
        raise ValueError(f"'{path}' has no section 'data'")
    return DataConfig.from_mapping(settings["data"], f"'{path}'")


def _scores_table(scores: "Scores", benchmark: str, split: str) -> str:
    from gemkr_hf.evaluation.significance import bootstrap_interval
    from gemkr_hf.utils.hit_presets import HIT_PRESETS

    lines = [
        f"**{scores.name}** on {benchmark}, {split}: {len(scores.question_ids):,} questions, "
        f"hit preset `{scores.preset}` ({HIT_PRESETS[scores.preset]})",
        "",
        f"| measure (`{scores.preset}`) | mean | 95% interval |",
        "|---|---:|---:|",
    ]
    undefined = False
    for measure, values in scores.values.items():
        interval = bootstrap_interval(values)
        undefined |= interval.mean != interval.mean
        lines.append(f"| {measure} | {_cells(interval)} |")
    if undefined:
        lines += ["", "nDCG needs all relevant documents, which the preset `gold` alone knows."]
    if scores.missing:
        lines += ["", f"{scores.missing:,} questions are not in the run: they count as missed."]
    return "\n".join(lines)


def _cells(interval: "Interval", sign: str = "") -> str:
    if interval.mean != interval.mean:
        return "- | -"
    return f"{interval.mean:{sign}.3f} | {interval.low:{sign}.3f} to {interval.high:{sign}.3f}"


def _comparison_lines(comparison: "Comparison") -> list[str]:
    one, other = comparison.names
    test = "randomisation test" if comparison.test == "fisher" else "paired t-test"
    return [
        f"{len(comparison.question_ids):,} questions, hit preset `{comparison.preset}`",
        "",
        f"| system | {comparison.measure} (`{comparison.preset}`) | 95% interval |",
        "|---|---:|---:|",
        f"| {one} | {_cells(comparison.intervals[0])} |",
        f"| {other} | {_cells(comparison.intervals[1])} |",
        f"| {one} less {other} | {_cells(comparison.difference, '+')} |",
        "",
        f"p = {comparison.p:.2g} ({test}, two-sided)",
        f"{one} is better in {comparison.better:,} questions, {other} in {comparison.worse:,}; "
        f"they are alike in {comparison.alike:,}",
    ]


def _difference_lines(
    comparison: "Comparison", one: list["Record"], other: list["Record"], shown: int
) -> list[str]:
    different = comparison.most_different(shown)
    lines = ["", "The questions that differ most:"] if different else []
    asked = [{record.question_id: record for record in records} for records in (one, other)]
    for question_id, difference in different:
        record = asked[0][question_id]
        lines.append(f"{difference:+.3f}  {question_id} ({record.image_id}): {record.question}")
        for system, of_system in zip(comparison.names, asked, strict=True):
            found = of_system[question_id].retrieved[:5]
            told = ", ".join(f"{entry['id']}{'*' * entry['hit']}" for entry in found)
            lines.append(f"        {system}: {told or 'nothing'}")
    return [*lines, "        * a hit"] if different else lines


__all__ = ["evaluate"]
