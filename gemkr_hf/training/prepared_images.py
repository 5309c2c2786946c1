"""Images as model inputs, computed once and cached on disk."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gemkr_hf.processing import Object
from gemkr_hf.utils.deprecation import renamed_attributes
from gemkr_hf.utils.io import atomic_file
from gemkr_hf.utils.logging import progress_bar
from gemkr_hf.utils.run_dir import RunDirectory

SHARD = 256
"""Maximum number of images per file."""
TENSORS = ("pixel_values", "object_features", "object_mask")


@dataclass(frozen=True)
class PreparedImage:
    """Model inputs of one image.

    Attributes:
        size: Width and height in pixels.
        objects: Detected objects, most confident first.
        pixel_values: float16 ``(3, height, width)``, input of the vision tower.
        object_features: float32 ``(max_objects, d)``, X_R of the frozen CLIP; zero rows where there
            is no object.
        object_mask: bool ``(max_objects,)``.
    """

    size: tuple[int, int]
    objects: tuple[Object, ...]
    pixel_values: torch.Tensor
    object_features: torch.Tensor
    object_mask: torch.Tensor


class PreparedImages(Mapping[str, PreparedImage]):
    """Prepared images in a folder of memory-mapped safetensors files, written by `prepare_images`.

    A file contains 256 images and is written atomically, so that a stopped preparation resumes.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._records: dict[str, tuple[dict[str, Any], Path, int]] = {}
        self._files: dict[Path, Any] = {}
        for path in sorted(self.folder.glob("images-*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for row, record in enumerate(json.loads(file.metadata()["images"])):
                    self._records[record["id"]] = record, path, row

    def __getitem__(self, name: str) -> PreparedImage:
        return PreparedImage(self.size_of(name), self.objects_of(name), **self.tensors_of(name))

    def tensors_of(self, name: str) -> dict[str, torch.Tensor]:
        """Return ``pixel_values``, ``object_features`` and ``object_mask``."""
        _, path, row = self._records[name]
        if path not in self._files:
            with safe_open(path, framework="pt") as file:
                # Views of the mapped file: only rows that are used are read.
                self._files[path] = {tensor: file.get_tensor(tensor) for tensor in TENSORS}
        return {tensor: values[row] for tensor, values in self._files[path].items()}

    def size_of(self, name: str) -> tuple[int, int]:
        """Return width and height, without reading the tensors."""
        width, height = self._records[name][0]["size"]
        return width, height

    def objects_of(self, name: str) -> tuple[Object, ...]:
        """Return the detected objects, without reading the tensors."""
        return tuple(
            Object(tuple(one["box"]), one["score"], one["label"])
            for one in self._records[name][0]["objects"]
        )

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # open files are not shared between processes


@torch.no_grad()
def prepare_images(
    images: Mapping[str, Any],
    names: Sequence[str],
    model: Any,
    processor: Any,
    folder: str | Path,
    batch_size: int = 64,
) -> PreparedImages:
    """Detect the objects of each image and encode them with the frozen CLIP, once.

    Images that the folder already contains are kept, unless another vision tower, detector or
    processor prepared them: then all are computed again.

    Args:
        images: Image id -> image (anything that the processor reads).
        names: Ids of the images to prepare.
        model: A ``GeMKRForRetrieval``.
        processor: Its ``GeMKRProcessor``.
        folder: Folder of the prepared images.
        batch_size: Images per batch.
    """
    folder = Path(folder)
    directory = RunDirectory(folder, fingerprint(model, processor), "made_by.txt", ("images-*",))
    directory.prepare(overwrite=True)
    kept = PreparedImages(folder)
    missing = [name for name in dict.fromkeys(names) if name not in kept]
    first_number = len(list(folder.glob("images-*.safetensors")))
    model.eval()
    with progress_bar(len(missing), "detect and encode objects", "image") as bar:
        for number, first in enumerate(range(0, len(missing), SHARD), first_number):
            shard = missing[first : first + SHARD]
            batches = []
            for start in range(0, len(shard), batch_size):
                some = shard[start : start + batch_size]
                batches.append(_prepare([images[name] for name in some], model, processor))
                bar.update(len(some))
            tensors = {name: torch.cat([batch[name] for batch in batches]) for name in TENSORS}
            described = [record for batch in batches for record in batch["records"]]
            records = [{"id": name, **one} for name, one in zip(shard, described, strict=True)]
            path = folder / f"images-{number:05d}.safetensors"
            with atomic_file(path) as temporary:
                save_file(tensors, temporary, metadata={"images": json.dumps(records)})
    return PreparedImages(folder)


def _prepare(images: Sequence[Any], model: Any, processor: Any) -> dict[str, Any]:
    batch = processor(images=list(images), return_objects=True, return_tensors="pt")
    features = model.get_object_features(
        batch["object_pixel_values"].to(model.device), batch["object_mask"].to(model.device)
    )
    return {
        "pixel_values": batch["pixel_values"].half().contiguous(),
        "object_features": features.float().cpu().contiguous(),
        "object_mask": batch["object_mask"].contiguous(),
        "records": [
            {"size": list(image.size), "objects": [one.to_dict() for one in objects]}
            for image, objects in zip(images, batch["objects"], strict=True)
        ],
    }


def fingerprint(model: Any, processor: Any) -> str:
    """Return a hash of the vision tower, the detector and the settings of the processor."""
    detector = processor.detector
    if detector is not None:
        detector = getattr(detector, "fingerprint", lambda: repr(detector))()
    settings = {
        "image_processor": processor.image_processor.to_dict(),
        "max_objects": processor.max_objects,
        "object_margin": processor.object_margin,
        "detector": detector,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    if model.vision_tower is not None:
        for name, weight in model.vision_tower.state_dict().items():
            digest.update(f"{name} {float(weight.double().sum())!r}".encode())
    return digest.hexdigest()[:16]


__getattr__ = renamed_attributes(
    __name__,
    {
        "Picture": "PreparedImage",
        "PreparedPictures": "PreparedImages",
        "prepare_pictures": "prepare_images",
    },
)

__all__ = ["PreparedImage", "PreparedImages", "fingerprint", "prepare_images"]
