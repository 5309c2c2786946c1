"""Object detectors, as a checkpoint keeps them: safetensors, JSON and YAML, never a pickle."""

import atexit
import copy
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from transformers import AutoImageProcessor, AutoModelForObjectDetection
from transformers.utils import cached_file

from .images_gemkr import Object

CONFIG_NAME = "detector.json"
ARCHITECTURE_NAME = "detector.yaml"
WEIGHTS_NAME = "detector.safetensors"
WEIGHTS_FOLDER = "detector"

_HUB_ARGUMENTS = (
    "cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder",
)  # fmt: skip


# -- files of a checkpoint ---------------------------------------------------------------------


def library_module(name: str) -> Any:
    """Import a module beside this file that the library has and a checkpoint does not."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}":
            raise
        reason = f"A checkpoint's own code does not include {name}"
        remedy = "load it with the library's classes (pip install gemkr-hf)"
        raise ImportError(f"{reason}: {remedy}.") from None


def split_hub_arguments(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into those that locate a file on the Hub, and the rest."""
    location = {key: options[key] for key in _HUB_ARGUMENTS if options.get(key) is not None}
    return location, {key: value for key, value in options.items() if key not in _HUB_ARGUMENTS}


def find_file(folder: str | os.PathLike, name: str, location: dict[str, Any]) -> str | None:
    """Return the path of a checkpoint's file, downloaded if necessary; None if it has none."""
    return cached_file(str(folder), name, **location, _raise_exceptions_for_missing_entries=False)


