"""Save and load processors: with the class, AutoProcessor, and without `gemkr_hf`."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, CLIPImageProcessorPil
from transformers.utils import hub

from gemkr_hf.processing import GeMKRProcessor
from tests.unit.processing.processing_parts import QUESTION, FixedDetector, make_image

TEMPLATE = "Q: {question}\nI:{image}\n\nR:"


@pytest.fixture
def full(image_processor, tokenizer, yolo) -> GeMKRProcessor:
    return GeMKRProcessor(
        image_processor,
        tokenizer,
        yolo,
        prompt_template=TEMPLATE,
        max_objects=3,
        object_margin=0.1,
        object_template=" {place} {size} <object>",
        object_separator=" ;",
        large_object=0.2,
    )


def call(processor):
    return processor(
        images=[make_image(), None], text=[QUESTION, "Why?"], clues=["sport", "a clue"]
    )


def assert_equal(first, second):
    assert set(first) == set(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_round_trip(full, tmp_path):
    full.save_pretrained(tmp_path)
    assert (tmp_path / "prompt_template.txt").read_text() == TEMPLATE + "\n"
    assert not list(tmp_path.glob("*.pt")) and not list(tmp_path.glob("*.bin"))
    loaded = GeMKRProcessor.from_pretrained(tmp_path)
    for name in (
        "prompt_template",
        "max_objects",
        "object_margin",
        "object_template",
        "object_separator",
        "large_object",
    ):
        assert getattr(loaded, name) == getattr(full, name)
    assert call(full)["object_mask"].any()
    assert_equal(call(loaded), call(full))
    assert "detector_type" in repr(loaded)


def test_options_override_and_do_not_leak(full, tmp_path):
    full.save_pretrained(tmp_path)
    detector = FixedDetector([])
    loaded = GeMKRProcessor.from_pretrained(
        tmp_path, max_objects=1, detector=detector, prompt_template="{question}{image}"
    )
    assert loaded.max_objects == 1
    assert loaded.detector is detector
    assert loaded.prompt_template == "{question}{image}"
    with pytest.raises(ValueError, match="FixedDetector cannot be saved"):
        loaded.save_pretrained(tmp_path / "again")
    loaded.detector = None
    loaded.save_pretrained(tmp_path / "again")
    assert GeMKRProcessor.from_pretrained(tmp_path / "again").detector is None


def test_a_removed_detector_stays_removed(full, tmp_path):
    full.save_pretrained(tmp_path)
    full.detector = None
    full.save_pretrained(tmp_path)
    assert GeMKRProcessor.from_pretrained(tmp_path).detector is None


def test_pil_image_processor_round_trip(tokenizer, tmp_path):
    size = {"shortest_edge": 24}
    image_processor = CLIPImageProcessorPil(size=size, crop_size={"height": 24, "width": 24})
    processor = GeMKRProcessor(image_processor, tokenizer)
    processor.save_pretrained(tmp_path)
    loaded = GeMKRProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded.image_processor, CLIPImageProcessorPil)
    assert_equal(call(loaded), call(processor))


def test_what_is_pushed_is_what_is_saved(full, tmp_path, monkeypatch):
    """The files that would be committed make the same processor again."""
    pushed = {}

    class Hub:
        def create_repo(self, repo_id, **kwargs):
            return SimpleNamespace(repo_id=repo_id)

        def create_commit(self, repo_id, operations, **kwargs):
            for operation in operations:
                content = operation.path_or_fileobj
                content = content if isinstance(content, bytes) else Path(content).read_bytes()
                pushed[f"{repo_id}/{operation.path_in_repo}"] = content

    monkeypatch.setattr(hub, "hf_api", Hub)
    full.push_to_hub("org/gemkr")
    files = {Path(path).name for path in full.save_pretrained(tmp_path / "saved")}
    assert {f"org/gemkr/{name}" for name in files} <= set(pushed)
    for name, content in pushed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    loaded = AutoProcessor.from_pretrained(tmp_path / "org" / "gemkr", trust_remote_code=True)
    assert_equal(call(loaded), call(full))


PROGRAM = """
import sys
sys.modules["gemkr_hf"] = None  # importing it fails
from pathlib import Path
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor
folder, image, out = map(Path, sys.argv[1:4])
for number in range(2):  # as downloaded, then as saved again from there
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    batch = processor(images=[image, None], text=[sys.argv[4], "Why?"],
                      clues=["sport", "a clue"])
    save_file({k: v.contiguous() for k, v in batch.items()}, out / f"{number}.safetensors")
    names = {path.name for path in folder.iterdir()}
    folder = out / "again"
    processor.save_pretrained(folder)
    missing = names - {path.name for path in folder.iterdir()}
    assert not missing, missing
assert not any(name.startswith("gemkr_hf.") for name in sys.modules)
"""


@pytest.mark.slow
def test_remote_code_without_the_library(full, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    full.save_pretrained(checkpoint)
    make_image().save(tmp_path / "image.png")
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH",)}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, checkpoint, tmp_path / "image.png", tmp_path, QUESTION],
        env={**kept, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    for number in range(2):
        assert_equal(load_file(tmp_path / f"{number}.safetensors"), dict(call(full)))


def test_auto_processor_in_this_process(full, tmp_path, monkeypatch):
    full.save_pretrained(tmp_path / "checkpoint")
    loaded = AutoProcessor.from_pretrained(tmp_path / "checkpoint", trust_remote_code=True)
    assert_equal(call(loaded), call(full))
