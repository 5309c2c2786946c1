"""The report and the deprecated argument of the quickstart, which integration tests run."""

import pytest

from gemkr_hf.retrieval.types import Run
from gemkr_hf.toy.quickstart import run_quickstart
from gemkr_hf.toy.quickstart.quickstart_report import metrics_table
from gemkr_hf.toy.quickstart.quickstart_systems import score_by_objects


def test_the_table_shows_each_system_of_each_split() -> None:
    row = {"P@1": 0.5, "P@5": 0.125, "R@5": 0.75, "R@10": 1.0}
    systems = {
        "GeMKR": {**row, "seconds per query": 0.0321, "P@1 by objects": {"1": 0.5}},
        "guess": {**row, "seconds per query": None, "P@1 by objects": {"2": 0.25}},
    }
    table = metrics_table({"splits": {"test": {"questions": 8, "systems": systems}}})
    lines = [line.replace("│", " ").split() for line in table.splitlines()]
    assert "test: 8 questions (hit preset: gold)" in table
    assert ["GeMKR", "0.500", "0.125", "0.750", "1.000", "0.032", "0.50", "nan"] in lines
    assert ["guess", "0.500", "0.125", "0.750", "1.000", "-", "nan", "0.25"] in lines


def test_metrics_are_grouped_by_the_number_of_objects() -> None:
    questions = [
        {"question_id": "a", "relevant_ids": ["x"], "objects": [1]},
        {"question_id": "b", "relevant_ids": ["y"], "objects": [1, 2]},
        {"question_id": "c", "relevant_ids": ["y"], "objects": [1, 2]},
    ]
    run = Run.from_lists("run", {"a": ["x"], "b": ["x", "y"], "c": ["y"]})
    metrics = score_by_objects(run, questions)
    assert {n: value.precision_at_1 for n, value in metrics.items()} == {1: 1.0, 2: 0.5}


def test_say_is_a_deprecated_name_of_log(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(FutureWarning, match="'say' is deprecated"), pytest.raises(OSError):
        run_quickstart(tmp_path / "file", say=print)
