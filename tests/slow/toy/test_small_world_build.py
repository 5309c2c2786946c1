"""Making the stand-ins: in stages that are done once, and from where a training stopped."""

import json

import pytest
import torch

from gemkr_hf.toy.stand_ins.build import STAGES, SmallWorldTraining, build_small_world
from gemkr_hf.toy.stand_ins.clip_stand_in import ClipTraining, train_clip
from gemkr_hf.toy.stand_ins.detector_stand_in import DetectorTraining
from gemkr_hf.toy.stand_ins.language_model_stand_in import (
    LanguageModelTraining,
    train_language_model,
)
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import train_tokenizer

TINY_LANGUAGE_MODEL = LanguageModelTraining(
    hidden_size=32,
    intermediate_size=32,
    layers=1,
    heads=2,
    steps=4,
    copy_batch=2,
    clue_batch=2,
    document_batch=1,
    copying_alone=0.25,
    warmup=2,
    save_steps=2,
)
TINY_CLIP = ClipTraining(
    width=32,
    layers=1,
    text_layers=1,
    patch=30,
    crops=200,
    scenes=8,
    held_out=8,
    steps=4,
    crop_batch=8,
    scene_batch=2,
    warmup=2,
    save_steps=2,
)
TINY_DETECTOR = DetectorTraining(width=0.0625, scenes=8, held_out=4, epochs=1, batch=4)


class Stopped(Exception):
    """A training is stopped here."""


def stop_at_the_first_figures(line: str) -> None:
    """Stop after the first state is saved, just before which the metrics are logged."""
    if stop_at_the_first_figures.seen:
        raise Stopped
    stop_at_the_first_figures.seen = "naming in words" in line or "zero-shot" in line


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.mark.parametrize(
    ("train", "training"), [(train_language_model, TINY_LANGUAGE_MODEL), (train_clip, TINY_CLIP)]
)
def test_a_stopped_training_ends_as_if_it_had_not_stopped(
    tokenizer, train, training, tmp_path
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole, figures = train(tokenizer, training, tmp_path / "whole", lambda line: None)
    stop_at_the_first_figures.seen = False
    with pytest.raises(Stopped):
        train(tokenizer, training, tmp_path / "stopped", stop_at_the_first_figures)
    lines: list[str] = []
    resumed, figures_again = train(tokenizer, training, tmp_path / "stopped", lines.append)
    assert any("resuming from step 2" in line for line in lines)
    assert figures == figures_again
    for (name, one), (_, other) in zip(
        whole.state_dict().items(), resumed.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name


def test_all_stages_end_to_end_and_none_is_done_twice(tmp_path, caplog) -> None:
    training = SmallWorldTraining(TINY_DETECTOR, TINY_CLIP, TINY_LANGUAGE_MODEL)
    target = build_small_world(tmp_path / "work", tmp_path / "made", training)
    figures = json.loads((target / "figures.json").read_text())
    assert tuple(figures) == STAGES
    assert (target / "logs" / "clip.log").read_text().count("clip: starting") == 1
    files = sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())
    assert not [name for name in files if name.suffix in {".pt", ".bin", ".pkl"}]
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.safetensors")}
    assert len(before) == 3
    build_small_world(tmp_path / "work", tmp_path / "made", training)
    assert before == {path: path.stat().st_mtime_ns for path in target.rglob("*.safetensors")}


def test_an_unknown_stage_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match="Unknown stage 'yolo'"):
        build_small_world(tmp_path, tmp_path / "made", stages=("yolo",))
    assert not (tmp_path / "made").exists()
