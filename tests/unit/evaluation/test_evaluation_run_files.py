"""Run files: of TREC in and out, and those of other people."""

import json
import random
from pathlib import Path

import pytest
import pytrec_eval

from gemkr_hf.data.formats.okvqa import okvqa_document_id
from gemkr_hf.evaluation.run_files import read_run, read_trec_run, write_trec_run
from gemkr_hf.retrieval.types import Run


def test_a_run_survives_the_format(tmp_path: Path) -> None:
    run = Run(
        "BM25 + caption",
        {"q2": ["b", "a", "GS_17"], "q1": ["ü"], "q0": []},
        {"q2": [3.25, 1 / 3, -2e-30], "q1": [7.0], "q0": []},
    )
    write_trec_run(run, tmp_path / "new" / "run.trec")
    lines = (tmp_path / "new" / "run.trec").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "q2 Q0 a 2 0.3333333333333333 BM25_+_caption"
    read = read_trec_run(tmp_path / "new" / "run.trec")
    assert read.name == "BM25_+_caption"
    assert read.documents == {"q2": ["b", "a", "GS_17"], "q1": ["ü"]}
    assert read.scores == {"q2": [3.25, 1 / 3, -2e-30], "q1": [7.0]}


@pytest.mark.parametrize(
    "scores",
    [
        [1.0, 1.0, 0.5],
        [0.5, 1.0, 2.0],
        [1.0 + 2e-9, 1.0 + 1e-9, 1.0],
        [2e300, 1e300, 1.0],
        [float("nan"), 1.0, 0.5],
        [1.0, 0.5, float("nan")],
    ],
)
def test_trec_eval_reads_the_order_that_was_written(scores: list[float], tmp_path: Path) -> None:
    """Also where single precision, which it reads scores in, cannot tell them apart."""
    found = ["a", "b", "c"]
    write_trec_run(Run("any", {"q": found}, {"q": scores}), tmp_path / "run.trec")
    assert read_trec_run(tmp_path / "run.trec").documents == {"q": found}
    with (tmp_path / "run.trec").open() as file:
        theirs = pytrec_eval.parse_run(file)
    for place, document in enumerate(found, start=1):
        evaluator = pytrec_eval.RelevanceEvaluator({"q": {document: 1}}, {"recip_rank"})
        assert evaluator.evaluate(theirs)["q"]["recip_rank"] == pytest.approx(1 / place)


def test_documents_are_ordered_by_score_not_by_rank_or_line(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q Q0 a 1 0.1 t\n\nq\tQ0\tb\t2\t3e0\tt\nq Q0 c 3 0.1 t\r\n")
    assert read_trec_run(path).documents == {"q": ["b", "c", "a"]}
    assert read_trec_run(path).scores == {"q": [3.0, 0.1, 0.1]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q Q0 a 1 0.5\n", "Line 1 of .* must have six columns"),
        ("q Q0 a 1 0.5 t\nq Q0 my doc 2 0.4 t\n", "Line 2 of .* must have six columns"),
        ("q Q0 a 1 high t\n", "Line 1 of .* six columns"),
        ("q Q0 a 1 nan t\n", "Line 1 of .* the score is not a number"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t\n", "Line 2 .* repeats document 'a' for question 'q'"),
        ("\n \n", "contains no retrieved document"),
        ("", "contains no retrieved document"),
    ],
)
def test_an_invalid_trec_run_is_an_error_with_its_line(content, message, tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_run(tmp_path / "run.txt", ["q"])


def test_a_binary_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_bytes(b"\xff\xfe\x00q")
    with pytest.raises(ValueError, match="is not valid UTF-8 text"):
        read_run(tmp_path / "run.trec", ["q"])
    with pytest.raises(FileNotFoundError, match="Run file not found"):
        read_run(tmp_path / "other.trec", ["q"])


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ({"q": ["my doc"]}, "A TREC file cannot contain the document id 'my doc'"),
        ({"q": ["a\u2003b"]}, "cannot contain the document id"),
        ({"q": [""]}, "cannot contain the document id ''"),
        ({"my q": ["a"]}, "cannot contain the question id 'my q'"),
        ({"q": ["a", "b", "a"]}, "A document was retrieved twice for question 'q'"),
    ],
)
def test_runs_that_a_trec_file_cannot_contain(documents, message, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_trec_run(Run.from_lists("any", documents), tmp_path / "run.trec")
    assert not list(tmp_path.iterdir())


def test_a_released_list_of_lists_is_in_the_order_of_the_questions(tmp_path: Path) -> None:
    """As the paper's authors released their results: documents may come back twice."""
    path = tmp_path / "okvqa_results.json"
    path.write_text(json.dumps([["google:12", "7", "google:12"], [], [7, {"id": "GS_3"}]]))
    run = read_run(path, ["q2", "q0", "q1"], okvqa_document_id)
    assert run.name == "okvqa_results"
    assert run.documents == {"q2": ["12", "7", "12"], "q0": [], "q1": ["7", "3"]}
    assert run.scores["q2"] == [1, 1 / 2, 1 / 3]


def test_a_mapping_from_question_to_list(tmp_path: Path) -> None:
    path = tmp_path / "run.JSON"
    path.write_text(
        json.dumps({"2": ["my doc", {"doc_id": 4, "score": 9}], "1": [{"kid": "x"}]}),
        encoding="utf-8-sig",
    )
    assert read_run(path, ["1", "2"]).documents == {"2": ["my doc", "4"], "1": ["x"]}


@pytest.mark.slow
def test_a_mapping_to_scores_as_ranx_saves_it(tmp_path: Path) -> None:
    from ranx import Run as RanxRun

    rng = random.Random(0)
    found = {f"q{row}": {f"d{n}": rng.random() for n in range(5)} for row in range(4)}
    RanxRun(found, name="theirs").save(str(tmp_path / "run.json"))
    run = read_run(tmp_path / "run.json", list(found))
    assert run.documents == {
        name: sorted(scores, key=scores.__getitem__, reverse=True) for name, scores in found.items()
    }
    assert run.scores["q0"][0] == max(found["q0"].values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[["a"]', "is not valid JSON"),
        ('"a"', "must contain a list of document ids for each question"),
        ('[["a"]]', "contains lists for 1 questions, but the split has 2"),
        ('[["a"], "b"]', "must contain a list of document ids for each question, got 'b'"),
        ('[["a"], [null]]', "question 'q1': None is not a valid document id"),
        ('[["a"], [{"title": "b"}]]', "question 'q1': {'title': 'b'} is not a valid document id"),
        ('[["a"], [true]]', "question 'q1': True is not a valid document id"),
        ("[[], []]", "contains no retrieved document"),
        ("{}", "contains no retrieved document"),
        ('{"q0": {"a": "high"}}', "question 'q0': expected document ids with scores"),
        ('{"q0": {"a": 1}, "q1": ["a"]}', "question 'q1': expected document ids with scores"),
        ('{"q0": {"a": NaN}}', "question 'q0': expected document ids with scores"),
    ],
)
def test_invalid_json_runs_are_errors(content, message, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_run(tmp_path / "run.json", ["q0", "q1"])
