"""Any object detector of transformers, for those who cannot take ultralytics' licence."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from .cache_gemkr import tensors_digest
from .detection_gemkr import Object, labels_of, select_classes
from .files_gemkr import find_file, read_json, split_location, write_json

CONFIG_NAME = "detector.json"
WEIGHTS_FOLDER = "detector"


class TransformersDetector:
    """A detector loaded with ``AutoModelForObjectDetection`` at the first :meth:`detect`.

    Args:
        model: str, Path or module. A Hub id, a folder, or a model in memory (then give its
            ``image_processor`` too). A Hub id is kept as such in a checkpoint; other weights are
            copied into its ``detector`` folder.
        confidence: lowest confidence of an object.
        classes: sequence of str. Labels to keep; None keeps all.
        location: keyword arguments of ``from_pretrained``: ``revision``, ``subfolder``,
            ``token``...
    """

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
        in_memory = isinstance(model, torch.nn.Module)
        if in_memory and image_processor is None:
            raise ValueError("A detection model in memory needs its image_processor.")
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence lies in 0..1, not {confidence}.")
        self.source = None if in_memory else str(model)
        if (
            self.source is not None
            and self.source.startswith((".", "/", "~"))
            and not Path(self.source).is_dir()
        ):
            raise FileNotFoundError(f"There is no detector in {self.source}.")
        self.location = dict(location or {})
        self.confidence = float(confidence)
        self.classes = labels_of(classes, "classes")
        self.batch_size = int(batch_size)
        self.device = torch.device(device or "cpu")
        self._model: Any = model.eval() if in_memory else None
        self._image_processor: Any = image_processor
        self._digest: str | None = None

    def load(self) -> "TransformersDetector":
        """Load the model now instead of at the first :meth:`detect`."""
        if self._model is None:
            model = AutoModelForObjectDetection.from_pretrained(str(self.source), **self.location)
            self._model = model.eval()
        if self._image_processor is None:
            self._image_processor = AutoImageProcessor.from_pretrained(self.source, **self.location)
        self._model.to(self.device)
        return self

    def to(self, device: str | torch.device) -> "TransformersDetector":
        """Run on another device from the next call on."""
        self.device = torch.device(device)
        return self

    @torch.inference_mode()
    def detect(self, images: list[Image.Image]) -> list[list[Object]]:
        """Find the objects of RGB images, most confident first."""
        if images:
            self.load()
        found: list[list[Object]] = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            inputs = self._image_processor(images=batch, return_tensors="pt").to(self.device)
            sizes = torch.tensor([[image.height, image.width] for image in batch])
            results = self._image_processor.post_process_object_detection(
                self._model(**inputs), threshold=self.confidence, target_sizes=sizes
            )
            found += [self._objects(result) for result in results]
        return found

    def _objects(self, result: dict[str, torch.Tensor]) -> list[Object]:
        names = self._model.config.id2label
        rows = zip(
            result["boxes"].tolist(),
            result["scores"].tolist(),
            result["labels"].tolist(),
            strict=True,
        )
        objects = [
            Object(tuple(box), score, names.get(label, str(label))) for box, score, label in rows
        ]
        return sorted(select_classes(objects, self.classes), key=lambda found: -found.score)

    def to_dict(self) -> dict[str, Any]:
        """The settings, without weights."""
        return {
            "detector_type": type(self).__name__,
            "confidence": self.confidence,
            "classes": self.classes,
            "batch_size": self.batch_size,
        }

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write ``detector.json``, and the weights unless they are named by a Hub id."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.to_dict()
        if self.source is not None and not Path(self.source).is_dir() and not self._in_checkpoint():
            config["model"] = self.source
            config["location"] = {
                k: v for k, v in self.location.items() if k in ("revision", "subfolder")
            }
        else:
            self.load()
            self._model.save_pretrained(folder / WEIGHTS_FOLDER)
            self._image_processor.save_pretrained(folder / WEIGHTS_FOLDER)
        write_json(folder / CONFIG_NAME, config)
        return [str(folder / CONFIG_NAME)]

    def _in_checkpoint(self) -> bool:
        return self.location.get("subfolder", "").endswith(WEIGHTS_FOLDER)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> "TransformersDetector":
        """Load what :meth:`save_pretrained` wrote, from a folder or a Hub repository."""
        where, options = split_location(options)
        config_file = find_file(folder, CONFIG_NAME, where)
        if config_file is None:
            raise FileNotFoundError(f"{folder} holds no {CONFIG_NAME}.")
        config = read_json(Path(config_file))
        config.pop("detector_type", None)
        model = config.pop("model", None)
        if model is None:
            inside = "/".join(part for part in (where.get("subfolder"), WEIGHTS_FOLDER) if part)
            model, config["location"] = folder, {**where, "subfolder": inside}
        return cls(model, **{**config, **options})

    def fingerprint(self) -> str:
        """Tells this detector from others, for :class:`ObjectCache`."""
        self.load()
        settings = {k: v for k, v in self.to_dict().items() if k != "batch_size"}
        pixels = self._image_processor.to_dict()
        if self._digest is None:
            self._digest = tensors_digest(self._model.state_dict())
        return json.dumps([settings, pixels, self._digest], sort_keys=True, default=str)

    def __getstate__(self) -> dict[str, Any]:
        if self.source is None:  # the weights are nowhere else
            return dict(self.__dict__)
        return {**self.__dict__, "_model": None, "_image_processor": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "TransformersDetector":
        return copy.copy(self)  # weights are read only and may be shared

    def __repr__(self) -> str:
        return f"TransformersDetector({self.source or 'in memory'}, confidence={self.confidence})"


__all__ = ["TransformersDetector"]
