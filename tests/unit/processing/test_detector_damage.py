"""Damaged files and invalid settings of detectors."""

import json

import pytest
import torch
import yaml
from test_detectors import yolo_file

from gemkr_hf.processing import TransformersDetector, YoloDetector


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5])
def test_truncated_weights(yolo, tmp_path, kept):
    yolo.save_pretrained(tmp_path)
    path = tmp_path / "detector.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r"detector\.safetensors is truncated or damaged") as error:
        YoloDetector.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_architecture(yolo, tmp_path):
    yolo.save_pretrained(tmp_path)
    (tmp_path / "detector.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"not found: detector\.yaml in"):
        YoloDetector.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", [YoloDetector, TransformersDetector])
@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_invalid_settings_file(yolo, tmp_path, kind, text):
    yolo.save_pretrained(tmp_path)
    (tmp_path / "detector.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"detector\.json (is not valid|must hold a) JSON"):
        kind.from_pretrained(tmp_path)


def test_invalid_weights(yolo, tmp_path):
    good = yolo_file(tmp_path, yolo)
    half = tmp_path / "half.pt"
    half.write_bytes((tmp_path / "best.pt").read_bytes()[:5000])
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("half", "state", "text", "empty"):
        path = tmp_path / f"{name}.pt"
        for call in (YoloDetector.from_ultralytics, lambda path: YoloDetector(path).load()):
            with pytest.raises(
                ValueError, match=rf"{name}\.pt is not a YOLO detection model"
            ) as error:
                call(path)
            assert "\n" not in str(error.value)
    assert YoloDetector.from_ultralytics(good).class_names == ["cat", "dog"]


@pytest.mark.parametrize("name", ["classes", "class_names"])
def test_labels_must_be_a_list(yolo, tmp_path, name):
    with pytest.raises(
        ValueError, match=rf"{name} must be a list of labels, such as \['cat'\], not 'cat'"
    ):
        YoloDetector("yolov8n.yaml", **{name: "cat"})
    with pytest.raises(ValueError, match=rf"{name} must be a list of labels, .* not \[3\]"):
        YoloDetector("yolov8n.yaml", **{name: [3]})
    yolo.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "detector.json").read_text())
    (tmp_path / "detector.json").write_text(json.dumps({**settings, name: "cat"}))
    with pytest.raises(ValueError, match="must be a list of labels"):
        YoloDetector.from_pretrained(tmp_path)


def test_labels_of_the_transformers_detector_must_be_a_list():
    with pytest.raises(ValueError, match="classes must be a list of labels"):
        TransformersDetector("org/detector", classes="cat")


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (YoloDetector, {"weights": "best.pt", "architecture": None}, "weights"),
        (YoloDetector, {"device": "cuda"}, "device"),
        (TransformersDetector, {"location": {"trust_remote_code": True}}, "trust_remote_code"),
        (TransformersDetector, {"model": "org/x", "location": {"cache_dir": "/"}}, "cache_dir"),
        (TransformersDetector, {"image_processor": "org/x"}, "image_processor"),
    ],
)
def test_a_checkpoint_cannot_name_what_a_caller_may(yolo, tmp_path, kind, settings, named):
    """A `.pt` is unpickled, and `trust_remote_code` executes code of a repository."""
    yolo_file(tmp_path, yolo)
    yolo.save_pretrained(tmp_path)
    (tmp_path / "detector.json").write_text(json.dumps(settings))
    message = rf"detector\.json has a setting that no detector saves: '{named}'"
    with pytest.raises(ValueError, match=message):
        kind.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "layer", ["torch_load", "torch_safe_load", "os", "nn.functional", "nn.init", "TorchVision"]
)
def test_an_architecture_names_layers_only(yolo, tmp_path, layer):
    yolo.save_pretrained(tmp_path)
    file = tmp_path / "detector.yaml"
    architecture = yaml.safe_load(file.read_text())
    architecture["head"].insert(0, [-1, 1, layer, ["best.pt"]])
    file.write_text(yaml.safe_dump(architecture))
    detector = YoloDetector.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"The detector's layer '{layer}' is not one of a YOLO"):
        detector.load()