def write_file(path: Path, content: str | bytes) -> str:
    """Write a file atomically, line breaks unchanged, and return its path."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return str(path)


def _write_settings(folder: Path, settings: dict[str, Any]) -> str:
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    return write_file(folder / CONFIG_NAME, text)


def _read_settings(
    folder: str | Path, location: dict[str, Any], allowed: Collection[str]
) -> dict[str, Any]:
    path = find_file(folder, CONFIG_NAME, location)
    if path is None:
        raise FileNotFoundError(f"File not found: {CONFIG_NAME} in '{folder}'.")
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} is not valid JSON, or a damaged file: {error}.") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold a JSON object, not a {type(settings).__name__}.")
    settings.pop("detector_type", None)
    # What a file names is not trusted as what a caller gives: no `.pt`, which is a pickle, no
    # `trust_remote_code`.
    unknown = {*settings} - {*allowed}
    unknown |= {*(settings.get("location") or ())} - {"revision", "subfolder"}
    if unknown:
        raise ValueError(f"{path} has a setting that no detector saves: {min(unknown)!r}.")
    return settings


# -- detectors ---------------------------------------------------------------------------------


@runtime_checkable
class Detector(Protocol):
    """Anything that detects objects.

    A ``YoloDetector`` or ``TransformersDetector`` is saved with the processor's
    checkpoint. A detector with a method ``fingerprint()`` can be cached: it returns a text that
    changes whenever the detector would detect other objects.
    """

    def detect(self, images: list[Image.Image]) -> list[list[Object]]:
        """Detect the objects of each image (upright, RGB), most confident first."""
        ...


class BatchDetector(ABC):
    """Base class of the detectors: batches, the filter by labels, settings and fingerprint."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Attributes that ``detector.json`` holds."""

    def __init__(
        self,
        confidence: float,
        classes: Sequence[str] | None,
        batch_size: int,
        device: str | torch.device | None,
    ) -> None:
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence must be in 0..1, not {confidence}.")
        self.confidence = float(confidence)
        self.classes = _check_labels(classes, "classes")
        self.batch_size = int(batch_size)
        self.device = torch.device(device or "cpu")
        self._digest: str | None = None
        self._predictor: Any = None  # the loaded model, of YOLO

    @abstractmethod
    def load(self) -> Any:
        """Load the model now instead of at the first ``detect``."""

    @abstractmethod
    def _detect_batch(self, images: list[Image.Image]) -> list[tuple[Any, Any, Any, dict]]:
        """Return boxes, scores and labels of each image, and the names of labels."""

    def detect(self, images: list[Image.Image]) -> list[list[Object]]:
        """Detect the objects of RGB images, most confident first."""
        if images:
            self.load()
        results: list[list[Object]] = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            for boxes, scores, labels, names in self._detect_batch(batch):
                rows = zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
                objects = [
                    Object(tuple(box), score, names.get(label, str(label)))
                    for box, score, label in rows
                ]
                kept = [obj for obj in objects if self.classes is None or obj.label in self.classes]
                results.append(sorted(kept, key=lambda obj: -obj.score))
        return results

    def to(self, device: str | torch.device) -> Any:
        """Run on another device from the next call on."""
        if torch.device(device) != self.device:
            self.device, self._predictor = torch.device(device), None
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = copy.copy(self)  # weights are read only and may be shared
        twin._predictor = None
        return twin

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, without weights."""
        settings = {name: getattr(self, name) for name in self.settings}
        return {"detector_type": type(self).__name__, **settings}

    def _fingerprint(self, weights: Mapping[str, Any], *parts: Any) -> str:
        if self._digest is None:
            self._digest = library_module("object_cache").tensors_digest(weights)
        settings = {key: value for key, value in self.to_dict().items() if key != "batch_size"}
        return json.dumps([settings, *parts, self._digest], sort_keys=True, default=str)


def _check_labels(labels: Sequence[str] | None, name: str) -> list[str] | None:
    """Return labels as a list; a single string is an error, since its letters would be labels."""
    if labels is None:
        return None
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{name} must be a list of labels, such as ['cat'], not {labels!r}.")
    return list(labels)


class YoloDetector(BatchDetector):
    """A YOLO detection model of ultralytics, which is imported at the first ``detect``.

    Args:
        weights: str or Path. A ``.pt`` file, one in a Hub repository (``org/name/best.pt``), or a
            ``.yaml`` architecture (a name that ultralytics knows, or a file) with random weights.
            ultralytics unpickles a ``.pt``: load only those that you trust. For what
            ``save_pretrained`` wrote use ``from_pretrained``, for a model in memory
            ``from_ultralytics``.
        architecture: instead of ``weights``, an architecture as ultralytics reads it.
        state_dict: its weights.
        fused: whether batch norms are fused into the convolutions.
        image_size: side of the square that every image is letterboxed to, in pixels. It does not
            depend on the batch, so neither do the boxes.
        confidence: lowest confidence of an object.
        iou: overlap above which non-maximum suppression drops one.
        classes: labels to keep; None keeps all.
        class_names: labels by class id; None takes the model's own.
        max_detections: maximum number of objects per image.
        batch_size: images in one forward pass.
        device: str or torch.device. None: the CPU.

    Raises:
        FileNotFoundError: if a ``.pt`` file does not exist.
        ValueError: if a setting is out of range.
    """

    settings = (
        "image_size", "confidence", "iou", "classes", "class_names", "max_detections", "batch_size",
    )  # fmt: skip

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
        super().__init__(confidence, classes, batch_size, device)
        if (weights is None) == (architecture is None):
            raise ValueError("A YoloDetector needs either weights or an architecture.")
        if not 0 <= iou <= 1:
            raise ValueError(f"iou must be in 0..1, not {iou}.")
        if weights is not None and Path(weights).suffix == ".pt":
            library_module("yolo_conversion").find_weights(weights)
        self.weights = None if weights is None else str(weights)
        self.architecture = None if architecture is None else json.loads(json.dumps(architecture))
        self.state_dict = None if state_dict is None else dict(state_dict)
        self.fused = fused
        self.image_size = int(image_size)
        self.iou = float(iou)
        self.class_names = _check_labels(class_names, "class_names")
        self.max_detections = int(max_detections)
        self._loaded_settings: tuple[Any, ...] = ()

    @classmethod
    def from_ultralytics(
        cls, model: Any, *, half: bool = False, image_size: int | None = None, **options: Any
    ) -> "YoloDetector":
        """Convert a path to ``best.pt``, a ``YOLO`` or its module; see ``yolo_conversion``."""
        converted = library_module("yolo_conversion").convert(model, half, image_size)
        return cls(**{**converted, **options})

    def build(self) -> torch.nn.Module:
        """Build the ``ultralytics`` module with these weights, in float32 and eval mode."""
        if self.weights is not None:
            module = library_module("yolo_conversion").read_weights(self.weights).model.float()
        else:
            module = self._build_architecture()
        if self.class_names is not None:
            module.names = dict(enumerate(self.class_names))
        return module.eval()

    def _build_architecture(self) -> Any:
        architecture: dict[str, Any] = copy.deepcopy(self.architecture or {})
        if architecture.get("scales") and not architecture.get("scale"):
            # As ultralytics does, but without its warning.
            architecture["scale"] = next(iter(architecture["scales"]))
        # ultralytics evaluates this field of an architecture as Python.
        activation = architecture.get("activation")
        if activation is not None and not re.fullmatch(
            r"(torch\.)?nn\.[A-Za-z0-9]+\([\w=., ]*\)", str(activation)
        ):
            raise ValueError(f"The detector's activation {activation!r} is not a torch.nn class.")
        module: Any = detection_model(architecture)
        if self.state_dict is None:
            return module
        if self.fused:
            module = module.fuse(verbose=False)
        try:
            module.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in self.state_dict.items()}
            )
        except RuntimeError:  # torch lists every name
            raise ValueError(
                "The detector's weights do not match its architecture: "
                f"{WEIGHTS_NAME} and {CONFIG_NAME} come from different detectors."
            ) from None
        return module

    def load(self) -> "YoloDetector":
        """Load the model now instead of at the first ``detect``."""
        settings = (self.image_size, self.confidence, self.iou, self.max_detections)
        if self._predictor is not None and self._loaded_settings == settings:
            return self
        module = self.build()
        detect = importlib.import_module("ultralytics.models.yolo.detect")
        # A fixed square (rect=False). The predictor copies the model and fuses its batch norms.
        quiet = {"verbose": False, "save": False, "show": False, "rect": False, "mode": "predict"}
        sizes = dict(zip(("imgsz", "conf", "iou", "max_det"), settings, strict=True))
        predictor = detect.DetectionPredictor(
            overrides={**quiet, **sizes, "device": str(self.device)}
        )
        threads = torch.get_num_threads()
        predictor.setup_model(module, verbose=False)
        torch.set_num_threads(threads)  # on a CPU it changes them for the whole process
        self._predictor, self._loaded_settings = predictor, settings
        return self

    def _detect_batch(self, images: list[Image.Image]) -> list[tuple[Any, Any, Any, dict]]:
        results = self._predictor(source=images)
        return [(r.boxes.xyxy, r.boxes.conf, r.boxes.cls.int(), r.names) for r in results]

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write ``detector.safetensors``, ``detector.yaml`` (the architecture, as ultralytics
        reads it) and ``detector.json`` (the settings), and return their paths."""
        saved: YoloDetector = self
        if self.weights is not None or self.state_dict is None:
            options = {name: getattr(self, name) for name in self.settings}
            if options["class_names"] is None:
                options.pop("class_names")
            saved = type(self).from_ultralytics(self.build(), **options)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = saved.state_dict or {}
        tensors = {name: value.contiguous().clone() for name, value in state.items()}
        architecture = yaml.safe_dump(saved.architecture, sort_keys=False, default_flow_style=None)
        return [
            write_file(folder / WEIGHTS_NAME, save(tensors, metadata={"format": "pt"})),
            write_file(folder / ARCHITECTURE_NAME, architecture),
            _write_settings(folder, {**saved.to_dict(), "fused": saved.fused}),
        ]

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> "YoloDetector":
        """Load what ``save_pretrained`` wrote, from a folder or a Hub repository.

        Args:
            folder: folder or Hub id.
            **options: of the class, instead of what was saved; or Hub arguments (``revision``...).

        Raises:
            FileNotFoundError, ValueError: if a file is missing or damaged.
        """
        location, options = split_hub_arguments(options)
        config = _read_settings(folder, location, {*cls.settings, "fused", "architecture"})
        weights = find_file(folder, WEIGHTS_NAME, location)
        architecture = find_file(folder, ARCHITECTURE_NAME, location)
        if architecture is not None:
            config["architecture"] = _read_architecture(Path(architecture))
        if weights is None or "architecture" not in config:
            missing = WEIGHTS_NAME if weights is None else ARCHITECTURE_NAME
            raise FileNotFoundError(f"File not found: {missing} in '{folder}'.")
        try:
            state = load_file(weights)
        except SafetensorError as error:
            raise ValueError(
                f"{weights} is truncated or damaged: {error}; save or download the detector again."
            ) from None
        return cls(**{**config, "state_dict": state, **options})

    def fingerprint(self) -> str:
        """Identify settings and weights, for an object cache."""
        state = self.state_dict or {}
        if self.weights is not None and self._digest is None:
            state = self.build().state_dict()
        return self._fingerprint(state, self.architecture, self.fused)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictor": None}  # a predictor holds locks: not picklable

    def __repr__(self) -> str:
        source = self.weights or "weights in memory"
        return f"YoloDetector({source}, image_size={self.image_size}, confidence={self.confidence})"


