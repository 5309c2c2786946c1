"""Scene annotations: what is known of benchmark images that were generated from scenes.

They tell error analysis which object a question is about, so that it can name the step that failed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene.

    Attributes:
        box: ``(left, top, right, bottom)`` in pixels.
        symbol: Name of the symbol that it shows.
        color, place, size: Its properties as words.
    """

    box: Box
    symbol: str
    color: str
    place: str
    size: str

    @property
    def description(self) -> str:
        """For example, ``the red anchor at the top left``."""
        return f"the {self.color} {self.symbol} at the {self.place}"


@dataclass(frozen=True)
class Scene:
    """The scene of a question's image, and the object that the question is about.

    Attributes:
        aspect: Aspect of the target that the question asks for, such as ``meaning``.
        reference: How the question refers to the target: ``color``, ``place``, ``size`` or
            ``only``.
        target: The object that the question is about.
        other_objects: The other objects of the scene.
    """

    aspect: str
    reference: str
    target: SceneObject
    other_objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class SceneAnnotations:
    """The scenes of a benchmark split, and what is known of the benchmark's documents.

    Attributes:
        scenes: Question id -> scene.
        documents: Document id -> ``symbol`` (the symbol that it is about), ``aspect`` and ``char``.
        aspects: Aspects that questions may ask for.
        draw_symbol: Draws a ``char`` as a mask (mode L); None if it cannot be drawn.
    """

    scenes: Mapping[str, Scene]
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    aspects: Sequence[str] = ()
    draw_symbol: Callable[[str], Image.Image] | None = None


__all__ = ["Box", "Scene", "SceneAnnotations", "SceneObject"]
