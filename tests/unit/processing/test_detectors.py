"""The detectors: the same boxes before and after a checkpoint, and a quiet machine."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

from gemkr_hf.processing import (
    Object,
    TransformersDetector,
    YoloDetector,
    detection_gemkr,
    import_ultralytics,
)
from gemkr_hf.processing.detection_gemkr import detection_model
from tests.project import python_path
from tests.unit.processing.processing_parts import make_image, make_yolo

IMAGES = [make_image(60, 40, 0), make_image(33, 80, 1), make_image(1, 1, 2)]


def assert_same(first: list[list[Object]], second: list[list[Object]], **tolerance) -> None:
    assert [len(row) for row in first] == [len(row) for row in second]
    for row, other in zip(first, second, strict=True):
        for one, two in zip(row, other, strict=True):
            assert one.label == two.label
            assert one.box == pytest.approx(two.box, **tolerance)
            assert one.score == pytest.approx(two.score, **tolerance)


def test_yolo_round_trip_without_pickle(yolo, tmp_path):
    before = yolo.detect(IMAGES)
    assert sum(map(len, before)) > 3
    assert {found.label for row in before for found in row} <= {"cat", "dog"}
    for row in before:
        assert [found.score for found in row] == sorted((f.score for f in row), reverse=True)
    yolo.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "detector.json",
        "detector.yaml",
        "detector.safetensors",
    }
    architecture = yaml.safe_load((tmp_path / "detector.yaml").read_text())
    assert architecture == yolo.architecture
    assert len(detection_model(architecture).state_dict()) == len(yolo.state_dict)
    loaded = YoloDetector.from_pretrained(tmp_path)
    assert loaded.image_size == 64
    assert loaded.detect(IMAGES) == before
    loaded.save_pretrained(tmp_path)  # onto the files that it was loaded from
    assert YoloDetector.from_pretrained(tmp_path, confidence=0.1).confidence == 0.1
    assert YoloDetector.from_pretrained(tmp_path).detect(IMAGES) == before


def test_yolo_batched_equals_single(yolo):
    single = [yolo.detect([image])[0] for image in IMAGES]
    assert_same(yolo.detect(IMAGES), single, rel=1e-4, abs=1e-3)


def test_yolo_from_every_form_of_a_trained_model(tmp_path):
    from gemkr_hf.processing import import_ultralytics

    model = make_yolo()
    options = {"image_size": 64, "confidence": 0.4}
    expected = YoloDetector.from_ultralytics(model, **options).detect(IMAGES)
    wrapped = import_ultralytics().YOLO("yolov8n.yaml", task="detect", verbose=False)
    wrapped.model = model
    assert YoloDetector.from_ultralytics(wrapped, **options).detect(IMAGES) == expected
    wrapped.save(tmp_path / "best.pt")  # which rounds to half precision, as training does
    kept = YoloDetector.from_ultralytics(tmp_path / "best.pt", **options)
    direct = YoloDetector(tmp_path / "best.pt", **options)
    assert direct.detect(IMAGES) == kept.detect(IMAGES)
    direct.save_pretrained(tmp_path / "kept")
    again = YoloDetector.from_pretrained(tmp_path / "kept")
    assert again.class_names == ["cat", "dog"]
    # A published checkpoint contains no paths of the machine that saved it.
    assert "yaml_file" not in again.architecture
    assert again.detect(IMAGES) == kept.detect(IMAGES)
    fused = YoloDetector.from_ultralytics(copy.deepcopy(model).fuse(verbose=False), **options)
    fused.save_pretrained(tmp_path / "fused")
    loaded = YoloDetector.from_pretrained(tmp_path / "fused").detect(IMAGES)
    assert_same(loaded, expected, rel=1e-4, abs=1e-3)


def test_yolo_in_half_precision(tmp_path):
    yolo = YoloDetector.from_ultralytics(make_yolo(), half=True, image_size=64, confidence=0.4)
    yolo.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "detector.safetensors")
    assert {t.dtype for t in tensors.values() if t.ndim > 1} == {torch.float16}
    assert YoloDetector.from_pretrained(tmp_path).detect(IMAGES) == yolo.detect(IMAGES)


def test_yolo_copies_and_pickles_when_loaded(yolo):
    before = yolo.detect(IMAGES)
    assert pickle.loads(pickle.dumps(yolo)).detect(IMAGES) == before
    twin = copy.deepcopy(yolo)
    assert twin.detect(IMAGES) == before
    assert twin._predictor is not yolo._predictor


def test_yolo_class_filter(yolo):
    all_labels = {found.label for found in yolo.detect(IMAGES)[0]}
    kept = sorted(all_labels)[0]
    yolo.classes = [kept]
    assert {found.label for found in yolo.detect(IMAGES)[0]} == {kept}


def test_yolo_mistakes(tmp_path, yolo):
    with pytest.raises(FileNotFoundError, match=r"weights not found: .*missing\.pt"):
        YoloDetector(tmp_path / "missing.pt")
    with pytest.raises(FileNotFoundError, match=r"detector\.json"):
        YoloDetector.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a YOLO"):
        YoloDetector.from_ultralytics(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"0\.\.1"):
        YoloDetector("yolov8n.yaml", confidence=25)
    yolo.save_pretrained(tmp_path)
    path = tmp_path / "detector.yaml"
    path.write_text(path.read_text() + "activation: __import__('os').getcwd()")
    with pytest.raises(ValueError, match=r"not a torch\.nn class"):
        YoloDetector.from_pretrained(tmp_path).detect(IMAGES)
    for text, message in (("[", "is not valid YAML"), ("- 1", "not the architecture")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            YoloDetector.from_pretrained(tmp_path)


def test_yolo_weights_on_the_hub(tmp_path, yolo, monkeypatch):
    import_ultralytics().YOLO(yolo_file(tmp_path, yolo))  # it is one that ultralytics reads
    asked = []

    def cached_file(repo, name, **kwargs):
        asked.append((repo, name))
        return str(tmp_path / name) if repo == "org/yolo" else None

    monkeypatch.setattr(detection_gemkr, "cached_file", cached_file)
    found = YoloDetector("org/yolo/best.pt", image_size=64, confidence=0.4).detect(IMAGES)
    assert_same(found, yolo.detect(IMAGES), rel=1e-4, abs=1e-3)
    assert set(asked) == {("org/yolo", "best.pt")}
    with pytest.raises(FileNotFoundError, match="weights not found: 'org/none"):
        YoloDetector("org/none/best.pt")


def yolo_file(folder: Path, yolo: YoloDetector) -> str:
    """A `.pt` as ultralytics writes it."""
    wrapped = import_ultralytics().YOLO("yolov8n.yaml", task="detect", verbose=False)
    wrapped.model = yolo.build()
    wrapped.save(folder / "best.pt")
    return str(folder / "best.pt")


@pytest.mark.slow
def test_clear_error_without_ultralytics(tmp_path, yolo):
    yolo.save_pretrained(tmp_path / "kept")
    program = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "ultralytics" else find(name, *a)
from PIL import Image
from gemkr_hf.processing import YoloDetector
yolo = YoloDetector.from_pretrained(sys.argv[1])
yolo.save_pretrained(sys.argv[1] + "/again")  # needs no ultralytics
try:
    yolo.detect([Image.new("RGB", (9, 9))])
except ImportError as error:
    assert "pip install 'gemkr-hf[yolo]'" in str(error), error
    assert "ultralytics" not in sys.modules
    print("clear")
"""
    run = python(program, str(tmp_path / "kept"))
    assert run.stdout.strip() == "clear", run.stderr


