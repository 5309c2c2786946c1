"""The image inputs of the encoders: pixels, object features and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gemkr_hf.processing import load_image
from gemkr_hf.training.prepared_images import PreparedImages


@dataclass(frozen=True)
class ImageInputs:
    """Inputs of n images.

    Attributes:
        pixel_values: float32 ``(n, 3, height, width)``.
        object_features: float32 ``(n, objects, d)``, X_R of the paper; zero rows are padding.
        object_boxes: float32 ``(n, objects, 4)``: left, top, right, bottom in [0, 1].
        object_mask: bool ``(n, objects)``; False for padding.
    """

    pixel_values: torch.Tensor
    object_features: torch.Tensor
    object_boxes: torch.Tensor
    object_mask: torch.Tensor

    @classmethod
    def from_prepared(cls, images: PreparedImages, names: Sequence[str]) -> "ImageInputs":
        """Return the inputs of prepared images by their ids."""
        tensors = [images.tensors_of(name) for name in names]
        mask = torch.stack([each["object_mask"] for each in tensors])
        return cls(
            torch.stack([each["pixel_values"] for each in tensors]).float(),
            torch.stack([each["object_features"] for each in tensors]),
            _relative_boxes(
                [images.objects_of(name) for name in names],
                [images.size_of(name) for name in names],
                mask.shape[1],
            ),
            mask,
        )

    def tensors(self, kind: str, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
        """Return the tensors that a query encoder of this kind reads: ``image`` or ``objects``."""
        names = ["object_features", "object_boxes", "object_mask"]
        if kind == "image":
            names = ["pixel_values"]
        return {name: getattr(self, name).to(device) for name in names}


class ImageReader:
    """Detects and encodes the objects of images, as `prepare_images` does for training images.

    Args:
        vision_tower: the frozen CLIP vision tower.
        processor: a ``GeMKRProcessor``.
    """

    def __init__(self, vision_tower: Any, processor: Any) -> None:
        self.vision_tower = vision_tower.eval()
        self.processor = processor

    @torch.no_grad()
    def read(self, images: Sequence[Any]) -> ImageInputs:
        """Return the inputs of images (PIL images, paths, ...)."""
        batch = self.processor(images=list(images), return_objects=True, return_tensors="pt")
        mask = batch["object_mask"].bool()
        features = torch.zeros((*mask.shape, self.vision_tower.config.hidden_size))
        crops = batch["object_pixel_values"][mask]
        if len(crops):
            crops = crops.to(self.vision_tower.device, self.vision_tower.dtype)
            features[mask] = self.vision_tower(crops).pooler_output.float().cpu()
        sizes = [load_image(image).size for image in images]
        boxes = _relative_boxes(batch["objects"], sizes, mask.shape[1])
        return ImageInputs(batch["pixel_values"].float(), features, boxes, mask)


def _relative_boxes(
    objects: Sequence[Sequence[Any]], sizes: Sequence[tuple[int, int]], slots: int
) -> torch.Tensor:
    boxes = torch.zeros((len(objects), slots, 4))
    for row, (of_image, (width, height)) in enumerate(zip(objects, sizes, strict=True)):
        for slot, item in enumerate(of_image[:slots]):
            left, top, right, bottom = item.box
            boxes[row, slot] = torch.tensor(
                [left / width, top / height, right / width, bottom / height]
            )
    return boxes


__all__ = ["ImageInputs", "ImageReader"]
