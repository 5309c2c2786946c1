"""YOLO as an object detector, kept in a checkpoint as safetensors and YAML, never as a pickle."""

import copy
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from .cache_gemkr import tensors_digest
from .detection_gemkr import Object, labels_of, select_classes
from .files_gemkr import (
    find_file,
    read_json,
    replace_file,
    split_location,
    write_json,
    write_text,
)
from .ultralytics_gemkr import detection_model, detection_predictor, import_ultralytics

try:
    import yaml
except ImportError:  # no YOLO without it: ultralytics needs it too
    yaml = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

CONFIG_NAME = "detector.json"
ARCHITECTURE_NAME = "detector.yaml"
WEIGHTS_NAME = "detector.safetensors"

# ultralytics evaluates this field of an architecture as Python
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\([\w=., ]*\)")


class YoloDetector:
    """A YOLO detection model of ultralytics.

    Nothing is imported or loaded before the first :meth:`detect`.

    Args:
        weights: str or Path. A ``.pt`` file, the same in a Hub repository (``org/name/best.pt``),
            or a ``.yaml`` architecture (of ultralytics by name, or a file) with random weights.
            ultralytics unpickles a ``.pt``: take it from those you trust, and keep it as what
            :meth:`save_pretrained` writes. Use :meth:`from_pretrained` for what
            :meth:`save_pretrained` wrote and :meth:`from_ultralytics` for a model in memory.
        image_size: side of the square that every image is letterboxed to. Always the same square,
            so that a image's boxes do not depend on its batch.
        confidence, iou: lowest confidence of an object; overlap from which non-maximum suppression
            drops one.
        classes: sequence of str. Labels to keep; None keeps all.
        class_names: sequence of str. Labels by class id; None takes the model's own.
        batch_size: images in one forward pass.
        device: str or torch.device. None: the CPU.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        architecture: Mapping[str, Any] | None = None,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        fused: bool = False,
        image_size: int = 640,
        confidence: float = 0.25,
        iou: float = 0.7,
        classes: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        max_detections: int = 300,
        batch_size: int = 16,
        device: str | torch.device | None = None,
    ) -> None:
        if (weights is None) == (architecture is None):
            raise ValueError("A YoloDetector needs either weights or an architecture.")
        if not 0 <= confidence <= 1 or not 0 <= iou <= 1:
            raise ValueError(f"confidence and iou lie in 0..1, not {confidence} and {iou}.")
        if weights is not None and Path(weights).suffix == ".pt":
            _find_weights(weights)
        self.weights = None if weights is None else str(weights)
        self.architecture = None if architecture is None else json.loads(json.dumps(architecture))
        self.state_dict = None if state_dict is None else dict(state_dict)
        self.fused = fused
        self.image_size = int(image_size)
        self.confidence = float(confidence)
        self.iou = float(iou)
        self.classes = labels_of(classes, "classes")
        self.class_names = labels_of(class_names, "class_names")
        self.max_detections = int(max_detections)
        self.batch_size = int(batch_size)
        self.device = torch.device(device or "cpu")
        self._predictor: Any = None
        self._digest: str | None = None
        self._loaded: tuple[Any, ...] = ()

    @classmethod
    def from_ultralytics(
        cls, model: Any, *, half: bool = False, image_size: int | None = None, **options: Any
    ) -> "YoloDetector":
        """Make a detector of a trained model: a path to ``best.pt``, a ``YOLO``, or its module.

        ``half`` rounds the convolutions to float16, as :meth:`save_pretrained` will then store
        them. ``image_size`` is that of the training unless given; ``options`` are those of the
        class.
        """
        if isinstance(model, str | Path):
            model = _read_weights(_find_weights(model))
        # A `YOLO` answers for its module's attributes too: look at what each one holds itself.
        module = next(
            (part for part in (getattr(model, "model", None), model) if _is_yolo(part)), None
        )
        if module is None:
            raise ValueError(
                f"A {type(model).__name__} is no YOLO detection model; give a .pt file, a YOLO or "
                "its DetectionModel."
            )
        if image_size is None:
            args = getattr(module, "args", {})
            size = args.get("imgsz") if isinstance(args, dict) else getattr(args, "imgsz", None)
            image_size = max(size) if isinstance(size, list | tuple) else size or 640
        names = getattr(module, "names", {})
        names = [names[i] for i in sorted(names)] if isinstance(names, dict) else list(names)
        state = {name: _rounded(value, half) for name, value in module.state_dict().items()}
        # Where the architecture was read is a path of the machine that trained: of no use elsewhere
        architecture = {key: part for key, part in module.yaml.items() if key != "yaml_file"}
        return cls(
            architecture=architecture,
            state_dict=state,
            fused=bool(module.is_fused()),
            image_size=image_size,
            **{"class_names": names, **options},
        )

    # loading ------------------------------------------------------------------------------------

    def build(self) -> torch.nn.Module:
        """The ``ultralytics`` module with this detector's weights, in float32 and eval mode."""
        if self.weights is not None:
            weights = self.weights
            if weights.endswith(".pt"):
                weights = _find_weights(weights)
            module = _read_weights(weights).model.float()
        else:
            module = self._from_architecture()
        if self.class_names is not None:
            module.names = dict(enumerate(self.class_names))
        return module.eval()

    def _from_architecture(self) -> torch.nn.Module:
        architecture: dict[str, Any] = copy.deepcopy(self.architecture or {})
        scales = architecture.get("scales")
        if scales and not architecture.get("scale"):
            architecture["scale"] = next(iter(scales))  # what ultralytics takes, with a warning
        activation = architecture.get("activation")
        if activation is not None and not _ACTIVATION.fullmatch(str(activation)):
            raise ValueError(f"The detector's activation {activation!r} is no torch.nn class.")
        module: Any = detection_model(architecture)
        if self.state_dict is not None:
            if self.fused:
                module = module.fuse(verbose=False)
            state = {
                name: value.float() if value.is_floating_point() else value
                for name, value in self.state_dict.items()
            }
            try:
                module.load_state_dict(state)
            except RuntimeError:
                raise ValueError(
                    "The detector's weights do not belong to its architecture: "
                    f"{WEIGHTS_NAME} and {CONFIG_NAME} come from different detectors."
                ) from None  # torch lists every name
        return module

    def load(self) -> "YoloDetector":
        """Load the model now instead of at the first :meth:`detect`."""
        settings = (self.image_size, self.confidence, self.iou, self.max_detections)
        if self._predictor is None or self._loaded != settings:
            self._loaded = settings
            self._predictor = detection_predictor(
                self.build(),
                imgsz=self.image_size,
                conf=self.confidence,
                iou=self.iou,
                max_det=self.max_detections,
                device=str(self.device),
            )
        return self

    def to(self, device: str | torch.device) -> "YoloDetector":
        """Run on another device from the next call on."""
        if torch.device(device) != self.device:
            self.device, self._predictor = torch.device(device), None
        return self

    # detection ----------------------------------------------------------------------------------

    def detect(self, images: list[Image.Image]) -> list[list[Object]]:
        """Find the objects of RGB images, most confident first."""
        if not images:
            return []
        self.load()
        found: list[list[Object]] = []
        for start in range(0, len(images), self.batch_size):
            results = self._predictor(source=images[start : start + self.batch_size])
            found += [self._objects(result) for result in results]
        return found

    def _objects(self, result: Any) -> list[Object]:
        boxes = result.boxes
        rows = zip(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.int().tolist(), strict=True)
        objects = [Object(tuple(box), score, result.names[label]) for box, score, label in rows]
        return sorted(select_classes(objects, self.classes), key=lambda found: -found.score)

    # keeping ------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The settings, without weights."""
        return {
            "detector_type": type(self).__name__,
            "image_size": self.image_size,
            "confidence": self.confidence,
            "iou": self.iou,
            "classes": self.classes,
            "class_names": self.class_names,
            "max_detections": self.max_detections,
            "batch_size": self.batch_size,
        }

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write ``detector.safetensors``, ``detector.json`` (the settings) and ``detector.yaml``
        (the architecture, as ultralytics reads it); returns their paths."""
        kept: YoloDetector = self
        if self.weights is not None or self.state_dict is None:
            options = {k: v for k, v in self.to_dict().items() if k != "detector_type"}
            if options["class_names"] is None:
                options.pop("class_names")
            kept = type(self).from_ultralytics(self.build(), **options)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {**kept.to_dict(), "fused": kept.fused}
        state = kept.state_dict or {}
        tensors = {name: value.contiguous().clone() for name, value in state.items()}
        with replace_file(folder / WEIGHTS_NAME) as path:
            path.write_bytes(save(tensors, metadata={"format": "pt"}))
        architecture = yaml.safe_dump(kept.architecture, sort_keys=False, default_flow_style=None)
        write_text(folder / ARCHITECTURE_NAME, architecture)
        write_json(folder / CONFIG_NAME, config)
        return [str(folder / name) for name in (WEIGHTS_NAME, ARCHITECTURE_NAME, CONFIG_NAME)]

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> "YoloDetector":
        """Load what :meth:`save_pretrained` wrote, from a folder or a Hub repository.

        Options of the class override what is kept; ``revision``, ``token``, ``cache_dir``,
        ``subfolder`` and the like say where to look.
        """
        where, options = split_location(options)
        config_file, weights_file = (
            find_file(folder, name, where) for name in (CONFIG_NAME, WEIGHTS_NAME)
        )
        if config_file is None or weights_file is None:
            raise FileNotFoundError(f"{folder} holds no {CONFIG_NAME} with {WEIGHTS_NAME}.")
        config = read_json(Path(config_file))
        config.pop("detector_type", None)
        architecture_file = find_file(folder, ARCHITECTURE_NAME, where)
        if architecture_file is not None:
            config["architecture"] = _read_architecture(Path(architecture_file))
        elif "architecture" not in config:
            raise FileNotFoundError(f"{folder} holds no {ARCHITECTURE_NAME} with {WEIGHTS_NAME}.")
        try:
            state = load_file(weights_file)
        except SafetensorError as error:
            raise ValueError(
                f"{weights_file} is truncated or damaged: {error}; save or download the detector "
                "again."
            ) from None
        return cls(**{**config, "state_dict": state, **options})

    def fingerprint(self) -> str:
        """Tells this detector from others, for :class:`ObjectCache`."""
        settings = {k: v for k, v in self.to_dict().items() if k != "batch_size"}
        if self._digest is None:
            state = self.build().state_dict() if self.weights is not None else self.state_dict
            self._digest = tensors_digest(dict(state or {}))
        return json.dumps([settings, self.architecture, self.fused, self._digest], sort_keys=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictor": None}  # a predictor holds locks and does not pickle

    def __deepcopy__(self, memo: dict[int, Any]) -> "YoloDetector":
        twin = copy.copy(self)  # weights are read only and may be shared
        twin._predictor = None
        return twin

    def __repr__(self) -> str:
        source = self.weights or "kept in the checkpoint"
        return f"YoloDetector({source}, image_size={self.image_size}, confidence={self.confidence})"


def _read_architecture(path: Path) -> dict[str, Any]:
    if yaml is None:
        raise ImportError(f"Reading {path.name} needs PyYAML: pip install pyyaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no architecture of a detector.")
    return content


def _find_weights(weights: str | Path) -> str:
    """The path of a ``.pt`` file, or of one in a Hub repository: ``org/name/best.pt``."""
    if Path(weights).is_file():
        return str(weights)
    parts = str(weights).split("/", 2)
    if len(parts) == 3 and all(parts) and not str(weights).startswith((".", "~")):
        try:
            found = find_file("/".join(parts[:2]), parts[2], {})
        except OSError as error:
            raise FileNotFoundError(
                f"There are no detector weights at {weights}, neither on disk nor on the Hub: "
                f"{str(error).splitlines()[0]}"
            ) from None
        if found is not None:
            return found
    raise FileNotFoundError(f"There are no detector weights at {weights}.")


def _read_weights(weights: str) -> Any:
    """The `YOLO` of a ``.pt`` or ``.yaml`` file."""
    ultralytics = import_ultralytics()
    try:
        return ultralytics.YOLO(weights, task="detect", verbose=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever unpickling and ultralytics raise; there is no one class
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{weights} is no YOLO detection model of ultralytics, or a damaged file: {said}."
        ) from error


def _is_yolo(part: Any) -> bool:
    return isinstance(part, torch.nn.Module) and "yaml" in vars(part)


def _rounded(value: torch.Tensor, half: bool) -> torch.Tensor:
    value = value.detach().to("cpu")
    if not value.is_floating_point():
        return value.clone()
    # Batch norms stay in float32: they are few, and a running variance may underflow.
    return value.to(torch.float16 if half and value.ndim > 1 else torch.float32, copy=True)


__all__ = ["YoloDetector"]
