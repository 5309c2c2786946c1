"""Benchmarks that lack something, and what a kept run depends on."""

import dataclasses
import json

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gemkr_hf.data.benchmark import Benchmark
from gemkr_hf.data.images import NoImages
from gemkr_hf.evaluation.run_metrics import Scores
from gemkr_hf.paper.error_report import report_errors
from gemkr_hf.paper.evaluation_config import EvaluationConfig, LanguageModelSize
from gemkr_hf.paper.result_table import (
    NOT_MEASURED,
    ResultRow,
    ResultTable,
    with_p_values,
)
from gemkr_hf.paper.runs import questions_digest, weights_digest
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.systems import SYSTEMS
from gemkr_hf.paper.table_formats import to_latex, to_markdown
from gemkr_hf.paper.table_plot import plot_result
from gemkr_hf.paper.tables import make_table
from tests.unit.paper.evaluation_settings import config, quiet, squeezed

SPLIT = "test"


def evaluation_of(benchmark: Benchmark, folder, **changes) -> Evaluation:
    settings = config(folder, **{"captions": "given", **changes})
    return Evaluation(settings, log=quiet, benchmark=benchmark)


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


def bm25(evaluation: Evaluation) -> float:
    [row] = make_table(evaluation, "table1", ["bm25-caption"]).rows
    return row.ours["R@10"].mean


def test_a_relevant_document_may_be_named_by_any_of_its_ids(benchmark, tmp_path) -> None:
    alone = bm25(evaluation_of(benchmark, tmp_path / "alone"))
    assert alone > 0
    twins = [{**document, "id": f"twin of {document['id']}"} for document in benchmark.documents]
    # The knowledge base names a text by the id that came first, the questions by the other one.
    both = dataclasses.replace(benchmark, documents=[*twins, *benchmark.documents])
    evaluation = evaluation_of(both, tmp_path / "both")
    assert bm25(evaluation) == alone
    assert all(
        name.startswith("twin of ")
        for one in evaluation.test_questions
        for name in one["relevant_ids"]
    )


def test_text_only_systems_need_no_images(benchmark, tmp_path) -> None:
    seen = bm25(evaluation_of(benchmark, tmp_path / "seen"))
    blind = dataclasses.replace(benchmark, images=NoImages())
    evaluation = evaluation_of(blind, tmp_path / "blind")
    assert bm25(evaluation) == seen
    with pytest.raises(ValueError, match=r"trained on images, and data\.images is not set"):
        make_table(evaluation, "table1", ["gemkr"])
    with pytest.raises(ValueError, match="Captions cannot be written"):
        bm25(evaluation_of(blind, tmp_path / "written", captions="written"))
    assert not (tmp_path / "written" / "rows").exists()


def test_missing_training_questions_are_reported(benchmark, tmp_path) -> None:
    alone = datasets.DatasetDict({SPLIT: benchmark.questions[SPLIT]})
    evaluation = evaluation_of(dataclasses.replace(benchmark, questions=alone), tmp_path)
    for table, systems in (("table1", ["gemkr"]), ("table1", ["dpr"]), ("table3", None)):
        with pytest.raises(ValueError, match="no training questions"):
            make_table(evaluation, table, systems)
    assert bm25(evaluation) > 0


def test_unscorable_questions_raise_before_any_training(benchmark, tmp_path) -> None:
    evaluation = evaluation_of(changed(benchmark, relevant_ids=[]), tmp_path)
    for long in (
        lambda: make_table(evaluation, "table1"),
        lambda: report_errors(evaluation, "dpr", tmp_path / "errors.html"),
    ):
        with pytest.raises(ValueError, match="questions have no relevant documents"):
            long()
    assert not (tmp_path / "models").exists() and not (tmp_path / "knowledge_base").exists()


def test_an_image_without_a_caption_is_reported(benchmark, tmp_path) -> None:
    evaluation = evaluation_of(changed(benchmark, caption=""), tmp_path)
    with pytest.raises(ValueError, match=r"have no caption.* set captions to written"):
        bm25(evaluation)


def test_an_empty_written_caption_is_accepted(benchmark, tmp_path, monkeypatch) -> None:
    class Silent:
        def to(self, device: torch.device) -> None:
            del device

        def write(self, images) -> list[str]:
            return [""] * len(images)

    written = []
    monkeypatch.setattr("gemkr_hf.paper.system_evaluation.load_captioner", lambda name: Silent())
    uncaptioned = changed(benchmark, "train", caption="")
    for name in ("one", "other"):
        evaluation = evaluation_of(
            uncaptioned, tmp_path, captions="written", checkpoints={"captions": name}
        )
        assert set(evaluation.captions_for(evaluation.test_questions)) == {""}
        # Training images without a caption get a written one as well.
        assert set(evaluation.captions_for(evaluation.training_questions)) == {""}
        written.append(sorted(path.name for path in (tmp_path / "captions").iterdir()))
    assert [len(names) for names in written] == [1, 2]  # each model's captions are its own


def test_a_run_of_other_questions_is_refused(benchmark, tmp_path) -> None:
    bm25(evaluation_of(benchmark, tmp_path))
    fewer = datasets.DatasetDict(
        {**benchmark.questions, SPLIT: benchmark.questions[SPLIT].select([0, 1])}
    )
    evaluation = evaluation_of(dataclasses.replace(benchmark, questions=fewer), tmp_path)
    with pytest.raises(ValueError, match=r"other settings .questions was"):
        bm25(evaluation)


