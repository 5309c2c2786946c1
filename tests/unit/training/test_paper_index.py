"""``docs/paper-index.md`` names the defaults as they are."""

import dataclasses
import re

import pytest

from gemkr_hf.data import DataConfig
from gemkr_hf.modeling import GeMKRConfig
from gemkr_hf.training.arguments import TrainConfig
from tests.project import ROOT

PAGE = (ROOT / "docs" / "paper-index.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \|", PAGE, re.M)


def default_of(setting: str):
    first, *rest = setting.split(".")
    value = GeMKRConfig() if first == "GeMKRConfig" else None
    if value is None:
        rest = [first, *rest]
        value = TrainConfig(data=DataConfig(format="symbols"), output="runs/x")
    for name in rest:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


@pytest.mark.parametrize(("setting", "stated"), ROWS, ids=[name for name, _ in ROWS])
def test_a_default_is_as_the_page_states_it(setting, stated) -> None:
    assert str(default_of(setting)) == stated


def test_every_setting_of_tuning_and_sampling_that_shapes_the_model_is_there() -> None:
    named = {name.split(".")[-1] for name, _ in ROWS if name.startswith(("tuning.", "sampling."))}
    config = TrainConfig(data=DataConfig(format="symbols"), output="runs/x")
    fields = {
        field.name
        for part in (config.tuning, config.sampling)
        for field in dataclasses.fields(part)
    }
    of_the_machine = {
        "visual_learning_rate", "gradient_accumulation_steps", "max_steps", "min_learning_rate",
        "max_grad_norm", "precision", "gradient_checkpointing", "fit_objects", "seed",
        "dataloader_num_workers", "save_steps", "logging_steps", "report_to", "ambiguous",
        "redraws", "max_length",
    }  # fmt: skip
    assert fields - named == of_the_machine
