"""The tables of the paper, on a small world that is trained for a few steps."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from gemkr_hf.data import DataConfig
from gemkr_hf.evaluation.question_records import read_records
from gemkr_hf.evaluation.run_files import read_run
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.paper.evaluation_config import EvaluationConfig, LanguageModelSize
from gemkr_hf.paper.parallel_runs import make_runs_in_parallel
from gemkr_hf.paper.reported_results import paper_tables
from gemkr_hf.paper.statistics_tables import (
    keywords_table,
    statistics_table,
    write_keywords,
    write_statistics,
)
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.systems import STRATEGIES, SYSTEMS, check_checkpoints, table_systems
from gemkr_hf.paper.tables import make_table, write_result
from gemkr_hf.utils.config import parse, read_yaml
from gemkr_hf.utils.text import first_sentence, slug
from tests.project import ROOT
from tests.unit.paper.evaluation_settings import QUESTIONS, TWO_STEPS, config, quiet, squeezed


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def evaluation(folder, benchmark, lines) -> Evaluation:
    return Evaluation(config(folder), log=lines.append, benchmark=benchmark)


@pytest.fixture(scope="module")
def table1(evaluation):
    return make_table(evaluation, "table1")


def test_table_1_has_every_system_of_the_paper(table1) -> None:
    assert [row.label for row in table1.rows] == [system.label for system in SYSTEMS.values()]
    assert {system.paper for system in SYSTEMS.values()} == set(paper_tables()["table1"].rows)
    assert (table1.questions, table1.hit, table1.split) == (QUESTIONS, "gold", "test")
    for row in table1.rows:
        assert 0 <= row.ours["P@1"].low <= row.ours["P@1"].mean <= row.ours["P@1"].high <= 1
        assert row.paper["OKVQA-GS112K"]["R@10"] > 0.5
        assert set(row.p) == (set() if row.label == "GeMKR" else {"P@1", "P@5", "R@5"})


def test_runs_are_written_as_trec_files_and_records(evaluation, table1) -> None:
    ids = [record["question_id"] for record in evaluation.test_questions]
    for row in evaluation.path("rows").iterdir():
        run = read_run(row / "seed-0" / "run.trec", ids)
        records = read_records(row / "seed-0")
        assert [record.question_id for record in records] == ids
        for record in records:
            found = [one["id"] for one in record.retrieved]
            assert run.documents.get(record.question_id, []) == found
    written = read_records(evaluation.path("rows", "gemkr", "seed-0"))
    assert all(one["clue"] for record in written for one in record.retrieved)


def test_kept_runs_are_not_repeated(evaluation, table1, lines) -> None:
    before = len(lines)
    again = make_table(evaluation, "table1")
    assert lines[before:] == []
    assert again.rows == table1.rows
    # Some of the systems, in the order of the table.
    few = make_table(evaluation, "table1", ["gemkr", "bm25"])
    assert [row.label for row in few.rows] == ["BM25, question", "GeMKR"]


def test_an_interrupted_table_resumes(evaluation, table1, lines) -> None:
    run = evaluation.path("rows", "dpr", "seed-0", "run.json")
    kept = run.read_text()
    run.unlink()
    before = len(lines)
    again = make_table(evaluation, "table1")
    assert lines[before:] == [f"DPR: {QUESTIONS} questions"]
    assert json.loads(run.read_text())["run"]["documents"] == json.loads(kept)["run"]["documents"]
    assert [row.ours for row in again.rows] == [row.ours for row in table1.rows]


def test_other_settings_are_refused(folder, benchmark, table1) -> None:
    other = dataclasses.replace(TWO_STEPS, learning_rate=0.5)
    changed = Evaluation(config(folder, encoders=other), log=quiet, benchmark=benchmark)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001 and is 0\.5.*--overwrite"):
        make_table(changed, "table1", ["dpr"])
    shared = config(folder, captions="given")
    with pytest.raises(ValueError, match="captions was 'written' and is 'given'"):
        Evaluation(shared, log=quiet, benchmark=benchmark)


def test_a_table_is_written_in_four_formats(table1, tmp_path) -> None:
    paths = {path.suffix: path for path in write_result(table1, tmp_path)}
    assert list(paths) == [".md", ".tex", ".json", ".png"]
    markdown = squeezed(paths[".md"].read_text())
    assert "hit preset `gold`" in markdown
    assert "| runs | training, s | s/question |" in markdown
    assert "| GeMKR | 49.1 / 78.6 / 86.2 | 46.0 / 70.8 / 79.1 | 75.2 / 90.3 / 92.7 |" in squeezed(
        markdown
    )
    latex = paths[".tex"].read_text()
    assert latex.count(r"\\") == len(SYSTEMS) + 2
    assert latex.count("{") == latex.count("}")
    columns = latex.split("begin{tabular}{")[1].split("}")[0]
    row = next(line for line in latex.splitlines() if line.startswith("GeMKR"))
    assert row.count("&") == len(columns) - 1
    figures = json.loads(paths[".json"].read_text())
    assert figures["rows"][-1]["ours"]["P@1"]["mean"] == table1.rows[-1].ours["P@1"].mean
    assert paths[".png"].read_bytes().startswith(b"\x89PNG")


def test_table_3_trains_each_ablation(evaluation) -> None:
    result = make_table(evaluation, "table3")
    assert [row.label for row in result.rows][1:] == list(ABLATIONS)[1:]
    assert result.rows[0].label == result.reference == "GeMKR"
    for row, label in zip(result.rows, ABLATIONS, strict=True):
        assert row.paper["OKVQA-GS112K"] == paper_tables()["table3"].figures(label, "OKVQA-GS112K")
    from gemkr_hf.modeling import GeMKRConfig

    for label, switches in ABLATIONS.items():
        model = evaluation.path("models", f"gemkr-{slug(label)}-seed-0", "model")
        settings = GeMKRConfig.from_pretrained(model)
        for name, value in switches.items():
            if name != "lora":
                assert getattr(settings, name) is value
        assert (model.parent / "adapter").exists() is switches["lora"]


def test_table_4_has_every_strategy(evaluation) -> None:
    result = make_table(evaluation, "table4")
    assert [row.label for row in result.rows] == list(STRATEGIES.values())
    assert set(STRATEGIES.values()) == set(paper_tables()["table4"].rows)
    texts = {document["id"]: document["text"] for document in evaluation.benchmark.documents}

    def clues(strategy: str) -> list[tuple[str, str]]:
        records = read_records(evaluation.path("rows", slug(STRATEGIES[strategy]), "seed-0"))
        return [(one["clue"], texts[one["id"]]) for each in records for one in each.retrieved]

    assert all(clue == text for clue, text in clues("document"))
    assert all(clue == first_sentence(text) for clue, text in clues("first_sentence"))
    assert all(clue in text and clue != text for clue, text in clues("clue"))
    assert not all(clue in text for clue, text in clues("free"))


def test_figure_3_trains_language_models_of_its_sizes(evaluation) -> None:
    result = make_table(evaluation, "figure3")
    # Of the paper's rows the text gives the figures of one.
    assert [row.label for row in result.rows] == ["LLaMA-7b (paper)", "tiny"]
    assert result.rows[0].paper["OKVQA-GS112K"] == pytest.approx(
        {"P@5": 0.491, "R@5": 0.786, "R@10": 0.862}
    )
    [markdown, *_] = write_result(result, evaluation.path("drawn"))
    assert "| LLaMA-7b (paper) | 49.1 / 78.6 / 86.2 | - |" in squeezed(markdown.read_text())
    assert "OPT-1.3b" in result.notes[0]
    from transformers import AutoConfig

    [made] = evaluation.path("language_models").iterdir()
    assert AutoConfig.from_pretrained(made / "language_model").hidden_size == 32


def test_tables_2_and_5_show_the_paper_and_this_benchmark(evaluation, tmp_path) -> None:
    statistics = statistics_table(evaluation)
    assert statistics[0].numbers["documents"] == 112_724
    assert statistics[-1].numbers["test"] == QUESTIONS
    markdown, paths = write_statistics(statistics, tmp_path)
    assert "| OKVQA-WK21M | paper | 8,062 | 896 | 5,046 | - | 21,015,324 |" in squeezed(markdown)
    assert all(path.stat().st_size > 100 for path in paths)
    keywords = keywords_table(evaluation, questions=2)
    assert [row.query for row in keywords] == list(paper_tables()["table5"].rows)
    assert all(row.ours for row in keywords)
    markdown, paths = write_keywords(keywords, tmp_path)
    assert "United-States, racing" in markdown
    assert paths[-1].read_bytes().startswith(b"\x89PNG")


def test_errors_of_a_run_are_reported(evaluation, tmp_path) -> None:
    from gemkr_hf.paper.error_report import report_errors

    path, counts = report_errors(evaluation, "gemkr", tmp_path / "errors.html")
    assert sum(counts.values()) == QUESTIONS
    assert path.read_text().startswith("<!doctype html>")
    path, counts = report_errors(evaluation, "bm25", tmp_path / "bm25.html")
    assert sum(counts.values()) == QUESTIONS


def test_a_checkpoint_replaces_training(evaluation, table1, benchmark, tmp_path) -> None:
    kept = str(evaluation.path("models", "dpr-seed-0"))
    named = config(tmp_path, checkpoints={"dpr": kept}, captions="given", seeds=(0, 1))
    other = Evaluation(named, log=quiet, benchmark=benchmark)
    [row] = make_table(other, "table1", ["dpr"]).rows
    assert len(row.over_seeds["P@1"]) == 1
    # In addition to what is trained here, not instead of it.
    [folder] = (tmp_path / "rows").iterdir()
    assert folder.name.startswith("dpr-")
    assert not (tmp_path / "models").exists()


SYMBOLS = {"data": DataConfig(format="symbols", scenes=16), "captions": "given"}
"""A benchmark that other processes can load."""


def test_parallel_runs_equal_sequential_runs(tmp_path) -> None:
    """Both use one thread, as sums of float32 depend on the number of threads."""
    names = ["bm25", "dpr", "vrr"]
    results = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for jobs in (1, 2):
            lines: list[str] = []
            evaluation = Evaluation(config(tmp_path / str(jobs), **SYMBOLS), log=lines.append)
            results.append(make_table(evaluation, "table1", names, jobs).rows)
    finally:
        torch.set_num_threads(threads)
    assert [row.ours for row in results[0]] == [row.ours for row in results[1]]
    assert sum("of 3 runs, about" in line for line in lines) == 3
    finished = [line.partition(":")[0] for line in lines]
    assert finished.index("DPR, seed 0") < finished.index("VRR, seed 0")  # VRR contains DPR
    assert {"Training images", "Captions"} < set(finished)
    assert not any(name in os.environ for name in ("NUMBA_NUM_THREADS", "TQDM_DISABLE"))


def test_a_failed_run_does_not_lose_the_others(tmp_path) -> None:
    lines: list[str] = []
    evaluation = Evaluation(config(tmp_path, **SYMBOLS), log=lines.append)
    chosen, _ = table_systems(evaluation, "table1", ["bm25", "dpr"])
    with pytest.raises(ValueError, match="fewer than a batch of 4"):
        make_runs_in_parallel(
            evaluation,
            [chosen[0], dataclasses.replace(chosen[1], build=too_few_examples)],
            jobs=2,
        )
    assert any(line.startswith("DPR failed: 1 examples are fewer") for line in lines)
    assert (tmp_path / "rows/bm25-question/seed-0/run.json").exists()


def too_few_examples(evaluation: Evaluation, seed: int):
    raise ValueError("1 examples are fewer than a batch of 4")


def killed(evaluation: Evaluation, seed: int):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_reported(tmp_path) -> None:
    evaluation = Evaluation(config(tmp_path, **SYMBOLS), log=quiet)
    chosen, _ = table_systems(evaluation, "table1", ["bm25"])
    with pytest.raises(ValueError, match=r"memory ran out.*--jobs 1"):
        make_runs_in_parallel(
            evaluation, [dataclasses.replace(s, build=killed) for s in chosen], jobs=2
        )


def test_mistakes_raise_before_any_training(tmp_path, benchmark) -> None:

    def quiet(**changes) -> Evaluation:
        return Evaluation(config(tmp_path, **changes), log=quiet, benchmark=benchmark)

    with pytest.raises(ValueError, match="Unknown system 'bm26': choose bm25"):
        make_table(quiet(), "table1", ["bm26"])
    with pytest.raises(ValueError, match="No checkpoint can be given for 'bm25': choose dpr"):
        make_table(quiet(checkpoints={"bm25": "x"}), "table1")
    with pytest.raises(ValueError, match="Unknown split 'later': choose train"):
        quiet(split="later")
    with pytest.raises(ValueError, match="seeds is empty"):
        config(tmp_path, seeds=())
    with pytest.raises(ValueError, match="give either language_model"):
        LanguageModelSize("neither")
    assert not (tmp_path / "models").exists() and not (tmp_path / "rows").exists()


@pytest.mark.parametrize("name", ["symbols", "okvqa_gs112k", "remuq"])
def test_configurations_are_read(name: str) -> None:
    path = ROOT / "configs" / f"evaluate_{name}.yaml"
    parsed = parse(EvaluationConfig, read_yaml(path))
    check_checkpoints(parsed.checkpoints)
    if name == "symbols":  # the command's own settings
        assert parsed == EvaluationConfig()
    else:
        assert parsed.tuning.learning_rate == 6e-5  # the paper's
        assert parsed.captions == "given"


def test_models_of_other_settings_are_trained_again(benchmark, tmp_path) -> None:

    def rows(overwrite: bool = False, **changes) -> list[list[float]]:
        settings = config(tmp_path, captions="given", **changes)
        made = Evaluation(settings, log=quiet, benchmark=benchmark, overwrite=overwrite)
        make_table(made, "table1", ["dpr"])
        return json.loads((tmp_path / "rows/dpr/seed-0/run.json").read_text())["run"]["scores"]

    other = dataclasses.replace(TWO_STEPS, learning_rate=0.01)
    first = rows()
    assert rows(overwrite=True) == first  # the same settings: nothing is recomputed
    assert rows(overwrite=True, encoders=other) != first
    assert rows(overwrite=True) == first
    # Trained, and stopped before it was asked: the model of other settings is not taken.
    (tmp_path / "rows/dpr/seed-0/run.json").unlink()
    with pytest.raises(ValueError, match=r"written with other settings .*learning_rate"):
        rows(encoders=other)


def test_gemkr_is_tuned_again_with_other_settings(benchmark, tmp_path) -> None:
    steps = []
    for tuning in (TWO_STEPS, dataclasses.replace(TWO_STEPS, max_steps=1)):
        made = Evaluation(
            config(tmp_path, tuning=tuning),
            log=quiet,
            benchmark=benchmark,
            overwrite=True,
        )
        make_table(made, "table1", ["gemkr"])
        metrics = made.path("models", "gemkr-full-model-seed-0", "metrics.json")
        steps.append(json.loads(metrics.read_text())["best_step"])
    assert steps == [2, 1]


def test_wrong_checkpoints_raise_first(evaluation, table1, benchmark, tmp_path) -> None:
    def other(**checkpoints: str) -> Evaluation:
        return Evaluation(
            config(tmp_path, checkpoints=checkpoints, captions="given"),
            log=quiet,
            benchmark=benchmark,
        )

    with pytest.raises(FileNotFoundError, match=r"Checkpoint for seal not found: .*nowhere"):
        other(seal=str(tmp_path / "nowhere"))
    text_only = str(evaluation.path("models", "dpr-seed-0"))
    with pytest.raises(ValueError, match="read text, not image"):
        make_table(other(reviz=text_only), "table1", ["reviz"])
    with pytest.raises(ValueError, match="R@20 needs more documents than k = 10"):
        config(tmp_path, measures=("R@20",))