def test_unused_checkpoints_and_unknown_documents_are_reported(benchmark, tmp_path) -> None:
    lines: list[str] = []
    odd = changed(benchmark, relevant_ids=["nowhere"])
    kept = tmp_path / "dpr"
    kept.mkdir()
    settings = config(tmp_path, captions="given", checkpoints={"dpr": str(kept)})
    evaluation = Evaluation(settings, log=lines.append, benchmark=odd)
    assert bm25(evaluation) == 0
    number = len(evaluation.test_questions)
    assert lines[0] == "Ignored the checkpoint for dpr: no requested system uses it"
    assert lines[1].startswith(
        f"{number} of {number} questions name a relevant document that is not"
    )


def test_a_missing_local_checkpoint_is_not_looked_up_on_the_hub(
    benchmark, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Checkpoint for gemkr not found: .*'runs/nope'"):
        evaluation_of(benchmark, tmp_path / "out", checkpoints={"gemkr": "runs/nope"})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_are_checked(seed: int, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"A seed is a number from 0 .* got"):
        config(tmp_path, seeds=(seed,))


def test_the_help_names_every_system() -> None:
    from gemkr_hf.cli.table_commands import SYSTEM_NAMES

    assert SYSTEM_NAMES.split(", ") == list(SYSTEMS)


def test_the_weights_digest_depends_on_each_tensor(tmp_path) -> None:
    weights = {"a": torch.zeros(4, 4), "b": torch.zeros(2)}
    save_file(weights, tmp_path / "model.safetensors")
    first = weights_digest(str(tmp_path))
    assert first == weights_digest(str(tmp_path))
    save_file({**weights, "b": torch.ones(2)}, tmp_path / "model.safetensors")
    assert weights_digest(str(tmp_path)) != first
    assert weights_digest("someone/on-the-hub") is None


def test_no_cause_is_the_detectors_without_detection(benchmark, tmp_path) -> None:
    evaluation = evaluation_of(benchmark, tmp_path)
    _, counts = report_errors(evaluation, "bm25", tmp_path / "bm25.html")
    assert sum(counts.values()) == len(evaluation.test_questions)
    assert not {"object not found", "no object found"} & counts.keys()


# -- what is written -------------------------------------------------------------------------------


def scored(name: str, hits: np.ndarray, measures=("P@1",)) -> Scores:
    ids = tuple(f"q{row}" for row in range(len(hits)))
    return Scores(name, "gold", ids, {m: hits.astype(float) for m in measures}, {}, 0)


def table_of(scores: dict[str, Scores], measures: tuple[str, ...] = ("P@1",)) -> ResultTable:
    runs = [[each] for each in scores.values()]
    rows = [
        ResultRow.from_scores(name, {}, each, measures, 1.0, 0.1)
        for name, each in zip(scores, runs, strict=True)
    ]
    rows = with_p_values(rows, runs, "ours")
    return ResultTable("t", "T", "b", "test", 100, "gold", (0,), measures, "ours", rows)


def test_significant_differences_are_marked_and_p_values_adjusted() -> None:
    ours = np.arange(100) < 90
    hits = {"ours": ours, "far": np.arange(100) < 40, "near": np.arange(100) < 88}
    scores = {name: scored(name, each) for name, each in hits.items()}
    table = table_of(scores)
    reference, far, near = table.rows
    assert reference.p == {}
    assert far.p["P@1"] < 0.05 < near.p["P@1"]
    # Holm: with two rows the smallest p-value counts twice; with one alone, once.
    [_, alone] = table_of({name: scores[name] for name in ("ours", "far")}).rows
    assert far.p["P@1"] == pytest.approx(2 * alone.p["P@1"])
    lines = squeezed(to_markdown(table)).splitlines()
    assert any(line.startswith("| far | 40.0* [") for line in lines)
    assert any(line.startswith("| near | 88.0 [") for line in lines)
    assert "for P@1 only" in lines[-1]
    assert r"40.0$^{*}$ {\scriptsize[" in to_latex(table)


def test_any_measure_is_drawn_and_a_row_of_the_paper_alone_is_shown(tmp_path) -> None:
    measures = ("MRR@10", "distinct@10")
    table = table_of({"ours": scored("ours", np.arange(20) < 9, measures)}, measures)
    plot_result(table, tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
    paper = ResultRow(
        "LLaMA_7b", {"OKVQA-GS112K": {"R@5": 0.786}}, dict.fromkeys(measures, NOT_MEASURED)
    )
    table = dataclasses.replace(table, rows=(paper, *table.rows))
    assert "| LLaMA_7b | 78.6 | - | - | - | - | - |" in squeezed(to_markdown(table))
    assert r"LLaMA\_7b & 78.6 & - & - \\" in to_latex(table)
    assert r"\textbf{45.0}" in to_latex(table)
    plot_result(table, tmp_path / "paper.png")
    assert (tmp_path / "paper.png").exists()


def test_language_models_with_equal_names_are_refused(tmp_path) -> None:
    sizes = tuple(LanguageModelSize(name, language_model="x") for name in ("OPT 1.3b", "OPT-1.3b"))
    with pytest.raises(ValueError, match=r"unique names.*'OPT 1.3b', 'OPT-1.3b'"):
        EvaluationConfig(output=str(tmp_path), language_models=sizes)


def test_a_kept_run_records_a_digest_of_its_questions(benchmark, tmp_path) -> None:
    evaluation = evaluation_of(benchmark, tmp_path)
    bm25(evaluation)
    kept = json.loads((tmp_path / "rows/bm25-question-caption/seed-0/run.json").read_text())
    assert kept["settings"]["questions"] == questions_digest(evaluation)
