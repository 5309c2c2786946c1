"""The tables of the paper, on a small world that is trained for a few steps."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from gemkr_hf.data import DataConfig
from gemkr_hf.evaluation.question_records import read_records
from gemkr_hf.evaluation.run_files import read_run
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.paper.evaluation_config import EvaluationConfig, LanguageModelSize
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.paper_figures import paper_tables
from gemkr_hf.paper.parallel_runs import answer_side_by_side
from gemkr_hf.paper.statistics_tables import (
    keywords_table,
    statistics_table,
    write_keywords,
    write_statistics,
)
from gemkr_hf.paper.systems import SYSTEMS, check_checkpoints
from gemkr_hf.paper.tables import STRATEGIES, make_table, table_of, write_result
from gemkr_hf.toy.stand_ins.language_model_stand_in import LanguageModelTraining
from gemkr_hf.toy.stand_ins.toy_tuning import small_world_tuning
from gemkr_hf.toy.symbols import SymbolsConfig, load_symbols
from gemkr_hf.toy.symbols.symbols_benchmark import symbols_benchmark
from gemkr_hf.utils.config import parse, read_yaml
from gemkr_hf.utils.text import first_sentence, slug
from tests.project import ROOT

QUESTIONS = 6
FEW = small_world_tuning(
    per_device_train_batch_size=4,
    num_train_epochs=1.0,
    max_steps=2,
    warmup_steps=0,
    logging_steps=1,
)
SIZE = LanguageModelTraining(
    hidden_size=32,
    intermediate_size=32,
    layers=1,
    heads=1,
    steps=2,
    copy_batch=2,
    clue_batch=2,
    document_batch=1,
    warmup=1,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    sizes = SymbolsConfig(
        train_scenes=16,
        validation_scenes=1,
        test_scenes=QUESTIONS,
        unseen_scenes=1,
        train_questions=2,
    )
    return load_symbols(sizes, cache_dir=tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


def config(folder: Path, **changes) -> EvaluationConfig:
    settings = {
        "tuning": FEW,
        "encoders": FEW,
        "pretraining": FEW,
        "text_models": FEW,
        "captioner": FEW,
        "seeds": (0,),
        "language_models": (LanguageModelSize("tiny", training=SIZE),),
    }
    return EvaluationConfig(output=str(folder), **{**settings, **changes})


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def ground(folder, world, said) -> Ground:
    return Ground(config(folder), say=said.append, benchmark=symbols_benchmark(world))


@pytest.fixture(scope="module")
def table1(ground):
    return make_table(ground, "table1")


def test_table_1_has_every_system_of_the_paper(table1) -> None:
    assert [row.label for row in table1.rows] == [system.label for system in SYSTEMS.values()]
    assert {system.paper for system in SYSTEMS.values()} == set(paper_tables()["table1"].rows)
    assert (table1.questions, table1.hit, table1.split) == (QUESTIONS, "gold", "test")
    for row in table1.rows:
        assert 0 <= row.ours["P@1"].low <= row.ours["P@1"].mean <= row.ours["P@1"].high <= 1
        assert row.paper["OKVQA-GS112K"]["R@10"] > 0.5
        assert set(row.p) == (set() if row.label == "GeMKR" else {"P@1", "P@5", "R@5"})


def test_each_run_is_kept_for_other_programs(ground, table1) -> None:
    ids = [record["question_id"] for record in ground.asked]
    for row in ground.path("rows").iterdir():
        run = read_run(row / "seed-0" / "run.trec", ids)
        records = read_records(row / "seed-0")
        assert [record.question_id for record in records] == ids
        for record in records:
            found = [one["id"] for one in record.retrieved]
            assert run.documents.get(record.question_id, []) == found
    written = read_records(ground.path("rows", "gemkr", "seed-0"))
    assert all(one["clue"] for record in written for one in record.retrieved)


def test_what_is_there_is_not_made_again(ground, table1, said) -> None:
    before = len(said)
    again = make_table(ground, "table1")
    assert said[before:] == []
    assert again.rows == table1.rows
    # Some of the systems, in the order of the table.
    few = make_table(ground, "table1", ["gemkr", "bm25"])
    assert [row.label for row in few.rows] == ["BM25, question", "GeMKR"]


def test_a_stopped_table_goes_on_with_the_row_that_is_missing(ground, table1, said) -> None:
    run = ground.path("rows", "dpr", "seed-0", "run.json")
    kept = run.read_text()
    run.unlink()
    before = len(said)
    again = make_table(ground, "table1")
    assert said[before:] == [f"DPR: {QUESTIONS} questions"]
    assert json.loads(run.read_text())["run"]["documents"] == json.loads(kept)["run"]["documents"]
    assert [row.ours for row in again.rows] == [row.ours for row in table1.rows]


def test_other_settings_are_not_mixed_with_a_run(folder, world, table1) -> None:
    other = dataclasses.replace(FEW, learning_rate=0.5)
    changed = Ground(
        config(folder, encoders=other), say=lambda line: None, benchmark=symbols_benchmark(world)
    )
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001 and is 0\.5.*--overwrite"):
        make_table(changed, "table1", ["dpr"])
    shared = config(folder, captions="given")
    with pytest.raises(ValueError, match="captions was 'written' and is 'given'"):
        Ground(shared, say=lambda line: None, benchmark=symbols_benchmark(world))


def test_a_result_is_written_in_four_kinds(table1, tmp_path) -> None:
    paths = write_result(table1, tmp_path)
    assert [path.suffix for path in paths.values()] == [".md", ".tex", ".json", ".png"]
    markdown = paths["md"].read_text()
    assert "hit preset `gold`" in markdown
    assert "| runs | training, s | s/question |" in markdown
    assert "| GeMKR | 49.1 / 78.6 / 86.2 | 46.0 / 70.8 / 79.1 | 75.2 / 90.3 / 92.7 |" in markdown
    latex = paths["tex"].read_text()
    assert latex.count(r"\\") == len(SYSTEMS) + 2
    assert latex.count("{") == latex.count("}")
    columns = latex.split("begin{tabular}{")[1].split("}")[0]
    row = next(line for line in latex.splitlines() if line.startswith("GeMKR"))
    assert row.count("&") == len(columns) - 1
    figures = json.loads(paths["json"].read_text())
    assert figures["rows"][-1]["ours"]["P@1"]["mean"] == table1.rows[-1].ours["P@1"].mean
    assert paths["png"].read_bytes().startswith(b"\x89PNG")


def test_table_3_trains_each_ablation(ground) -> None:
    result = make_table(ground, "table3")
    assert [row.label for row in result.rows][1:] == list(ABLATIONS)[1:]
    assert result.rows[0].label == result.reference == "GeMKR"
    for row, label in zip(result.rows, ABLATIONS, strict=True):
        assert row.paper["OKVQA-GS112K"] == paper_tables()["table3"].figures(label, "OKVQA-GS112K")
    from gemkr_hf.modeling import GeMKRConfig

    for label, switches in ABLATIONS.items():
        model = ground.path("models", f"gemkr-{slug(label)}-seed-0", "model")
        settings = GeMKRConfig.from_pretrained(model)
        for name, value in switches.items():
            if name != "lora":
                assert getattr(settings, name) is value
        assert (model.parent / "adapter").exists() is switches["lora"]


def test_table_4_has_every_strategy(ground) -> None:
    result = make_table(ground, "table4")
    assert [row.label for row in result.rows] == list(STRATEGIES.values())
    assert set(STRATEGIES.values()) == set(paper_tables()["table4"].rows)
    texts = {document["id"]: document["text"] for document in ground.benchmark.documents}

    def clues(strategy: str) -> list[tuple[str, str]]:
        records = read_records(ground.path("rows", slug(STRATEGIES[strategy]), "seed-0"))
        return [(one["clue"], texts[one["id"]]) for each in records for one in each.retrieved]

    assert all(clue == text for clue, text in clues("document"))
    assert all(clue == first_sentence(text) for clue, text in clues("first_sentence"))
    assert all(clue in text and clue != text for clue, text in clues("clue"))
    assert not all(clue in text for clue, text in clues("free"))


def test_figure_3_teaches_language_models_of_its_sizes(ground) -> None:
    result = make_table(ground, "figure3")
    # Of the paper's rows the text gives the figures of one.
    assert [row.label for row in result.rows] == ["LLaMA-7b (paper)", "tiny"]
    assert result.rows[0].paper["OKVQA-GS112K"] == pytest.approx(
        {"P@5": 0.491, "R@5": 0.786, "R@10": 0.862}
    )
    paths = write_result(result, ground.path("drawn"))
    assert "| LLaMA-7b (paper) | 49.1 / 78.6 / 86.2 | - |" in paths["md"].read_text()
    assert "OPT-1.3b" in result.notes[0]
    from transformers import AutoConfig

    [made] = ground.path("language_models").iterdir()
    assert AutoConfig.from_pretrained(made / "language_model").hidden_size == 32


def test_tables_2_and_5_say_what_the_paper_says_and_what_is_here(ground, tmp_path) -> None:
    statistics = statistics_table(ground)
    assert statistics[0].numbers["documents"] == 112_724
    assert statistics[-1].numbers["test"] == QUESTIONS
    markdown, paths = write_statistics(statistics, tmp_path)
    assert "| OKVQA-WK21M | paper | 8,062 | 896 | 5,046 | - | 21,015,324 |" in markdown
    assert all(path.stat().st_size > 100 for path in paths)
    keywords = keywords_table(ground, questions=2)
    assert [row.query for row in keywords] == list(paper_tables()["table5"].rows)
    assert all(row.ours for row in keywords)
    markdown, paths = write_keywords(keywords, tmp_path)
    assert "United-States, racing" in markdown
    assert paths[-1].read_bytes().startswith(b"\x89PNG")


def test_errors_are_told_of_a_run(ground, tmp_path) -> None:
    from gemkr_hf.paper.error_report import report_errors

    path, counts = report_errors(ground, "gemkr", tmp_path / "errors.html")
    assert sum(counts.values()) == QUESTIONS
    assert path.read_text().startswith("<!doctype html>")
    path, counts = report_errors(ground, "bm25", tmp_path / "bm25.html")
    assert sum(counts.values()) == QUESTIONS


def test_a_checkpoint_takes_the_place_of_training(ground, table1, world, tmp_path) -> None:
    kept = str(ground.path("models", "dpr-seed-0"))
    named = config(tmp_path, checkpoints={"dpr": kept}, captions="given", seeds=(0, 1))
    other = Ground(named, say=lambda line: None, benchmark=symbols_benchmark(world))
    [row] = make_table(other, "table1", ["dpr"]).rows
    assert len(row.over_seeds["P@1"]) == 1
    # Beside what is trained here, not in its place.
    [folder] = (tmp_path / "rows").iterdir()
    assert folder.name.startswith("dpr-")
    assert not (tmp_path / "models").exists()


def test_runs_side_by_side_are_those_that_are_made_one_by_one(tmp_path) -> None:
    """By one process and by two: both take one thread, as sums of float32 depend on their number
    (and numba changes that of the process that it runs in)."""
    settings = {"data": DataConfig(format="symbols", scenes=16), "captions": "given"}
    results = []
    for jobs in (1, 2):
        said: list[str] = []
        ground = Ground(config(tmp_path / str(jobs), **settings), say=said.append)
        names = ["bm25", "dpr", "vrr"]
        answer_side_by_side(ground, table_of(ground, "table1", names).rows_of, jobs)
        results.append(make_table(ground, "table1", names).rows)
    assert [row.ours for row in results[0]] == [row.ours for row in results[1]]
    assert sum("of 3 runs, about" in line for line in said) == 3
    told = [line.partition(":")[0] for line in said]
    assert told.index("DPR, seed 0") < told.index("VRR, seed 0")  # it shares what DPR has trained
    assert {"Training images", "The images in words"} < set(told)
    assert not any(name in os.environ for name in ("NUMBA_NUM_THREADS", "TQDM_DISABLE"))


def test_mistakes_are_told_before_anything_is_made(tmp_path, world) -> None:
    benchmark = symbols_benchmark(world)

    def quiet(**changes) -> Ground:
        return Ground(config(tmp_path, **changes), say=lambda line: None, benchmark=benchmark)

    with pytest.raises(ValueError, match="There is no system 'bm26': there are bm25"):
        make_table(quiet(), "table1", ["bm26"])
    with pytest.raises(ValueError, match="There is no checkpoint for 'bm25': there are dpr"):
        make_table(quiet(checkpoints={"bm25": "x"}), "table1")
    with pytest.raises(ValueError, match="no split 'later': there are train"):
        quiet(split="later")
    with pytest.raises(ValueError, match="seeds must name one seed"):
        config(tmp_path, seeds=())
    with pytest.raises(ValueError, match="give one of the two"):
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


def test_models_of_other_settings_are_trained_anew(world, tmp_path) -> None:
    benchmark = symbols_benchmark(world)

    def rows(overwrite: bool = False, **changes) -> list[list[float]]:
        settings = config(tmp_path, captions="given", **changes)
        made = Ground(settings, say=lambda line: None, benchmark=benchmark, overwrite=overwrite)
        make_table(made, "table1", ["dpr"])
        return json.loads((tmp_path / "rows/dpr/seed-0/run.json").read_text())["run"]["scores"]

    other = dataclasses.replace(FEW, learning_rate=0.01)
    first = rows()
    assert rows(overwrite=True) == first  # the same settings: nothing is made anew
    assert rows(overwrite=True, encoders=other) != first
    assert rows(overwrite=True) == first
    # Trained, and stopped before it was asked: the model of other settings is not taken.
    (tmp_path / "rows/dpr/seed-0/run.json").unlink()
    with pytest.raises(ValueError, match=r"a model of other settings .*learning_rate"):
        rows(encoders=other)


def test_gemkr_is_tuned_anew_with_other_settings(world, tmp_path) -> None:
    benchmark = symbols_benchmark(world)
    steps = []
    for tuning in (FEW, dataclasses.replace(FEW, max_steps=1)):
        made = Ground(
            config(tmp_path, tuning=tuning),
            say=lambda line: None,
            benchmark=benchmark,
            overwrite=True,
        )
        make_table(made, "table1", ["gemkr"])
        metrics = made.path("models", "gemkr-full-model-seed-0", "metrics.json")
        steps.append(json.loads(metrics.read_text())["best_step"])
    assert steps == [2, 1]


def test_wrong_checkpoints_are_told_first(ground, table1, world, tmp_path) -> None:
    def other(**checkpoints: str) -> Ground:
        return Ground(
            config(tmp_path, checkpoints=checkpoints, captions="given"),
            say=lambda line: None,
            benchmark=symbols_benchmark(world),
        )

    with pytest.raises(FileNotFoundError, match=r"Checkpoint for seal not found: .*nowhere"):
        other(seal=str(tmp_path / "nowhere"))
    words = str(ground.path("models", "dpr-seed-0"))
    with pytest.raises(ValueError, match="read words, not image"):
        make_table(other(reviz=words), "table1", ["reviz"])
    with pytest.raises(ValueError, match="R@20 needs more documents than k = 10"):
        config(tmp_path, measures=("R@20",))
