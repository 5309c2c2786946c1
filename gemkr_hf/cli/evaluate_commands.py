"""``gemkr evaluate``: score runs, and compare systems question by question."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemkr_hf.cli.command_errors import one_sentence_errors
from gemkr_hf.cli.table_commands import add_table_commands

if TYPE_CHECKING:
    from gemkr_hf.evaluation.comparison import Comparison
    from gemkr_hf.evaluation.run_metrics import Scores
    from gemkr_hf.evaluation.significance import Interval

evaluate = typer.Typer(
    no_args_is_help=True,
    help="Score runs, compare systems, and reproduce the tables of the paper.\n"
    "\nExample: gemkr evaluate score run.trec --measure P@5 --measure MRR@10",
)

add_table_commands(evaluate)


@evaluate.command()
@one_sentence_errors
def score(
    run_file: Annotated[
        Path,
        typer.Argument(
            help="TREC run; or JSON (.json): lists of document ids, best first, in the order of "
            "the questions or by question id."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with a section 'data', see gemkr data check; by default the symbols "
            "benchmark."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the benchmark.")] = "test",
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="Hit preset: gold (default), vrr, dpr, preflmr, word or gemkr; repeatable."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="P, R, MRR, nDCG or distinct with its K, such as P@5; repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the system; by default that of the run.")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Write a record of each question here, for gemkr evaluate compare."),
    ] = None,
) -> None:
    """Score a run of any system, with 95% bootstrap intervals.

    Example: gemkr evaluate score run.trec --preset gold --measure P@5 --records run.jsonl
    """
    from dataclasses import replace

    from gemkr_hf.data import DataConfig, load_benchmark
    from gemkr_hf.data.corpus import document_id_of
    from gemkr_hf.data.corpus_lookup import look_up
    from gemkr_hf.evaluation.hits import GOLD, check_preset, reads_texts
    from gemkr_hf.evaluation.question_records import make_records, write_records
    from gemkr_hf.evaluation.run_files import first_ids, read_run
    from gemkr_hf.evaluation.run_metrics import MEASURES, check_measures
    from gemkr_hf.evaluation.run_metrics import score as score_run

    presets = list(dict.fromkeys(check_preset(name) for name in preset or [GOLD]))
    measures = list(dict.fromkeys(measure or MEASURES))
    check_measures(measures)
    if records is not None and len(presets) > 1:
        raise ValueError("--records needs a single hit preset: give --preset once")
    if run_file.is_dir():
        raise ValueError(f"'{run_file}' is a folder: give a run file, such as run.trec in it")
    if not run_file.is_file():
        raise FileNotFoundError(f"Run file not found: '{run_file}'")
    config = DataConfig("symbols") if data is None else DataConfig.from_file(data)
    benchmark = load_benchmark(config)
    if split not in benchmark.questions:
        raise ValueError(f"Unknown split '{split}': choose {', '.join(benchmark.questions)}")
    questions = list(benchmark.questions[split])
    question_ids = [question["question_id"] for question in questions]
    document_id = document_id_of(config.format)
    run = read_run(run_file, question_ids, document_id)
    run = replace(run, name=name or run.name)
    unknown = sorted(run.documents.keys() - set(question_ids))
    if unknown:
        typer.echo(
            f"{len(unknown):,} questions of the run are not in the split {split} and are ignored, "
            f"such as '{unknown[0]}'",
            err=True,
        )
    texts: dict[str, str] | None = None
    gold_run, gold_questions = run, questions
    needs_texts = any(map(reads_texts, presets))
    if needs_texts or benchmark.knowledge_base is not None:
        retrieved = {
            document for query in question_ids for document in run.documents.get(query, ())
        }
        relevant = {name for question in questions for name in question["relevant_ids"]}
        documents = look_up(
            benchmark, retrieved | relevant, retrieved if needs_texts else (), document_id
        )
        texts = documents.texts
        if missing := retrieved - documents.found:
            message = (
                f"{len(missing):,} retrieved documents are not in the corpus, such as "
                f"'{min(missing)}'"
            )
            if needs_texts:
                raise ValueError(message)
            typer.echo(f"{message}; they count as misses", err=True)
        # Under gold, a document with several ids counts once; texts are keyed by the run's own ids.
        first = documents.first_id_of
        by_first = {
            query: [first.get(n, n) for n in names] for query, names in run.documents.items()
        }
        gold_run = replace(run, documents=by_first)
        gold_questions = [
            {**record, "relevant_ids": first_ids(record["relevant_ids"], first)}
            for record in questions
        ]
    for number, wanted in enumerate(presets):
        scored, judged = (gold_run, gold_questions) if wanted == GOLD else (run, questions)
        scores = score_run(scored, judged, wanted, measures, texts)
        typer.echo(("\n" if number else "") + _scores_table(scores, benchmark.name, split))
        if records is not None:
            write_records(make_records(scored, scores, judged), records)
            typer.echo(f"\nRecords of the questions: {records}")


@evaluate.command()
@one_sentence_errors
def compare(
    records_a: Annotated[
        Path, typer.Argument(help="Records of a system, from gemkr evaluate score --records.")
    ],
    records_b: Annotated[Path, typer.Argument(help="Records of another one, same questions.")],
    measure: Annotated[str, typer.Option(help="A measure of the records, such as P@5.")] = "P@5",
    test: Annotated[
        str, typer.Option(help="fisher (randomisation test) or student (paired t-test).")
    ] = "fisher",
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot here, such as comparison.png.")
    ] = None,
    shown: Annotated[
        int, typer.Option("-n", help="Number of questions with the largest differences to print.")
    ] = 5,
) -> None:
    """Compare two systems question by question.

    Example: gemkr evaluate compare a.jsonl b.jsonl --measure P@5 --plot comparison.png
    """
    from gemkr_hf.evaluation.comparison import check_plot_path, plot_comparison
    from gemkr_hf.evaluation.comparison import compare as compare_records
    from gemkr_hf.evaluation.question_records import read_records

    if shown < 0:
        raise ValueError(f"-n must be at least 0 questions, got {shown}")
    if plot is not None:
        check_plot_path(plot)
    one, other = read_records(records_a), read_records(records_b)
    comparison = compare_records(one, other, measure, test)
    typer.echo("\n".join(_comparison_lines(comparison)))
    different = comparison.most_different(shown)
    typer.echo("\nQuestions with the largest differences:" if different else "")
    by_id = [{record.question_id: record for record in records} for records in (one, other)]
    for question_id, difference in different:
        record = by_id[0][question_id]
        typer.echo(f"{difference:+.3f}  {question_id} ({record.image_id}): {record.question}")
        for system, records in zip(comparison.names, by_id, strict=True):
            top = records[question_id].retrieved[:5]
            documents = ", ".join(f"{entry['id']}{'*' * entry['hit']}" for entry in top)
            typer.echo(f"        {system}: {documents or 'nothing'}")
    if different:
        typer.echo("        * a hit")
    if plot is not None:
        plot_comparison(comparison, plot)
        typer.echo(f"\nPlot: {plot}")


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
    intervals = {name: bootstrap_interval(values) for name, values in scores.values.items()}
    lines += [f"| {name} | {_cells(interval)} |" for name, interval in intervals.items()]
    if any(math.isnan(interval.mean) for interval in intervals.values()):
        lines += ["", "nDCG needs all relevant documents, which only the preset `gold` knows."]
    if scores.missing:
        lines += ["", f"{scores.missing:,} questions are not in the run and count as failed."]
    return "\n".join(lines)


def _cells(interval: "Interval", sign: str = "") -> str:
    if math.isnan(interval.mean):
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
        f"| {one} minus {other} | {_cells(comparison.difference, '+')} |",
        "",
        f"p = {comparison.p:.2g} ({test}, two-sided)",
        f"{one} is better for {comparison.better:,} questions, {other} for {comparison.worse:,}; "
        f"{comparison.ties:,} are equal",
    ]


__all__ = ["evaluate"]
