"""Objects of an image: what a detector finds, and what the processor makes of their boxes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL import Image

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Object:
    """A part of an image.

    Attributes:
        box: tuple of 4 floats ``(x0, y0, x1, y1)`` in pixels of the upright image: left, top,
            right, bottom.
        score: confidence in 0..1; 1 for a box that a person gave.
        label: the detector's name for it, or empty.
    """

    box: Box
    score: float = 1.0
    label: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"box": list(self.box), "score": self.score, "label": self.label}


@runtime_checkable
class Detector(Protocol):
    """Anything that finds objects.

    A detector that also has ``save_pretrained(folder)`` and is one of this package's classes
    travels with the processor's checkpoint; one that has ``fingerprint()``, a text that is another
    one where it would find other objects, can be cached.
    """

    def detect(self, images: list[Image.Image]) -> list[list[Object]]:
        """Find the objects of each image (upright, RGB), most confident first."""
        ...


def is_box(value: Any) -> bool:
    """Tell whether ``value`` is one object: an :class:`Object`, a dict with a box, four numbers."""
    # By attribute, not by class: remote code has another `Object` class than the library.
    if hasattr(value, "box") or (isinstance(value, dict) and "box" in value):
        return True
    if isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != 4:
        return False
    return all(not hasattr(part, "__len__") and not hasattr(part, "box") for part in value) or (
        getattr(value, "ndim", 0) == 1
    )


def as_object(value: Any) -> Object:
    """Make an :class:`Object` of what a user gives as one.

    Raises:
        ValueError: if the box is not four finite numbers with ``x0 < x1`` and ``y0 < y1``.
    """
    if not is_box(value):
        raise ValueError(f"An object is an Object or a box (x0, y0, x1, y1), not {value!r}.")
    if isinstance(value, dict):
        box, score, label = value["box"], value.get("score", 1.0), value.get("label", "")
    elif hasattr(value, "box"):
        box, score, label = value.box, getattr(value, "score", 1.0), getattr(value, "label", "")
    else:
        box, score, label = value, 1.0, ""
    corners = tuple(float(number) for number in box)
    if len(corners) != 4 or not all(map(math.isfinite, corners)):
        raise ValueError(f"A box is four finite numbers (x0, y0, x1, y1), not {corners}.")
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise ValueError(f"The box {corners} is empty: x0 < x1 and y0 < y1 are needed.")
    if max(corners) <= 1 and (corners[2] - corners[0]) * (corners[3] - corners[1]) < 1:
        raise ValueError(f"The box {corners} is within one pixel: boxes are in pixels, not 0..1.")
    if not 0 <= float(score) <= 1:
        raise ValueError(f"The score of an object lies in 0..1, not {score}.")
    return Object(corners, float(score), str(label or ""))


def clip_object(found: Object, size: tuple[int, int]) -> Object | None:
    """Cut the box at the borders of an image of ``size`` (width, height); None if outside."""
    width, height = size
    x0, x1 = (min(max(x, 0.0), float(width)) for x in (found.box[0], found.box[2]))
    y0, y1 = (min(max(y, 0.0), float(height)) for y in (found.box[1], found.box[3]))
    if not (x1 > x0 and y1 > y0):  # also false for NaN
        return None
    return Object((x0, y0, x1, y1), found.score, found.label)


def most_confident(objects: Iterable[Object], limit: int) -> list[Object]:
    """The ``limit`` objects of highest score; equal scores keep their order."""
    return sorted(objects, key=lambda found: -found.score)[:limit]


def choose_objects(
    images: Sequence[Image.Image | None],
    given: Sequence[Sequence[Any] | None],
    limit: int,
    detect: Callable[[list[Image.Image]], list[list[Object]]] | None = None,
) -> list[list[Object]]:
    """The objects of each image, at most ``limit``: those ``given``, or else those found.

    ``detect`` is called once, with all images whose objects are not given (None).

    Raises:
        ValueError: if a given box is none, lies outside its image, or has no image.
    """
    chosen: list[list[Object]] = [[] for _ in images]
    open_rows, open_images = [], []
    for row, (image, boxes) in enumerate(zip(images, given, strict=True)):
        if image is None:
            if boxes is not None and len(boxes) > 0:
                raise ValueError(f"Query {row} has objects but no image.")
            continue
        if boxes is None:
            open_rows.append(row)
            open_images.append(image)
            continue
        for box in map(as_object, boxes):
            clipped = clip_object(box, image.size)
            if clipped is None:
                raise ValueError(
                    f"The box {box.box} of query {row} lies outside its image of "
                    f"{image.width} x {image.height} pixels."
                )
            chosen[row].append(clipped)
        chosen[row] = most_confident(chosen[row], limit)
    if open_rows and detect is not None and limit > 0:
        for row, found in zip(open_rows, detect(open_images), strict=True):
            chosen[row] = found
    return chosen


def crop_object(image: Image.Image, box: Box, margin: float = 0.0) -> Image.Image:
    """Cut a box out of an image.

    ``margin`` widens the box on each side by that share of its width and height. The crop stays
    inside the image and is at least one pixel wide and high.
    """
    width, height = image.size
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    hair = 1e-3  # a detector's rounding errors, which differ with its batch, move no border
    left = min(max(math.floor(x0 - dx + hair), 0), width - 1)
    top = min(max(math.floor(y0 - dy + hair), 0), height - 1)
    right = max(min(math.ceil(x1 + dx - hair), width), left + 1)
    bottom = max(min(math.ceil(y1 + dy - hair), height), top + 1)
    return image.crop((left, top, right, bottom))


def place_of(box: Box, size: tuple[int, int]) -> str:
    """The quadrant of the box's centre, in words: ``top left`` ... ``bottom right``."""
    vertical = "top" if (box[1] + box[3]) / 2 < size[1] / 2 else "bottom"
    horizontal = "left" if (box[0] + box[2]) / 2 < size[0] / 2 else "right"
    return f"{vertical} {horizontal}"


def size_of(box: Box, size: tuple[int, int], large_object: float) -> str:
    """``large`` if the square root of its share of the image reaches ``large_object``."""
    share = (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])
    return "large" if math.sqrt(share) >= large_object else "small"


def select_classes(objects: Sequence[Object], classes: Sequence[str] | None) -> list[Object]:
    """Keep the objects whose label is among ``classes`` (None: all)."""
    return [found for found in objects if classes is None or found.label in classes]


def labels_of(labels: Sequence[str] | None, name: str) -> list[str] | None:
    """A detector's setting of labels as a list.

    Raises:
        ValueError: if it is one text, whose letters would be taken for labels, or holds what is no
            text.
    """
    if labels is None:
        return None
    if isinstance(labels, str):
        raise ValueError(f"{name} is a list of labels, [{labels!r}], not the text {labels!r}.")
    wrong = [label for label in labels if not isinstance(label, str)]
    if wrong:
        raise ValueError(f"{name} is a list of labels, which {wrong[0]!r} is not.")
    return list(labels)


__all__ = [
    "Box",
    "Detector",
    "Object",
    "as_object",
    "choose_objects",
    "clip_object",
    "crop_object",
    "is_box",
    "labels_of",
    "most_confident",
    "place_of",
    "select_classes",
    "size_of",
]
