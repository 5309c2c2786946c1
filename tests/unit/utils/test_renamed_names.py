"""Public names, fields and arguments of version 0.1 that no other test covers."""

import importlib
import inspect

import numpy as np
import pytest

from gemkr_hf.data.benchmark import Benchmark
from gemkr_hf.data.data_check import DataCheck, SplitCheck
from gemkr_hf.decoding import ClueRules
from gemkr_hf.evaluation.comparison import Comparison
from gemkr_hf.index import FMIndex
from gemkr_hf.knowledge_base import KnowledgeBase


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("baselines", "PictureReader", "ImageReader"),
        ("data.data_config", "FORMATS", "BENCHMARK_FORMATS"),
        ("data.images", "CocoPictures", "CocoImages"),
        ("data.images", "DatasetPictures", "DatasetImages"),
        ("data.images", "FolderPictures", "FolderImages"),
        ("data.images", "TsvPictures", "TsvImages"),
        ("evaluation.error_analysis", "Search", "SearchReplay"),
        ("evaluation.error_analysis", "WrittenClue", "GeneratedClue"),
        ("evaluation.hits", "PRESETS", "HIT_PRESETS"),
        ("evaluation.hits", "holds_answer", "contains_answer"),
        ("training.prepared_images", "Picture", "PreparedImage"),
        ("training.prepared_images", "PreparedPictures", "PreparedImages"),
        ("training.prepared_images", "prepare_pictures", "prepare_images"),
        ("training.trainer", "Tuned", "TuningResult"),
    ],
)
def test_old_names_of_modules(module: str, old: str, new: str) -> None:
    found = importlib.import_module(f"gemkr_hf.{module}")
    with pytest.warns(FutureWarning, match=rf"'gemkr_hf\.{module}\.{old}' is deprecated .*{new}'"):
        assert getattr(found, old) is getattr(found, new)


@pytest.mark.parametrize(
    ("module", "function", "old", "new"),
    [
        ("baselines", "fit_captions", "pictures", "images"),
        ("baselines", "fit_towers", "pictures", "images"),
        ("data.data_check", "check_data", "decode", "num_decoded"),
        ("data.data_check", "check_data", "shown", "num_examples"),
        ("evaluation.error_analysis", "analyze_errors", "pictures", "images"),
        ("evaluation.error_analysis", "write_error_report", "pictures", "images"),
        ("training", "run_training", "pictures", "images"),
        ("training.trainer", "tune", "held_out", "validation_set"),
        ("training.trainer", "tune", "fresh", "load_untuned"),
    ],
)
def test_old_names_of_arguments(module: str, function: str, old: str, new: str) -> None:
    called = getattr(importlib.import_module(f"gemkr_hf.{module}"), function)
    assert new in inspect.signature(called).parameters
    with (
        pytest.warns(FutureWarning, match=f"'{old}' is deprecated .* use '{new}'"),
        pytest.raises(TypeError, match=r"missing .* required positional argument"),
    ):
        called(**{old: None})


def test_old_names_of_scenes() -> None:
    from gemkr_hf.data import scenes
    from gemkr_hf.evaluation import error_analysis

    for old, new in (("SceneThing", scenes.SceneObject), ("SceneTruth", scenes.Scene)):
        with pytest.warns(FutureWarning, match=f"use 'gemkr_hf.data.scenes.{new.__name__}'"):
            assert getattr(error_analysis, old) is new


def test_old_names_of_fields() -> None:
    rules = {"index": FMIndex.build([[3, 4], [3, 5]]), "eos_token_ids": [1]}
    benchmark = {"name": "", "questions": None, "documents": None}
    check = {"splits": [], "documents": None, "examples": [], "warnings": []}
    for kind, needed, names in (
        (Benchmark, benchmark, {"pictures": "images"}),
        (ClueRules, rules, {"whole": "whole_documents"}),
        (DataCheck, check, {"pictures": "images", "stop": "error"}),
        (
            SplitCheck,
            {"name": "test"},
            {
                "answers": "with_answers",
                "documents": "with_documents",
                "clues": "with_clues",
                "pictures": "with_image",
                "strays": "mismatches",
            },
        ),
    ):
        with pytest.warns(FutureWarning) as warned:
            created = kind(**needed, **dict.fromkeys(names, 7))
        assert len(warned) == len(names)
        for old, new in names.items():
            with pytest.warns(FutureWarning, match=f"{old}' is deprecated .*{new}'"):
                assert getattr(created, old) == getattr(created, new) == 7


def test_old_names_of_a_comparison_and_of_a_text() -> None:
    comparison = object.__new__(Comparison)
    object.__setattr__(comparison, "question_ids", ("1", "2"))
    object.__setattr__(comparison, "values", np.zeros((2, 2)))
    with pytest.warns(FutureWarning, match=r"use 'Comparison\.ties'"):
        assert comparison.alike == comparison.ties == 2
    with (
        pytest.warns(FutureWarning, match="'words' is deprecated .* use 'text'"),
        pytest.raises(AttributeError),
    ):
        KnowledgeBase.encode(None, words="a text")  # type: ignore[arg-type]