def _read_architecture(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not the architecture of a detector.")
    return content


class TransformersDetector(BatchDetector):
    """A detector of transformers, which is loaded at the first ``detect``.

    An alternative to ultralytics, whose license is the AGPL.

    Args:
        model: str, Path or module. A Hub id, a folder, or a model in memory (then give its
            ``image_processor`` too), as ``AutoModelForObjectDetection`` loads it. A checkpoint
            keeps a Hub id as it is, and copies other weights into its folder ``detector``.
        image_processor: image processor of the model; by default that of its checkpoint.
        confidence: lowest confidence of an object.
        classes: labels to keep; None keeps all.
        batch_size: images in one forward pass.
        device: str or torch.device. None: the CPU.
        location: keyword arguments of ``from_pretrained``: ``revision``, ``subfolder``,
            ``token``...
    """

    settings = ("confidence", "classes", "batch_size")

    def __init__(
        self,
        model: Any,
        image_processor: Any = None,
        *,
        confidence: float = 0.5,
        classes: Sequence[str] | None = None,
        batch_size: int = 8,
        device: str | torch.device | None = None,
        location: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(confidence, classes, batch_size, device)
        in_memory = isinstance(model, torch.nn.Module)
        if in_memory and image_processor is None:
            raise ValueError("A detection model in memory needs its image_processor.")
        self.source = None if in_memory else str(model)
        if (self.source or "").startswith((".", "/", "~")) and not Path(str(model)).is_dir():
            raise FileNotFoundError(f"Detector not found: '{model}'.")
        self.location = dict(location or {})
        self._model: Any = model.eval() if in_memory else None
        self._image_processor: Any = image_processor

    def load(self) -> "TransformersDetector":
        """Load the model now instead of at the first ``detect``."""
        if self._model is None:
            model = AutoModelForObjectDetection.from_pretrained(str(self.source), **self.location)
            self._model = model.eval()
        if self._image_processor is None:
            self._image_processor = AutoImageProcessor.from_pretrained(self.source, **self.location)
        self._model.to(self.device)
        return self

    @torch.inference_mode()
    def _detect_batch(self, images: list[Image.Image]) -> list[tuple[Any, Any, Any, dict]]:
        inputs = self._image_processor(images=images, return_tensors="pt").to(self.device)
        sizes = torch.tensor([[image.height, image.width] for image in images])
        results = self._image_processor.post_process_object_detection(
            self._model(**inputs), threshold=self.confidence, target_sizes=sizes
        )
        names = self._model.config.id2label
        return [(r["boxes"], r["scores"], r["labels"], names) for r in results]

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write ``detector.json``, and the weights unless they are those of a Hub id."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.to_dict()
        copied = self.location.get("subfolder", "").endswith(WEIGHTS_FOLDER)  # of a checkpoint
        if self.source is not None and not Path(self.source).is_dir() and not copied:
            config["model"] = self.source
            config["location"] = {
                k: v for k, v in self.location.items() if k in ("revision", "subfolder")
            }
        else:
            self.load()
            self._model.save_pretrained(folder / WEIGHTS_FOLDER)
            self._image_processor.save_pretrained(folder / WEIGHTS_FOLDER)
        return [_write_settings(folder, config)]

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> "TransformersDetector":
        """Load what ``save_pretrained`` wrote, from a folder or a Hub repository."""
        location, options = split_hub_arguments(options)
        config = _read_settings(folder, location, {*cls.settings, "model", "location"})
        model = config.pop("model", None)
        if model is None:
            subfolder = "/".join(filter(None, (location.get("subfolder"), WEIGHTS_FOLDER)))
            model, config["location"] = folder, {**location, "subfolder": subfolder}
        return cls(model, **{**config, **options})

    def fingerprint(self) -> str:
        """Identify settings and weights, for an object cache."""
        self.load()
        return self._fingerprint(self._model.state_dict(), self._image_processor.to_dict())

    def __getstate__(self) -> dict[str, Any]:
        if self.source is None:  # the weights are nowhere else
            return dict(self.__dict__)
        return {**self.__dict__, "_model": None, "_image_processor": None}

    def __repr__(self) -> str:
        return f"TransformersDetector({self.source or 'in memory'}, confidence={self.confidence})"


DETECTORS: dict[str, Any] = {kind.__name__: kind for kind in (YoloDetector, TransformersDetector)}
"""Detectors that a checkpoint can hold, by the name in its settings."""


# -- ultralytics -------------------------------------------------------------------------------


def is_ultralytics_available() -> bool:
    """Return whether ultralytics is installed, without importing it."""
    return importlib.util.find_spec("ultralytics") is not None


def import_ultralytics() -> ModuleType:
    """Import ultralytics without side effects: temporary settings, no network, no usage reports.

    Environment variables that are set (``YOLO_CONFIG_DIR``, ``YOLO_OFFLINE``,
    ``YOLO_AUTOINSTALL``, ``YOLO_VERBOSE``) keep their values, and a module that is imported
    already is left as it is.

    Raises:
        ImportError: if ultralytics is not installed.
    """
    if "ultralytics" in sys.modules:
        return sys.modules["ultralytics"]
    if not is_ultralytics_available():
        raise ImportError(
            "The YOLO detector needs ultralytics (AGPL-3.0): pip install 'gemkr-hf[yolo]', or set "
            "processor.detector to a TransformersDetector, or give your own boxes (objects=...)."
        )
    # Offline: no look-ups at import, no downloads, no usage reports.
    for name, value in (("OFFLINE", "true"), ("AUTOINSTALL", "false"), ("VERBOSE", "false")):
        os.environ.setdefault(f"YOLO_{name}", value)
    temporary = "YOLO_CONFIG_DIR" not in os.environ
    if temporary:
        folder, owner = tempfile.mkdtemp(prefix="gemkr-ultralytics-"), os.getpid()
        os.environ["YOLO_CONFIG_DIR"] = folder

        def remove() -> None:
            if os.getpid() == owner:  # not in a forked worker
                shutil.rmtree(folder, ignore_errors=True)

        atexit.register(remove)
    threads, options = os.environ.get("OMP_NUM_THREADS"), np.get_printoptions()
    replaced = Image.open, torch.save
    module = importlib.import_module("ultralytics")
    # It limits all child processes to one thread, changes how arrays are printed, and replaces
    # functions of others: its Image.open installs a package when a file is not an image.
    Image.open, torch.save = replaced
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    np.set_printoptions(**options)
    torch.set_printoptions(profile="default", linewidth=80)
    if temporary:
        reports = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "wandb", "vscode_msg")
        module.settings.update({key: False for key in reports if key in module.settings})
    return module


def detection_model(architecture: dict[str, Any]) -> torch.nn.Module:
    """Build a YOLO with random weights from an architecture (the content of its YAML file).

    Raises:
        ValueError: if it names anything but a layer of ultralytics or of torch.nn.
    """
    import_ultralytics()
    known = importlib.import_module("ultralytics.nn.modules").__all__
    for layer in [*architecture.get("backbone", ()), *architecture.get("head", ())]:
        name = str(layer[2])
        part = getattr(torch.nn, name[3:], None) if name.startswith("nn.") else None
        is_torch = isinstance(part, type) and issubclass(part, torch.nn.Module)
        # ultralytics' TorchVision downloads weights.
        if not is_torch and (name not in known or name == "TorchVision"):
            raise ValueError(f"The detector's layer {name!r} is not one of a YOLO.")
    tasks = importlib.import_module("ultralytics.nn.tasks")
    return tasks.DetectionModel(architecture, verbose=False)


__all__ = [
    "DETECTORS",
    "Detector",
    "TransformersDetector",
    "YoloDetector",
    "import_ultralytics",
    "is_ultralytics_available",
]