@pytest.mark.slow
def test_ultralytics_has_no_side_effects(tmp_path, yolo):
    yolo.save_pretrained(tmp_path / "kept")
    home = tmp_path / "home"
    home.mkdir()
    program = """
import os, socket, sys
def refuse(*arguments):
    raise AssertionError(f"network: {arguments}")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy as np
from PIL import Image
from gemkr_hf.processing import YoloDetector
before = np.get_printoptions(), Image.open
YoloDetector.from_pretrained(sys.argv[1]).detect([Image.new("RGB", (40, 30), "red")])
import ultralytics
assert ultralytics.settings["sync"] is False
assert (np.get_printoptions(), Image.open) == before
print(os.environ["YOLO_CONFIG_DIR"])
"""
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    run = python(program, str(tmp_path / "kept"), cwd=home, **environment)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.strip().splitlines()
    assert len(lines) == 1, lines  # nothing else is printed
    assert not Path(lines[0]).exists()  # the settings were temporary
    left = [path for path in home.rglob("*") if "ltralytics" in path.name or path.name == "runs"]
    assert not left


def python(program: str, *arguments: str, cwd: Path | None = None, **environment: str):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**kept, "PYTHONPATH": python_path(), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def tiny_yolos() -> TransformersDetector:
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=6,
        num_labels=3,
        auxiliary_loss=False,
    )
    size = {"shortest_edge": 32, "longest_edge": 48}
    image_processor = YolosImageProcessor(size=size)
    return TransformersDetector(YolosForObjectDetection(config), image_processor, confidence=0.05)


def test_transformers_detector_round_trip(tiny_yolos, tmp_path):
    before = tiny_yolos.detect(IMAGES[:2])
    assert sum(map(len, before)) > 0
    tiny_yolos.save_pretrained(tmp_path)
    loaded = TransformersDetector.from_pretrained(tmp_path)
    assert_same(loaded.detect(IMAGES[:2]), before, rel=1e-5)
    loaded.save_pretrained(tmp_path / "again")
    again = TransformersDetector.from_pretrained(tmp_path / "again", confidence=1.0)
    assert again.detect(IMAGES[:2]) == [[], []]
    assert copy.deepcopy(loaded).confidence == 0.05


def test_transformers_detector_by_hub_id_keeps_the_id(tmp_path):
    detector = TransformersDetector("org/detector", location={"revision": "main", "token": "x"})
    detector.save_pretrained(tmp_path)
    content = (tmp_path / "detector.json").read_text()
    assert json.loads(content)["model"] == "org/detector"
    assert "token" not in content
