"""Images as the systems that see them take them in: pixels, objects and their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gemkr_hf.processing import load_image
from gemkr_hf.training.prepared_images import PreparedImages


@dataclass(frozen=True)
class SeenImages:
    """A batch of n images.

    Attributes:
        pixel_values: float32 ``(n, 3, height, width)``.
        object_features: float32 ``(n, objects, d)``, X_R of the paper; zero rows where there is
            none.
        object_places: float32 ``(n, objects, 4)``, left, top, right and bottom in [0, 1].
        object_mask: bool ``(n, objects)``.
    """

    pixel_values: torch.Tensor
    object_features: torch.Tensor
    object_places: torch.Tensor
    object_mask: torch.Tensor

    @classmethod
    def of_prepared(cls, images: PreparedImages, names: Sequence[str]) -> "SeenImages":
        """Prepared ones, by their names."""
        tensors = [images.tensors_of(name) for name in names]
        mask = torch.stack([one["object_mask"] for one in tensors])
        return cls(
            torch.stack([one["pixel_values"] for one in tensors]).float(),
            torch.stack([one["object_features"] for one in tensors]),
            _places(
                [images.objects_of(name) for name in names],
                [images.size_of(name) for name in names],
                mask.shape[1],
            ),
            mask,
        )


class ImageReader:
    """Finds and encodes the objects of images, as `prepare_images` does beforehand.

    Args:
        vision_tower: the frozen CLIP.
        processor: a ``GeMKRProcessor``.
    """

    def __init__(self, vision_tower: Any, processor: Any) -> None:
        self.vision_tower = vision_tower.eval()
        self.processor = processor

    @torch.no_grad()
    def read(self, images: Sequence[Any]) -> SeenImages:
        """Look at some images."""
        batch = self.processor(images=list(images), return_objects=True, return_tensors="pt")
        mask = batch["object_mask"].bool()
        width = self.vision_tower.config.hidden_size
        features = torch.zeros((*mask.shape, width))
        crops = batch["object_pixel_values"][mask]
        if len(crops):
            device = self.vision_tower.device
            found = self.vision_tower(crops.to(device, self.vision_tower.dtype)).pooler_output
            features[mask] = found.float().cpu()
        sizes = [load_image(image).size for image in images]
        places = _places(batch["objects"], sizes, mask.shape[1])
        return SeenImages(batch["pixel_values"].float(), features, places, mask)


def _places(
    objects: Sequence[Sequence[Any]], sizes: Sequence[tuple[int, int]], slots: int
) -> torch.Tensor:
    places = torch.zeros((len(objects), slots, 4))
    for row, (found, (width, height)) in enumerate(zip(objects, sizes, strict=True)):
        for slot, one in enumerate(found[:slots]):
            left, top, right, bottom = one.box
            places[row, slot] = torch.tensor(
                [left / width, top / height, right / width, bottom / height]
            )
    return places


__all__ = ["ImageReader", "SeenImages"]
