"""Benchmarks that lack something, and what a kept run depends on."""

import dataclasses
import json

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_evaluation_tables import config, world  # noqa: F401

from gemkr_hf.data.benchmark import Benchmark
from gemkr_hf.data.images import NoImages
from gemkr_hf.evaluation.run_metrics import Scores
from gemkr_hf.evaluation.significance import Interval
from gemkr_hf.paper.error_report import report_errors
from gemkr_hf.paper.evaluation_config import EvaluationConfig, LanguageModelSize
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.systems import SYSTEMS
from gemkr_hf.paper.table_formats import to_latex, to_markdown
from gemkr_hf.paper.table_plot import plot_result
from gemkr_hf.paper.table_result import Measured, Result, make_rows
from gemkr_hf.paper.tables import make_table
from gemkr_hf.paper.weights_digest import weights_digest
from gemkr_hf.toy.symbols.symbols_benchmark import symbols_benchmark

SPLIT = "test"


@pytest.fixture
def benchmark(world) -> Benchmark:  # noqa: F811
    return symbols_benchmark(world)


def made(benchmark: Benchmark, folder, **changes) -> Ground:
    settings = config(folder, **{"captions": "given", **changes})
    return Ground(settings, say=lambda line: None, benchmark=benchmark)


def changed(benchmark: Benchmark, split: str = SPLIT, **columns) -> Benchmark:
    """The benchmark with other values in some columns of a split."""
    questions = datasets.DatasetDict(dict(benchmark.questions))
    for name, value in columns.items():
        kind = questions[split].features[name]
        questions[split] = (
            questions[split]
            .remove_columns(name)
            .add_column(name, [value] * len(questions[split]), feature=kind)
        )
    return dataclasses.replace(benchmark, questions=questions)


def bm25(ground: Ground) -> float:
    [row] = make_table(ground, "table1", ["bm25-caption"]).rows
    return row.ours["R@10"].mean


def test_a_relevant_document_may_be_named_by_any_of_its_ids(benchmark, tmp_path) -> None:
    alone = bm25(made(benchmark, tmp_path / "alone"))
    assert alone > 0
    twins = [{**document, "id": f"twin of {document['id']}"} for document in benchmark.documents]
    # The knowledge base names a text by the id that came first, the questions by the other one.
    both = dataclasses.replace(benchmark, documents=[*twins, *benchmark.documents])
    ground = made(both, tmp_path / "both")
    assert bm25(ground) == alone
    assert all(name.startswith("twin of ") for one in ground.asked for name in one["relevant_ids"])


def test_systems_of_words_need_no_images(benchmark, tmp_path) -> None:
    seen = bm25(made(benchmark, tmp_path / "seen"))
    blind = dataclasses.replace(benchmark, images=NoImages())
    ground = made(blind, tmp_path / "blind")
    assert bm25(ground) == seen
    with pytest.raises(ValueError, match=r"learns from images, and data\.images names none"):
        make_table(ground, "table1", ["gemkr"])
    with pytest.raises(ValueError, match="No captions can be written"):
        bm25(made(blind, tmp_path / "written", captions="written"))
    assert not (tmp_path / "written" / "rows").exists()


def test_without_training_questions_one_sentence_says_so(benchmark, tmp_path) -> None:
    alone = datasets.DatasetDict({SPLIT: benchmark.questions[SPLIT]})
    ground = made(dataclasses.replace(benchmark, questions=alone), tmp_path)
    for table, systems in (("table1", ["gemkr"]), ("table1", ["dpr"]), ("table3", None)):
        with pytest.raises(ValueError, match="no training questions"):
            make_table(ground, table, systems)
    assert bm25(ground) > 0


def test_what_cannot_be_judged_is_told_before_anything_is_trained(benchmark, tmp_path) -> None:
    ground = made(changed(benchmark, relevant_ids=[]), tmp_path)
    for long in (
        lambda: make_table(ground, "table1"),
        lambda: report_errors(ground, "dpr", tmp_path / "errors.html"),
    ):
        with pytest.raises(ValueError, match="questions have no relevant documents"):
            long()
    assert not (tmp_path / "models").exists() and not (tmp_path / "knowledge_base").exists()


def test_a_image_without_a_caption_is_told(benchmark, tmp_path) -> None:
    ground = made(changed(benchmark, caption=""), tmp_path)
    with pytest.raises(ValueError, match=r"have no caption.* set captions to written"):
        bm25(ground)


def test_an_empty_caption_that_was_written_is_one(benchmark, tmp_path, monkeypatch) -> None:
    class Silent:
        def to(self, device: torch.device) -> None:
            del device

        def write(self, images) -> list[str]:
            return [""] * len(images)

    written = []
    monkeypatch.setattr("gemkr_hf.paper.evaluation_context.load_captioner", lambda name: Silent())
    untold = changed(benchmark, "train", caption="")
    for name in ("one", "other"):
        ground = made(untold, tmp_path, captions="written", checkpoints={"captions": name})
        assert set(ground.captions_of(ground.asked)) == {""}
        # Training images without a caption are written of as well.
        assert set(ground.captions_of(ground.taught)) == {""}
        written.append(sorted(path.name for path in (tmp_path / "captions").iterdir()))
    assert [len(names) for names in written] == [1, 2]  # each model's captions are its own


def test_a_run_of_other_questions_is_not_taken(benchmark, tmp_path) -> None:
    bm25(made(benchmark, tmp_path))
    fewer = datasets.DatasetDict(
        {**benchmark.questions, SPLIT: benchmark.questions[SPLIT].select([0, 1])}
    )
    ground = made(dataclasses.replace(benchmark, questions=fewer), tmp_path)
    with pytest.raises(ValueError, match=r"other settings .asked was"):
        bm25(ground)


def test_what_is_odd_is_told_and_the_table_is_made(benchmark, tmp_path) -> None:
    said: list[str] = []
    odd = changed(benchmark, relevant_ids=["nowhere"])
    kept = tmp_path / "dpr"
    kept.mkdir()
    settings = config(tmp_path, captions="given", checkpoints={"dpr": str(kept)})
    ground = Ground(settings, say=said.append, benchmark=odd)
    assert bm25(ground) == 0
    number = len(ground.asked)
    assert said[0] == "The checkpoint for dpr is left aside: no row that was asked for has it"
    assert said[1].startswith(
        f"{number} of {number} questions name a relevant document that is not"
    )


def test_a_checkpoint_that_is_not_there_is_not_looked_for_on_the_hub(
    benchmark, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Checkpoint for gemkr not found: .*'runs/nope'"):
        made(benchmark, tmp_path / "out", checkpoints={"gemkr": "runs/nope"})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_are_checked_at_once(seed: int, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"A seed is a number from 0 .* got"):
        config(tmp_path, seeds=(seed,))


def test_the_help_names_every_system() -> None:
    from gemkr_hf.cli.table_commands import NAMES

    assert NAMES.split(", ") == list(SYSTEMS)


def test_weights_are_known_by_the_beginning_of_each_tensor(tmp_path) -> None:
    weights = {"a": torch.zeros(4, 4), "b": torch.zeros(2)}
    save_file(weights, tmp_path / "model.safetensors")
    first = weights_digest(str(tmp_path))
    assert first == weights_digest(str(tmp_path))
    save_file({**weights, "b": torch.ones(2)}, tmp_path / "model.safetensors")
    assert weights_digest(str(tmp_path)) != first
    assert weights_digest("someone/on-the-hub") is None


def test_no_detector_is_to_blame_where_nothing_was_detected(benchmark, tmp_path) -> None:
    ground = made(benchmark, tmp_path)
    _, counts = report_errors(ground, "bm25", tmp_path / "bm25.html")
    assert sum(counts.values()) == len(ground.asked)
    assert not {"object not found", "no object found"} & counts.keys()


# -- what is written -------------------------------------------------------------------------------


def scored(name: str, hits: np.ndarray, measures=("P@1",)) -> Scores:
    ids = tuple(f"q{row}" for row in range(len(hits)))
    return Scores(name, "gold", ids, {m: hits.astype(float) for m in measures}, {}, 0)


def result_of(measured: list[Measured], measures: tuple[str, ...]) -> Result:
    rows = make_rows(measured, measures, "ours")
    return Result("t", "T", "b", "test", 100, "gold", (0,), measures, "ours", rows)


def test_a_mark_says_what_surely_differs_and_p_values_are_adjusted() -> None:
    ours = np.arange(100) < 90
    hits = {"ours": ours, "far": np.arange(100) < 40, "near": np.arange(100) < 88}
    measured = [Measured(name, {}, [scored(name, each)], 1.0, 0.1) for name, each in hits.items()]
    result = result_of(measured, ("P@1",))
    reference, far, near = result.rows
    assert reference.p == {}
    assert far.p["P@1"] < 0.05 < near.p["P@1"]
    # Holm: with two rows the smallest p-value counts twice; with one alone, once.
    [_, alone] = make_rows(measured[:2], ("P@1",), "ours")
    assert far.p["P@1"] == pytest.approx(2 * alone.p["P@1"])
    lines = to_markdown(result).splitlines()
    assert any(line.startswith("| far | 40.0* [") for line in lines)
    assert any(line.startswith("| near | 88.0 [") for line in lines)
    assert "of P@1 alone" in lines[-1]


def test_any_measure_is_drawn_and_a_row_of_the_paper_alone_stands_in_the_table(tmp_path) -> None:
    measures = ("MRR@10", "distinct@10")
    hits = np.arange(20) < 9
    rows = [Measured("ours", {}, [scored("ours", hits, measures)], 1.0, 0.1)]
    plot_result(result_of(rows, measures), tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    result = result_of(rows, measures)
    paper = dataclasses.replace(
        result.rows[0],
        label="LLaMA_7b",
        paper={"OKVQA-GS112K": {"R@5": 0.786}},
        ours=dict.fromkeys(measures, nothing),
        over_seeds={},
    )
    result = dataclasses.replace(result, rows=(paper, *result.rows))
    assert "| LLaMA_7b | 78.6 | - | - | - | - | - |" in to_markdown(result)
    assert r"LLaMA\_7b & 78.6 & - & - \\" in to_latex(result)
    assert r"\textbf{45.0}" in to_latex(result)
    plot_result(result, tmp_path / "paper.png")
    assert (tmp_path / "paper.png").exists()


def test_language_models_of_one_name_are_refused(tmp_path) -> None:
    sizes = tuple(LanguageModelSize(name, language_model="x") for name in ("OPT 1.3b", "OPT-1.3b"))
    with pytest.raises(ValueError, match=r"names of their own.*'OPT 1.3b', 'OPT-1.3b'"):
        EvaluationConfig(output=str(tmp_path), language_models=sizes)


def test_a_kept_run_says_what_it_answers(benchmark, tmp_path) -> None:
    ground = made(benchmark, tmp_path)
    bm25(ground)
    kept = json.loads((tmp_path / "rows/bm25-question-caption/seed-0/run.json").read_text())
    assert kept["settings"]["asked"] == ground.asked_digest
