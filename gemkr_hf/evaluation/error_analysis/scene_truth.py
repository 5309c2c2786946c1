"""What the symbols benchmark knows of a question: the scene, and what was asked of which object."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemkr_hf.toy.symbols.symbol_documents import load_documents

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class SceneThing:
    """A symbol in a scene.

    Attributes:
        box: ``(left, top, right, bottom)`` in pixels.
        symbol, color, place, size: in words.
    """

    box: Box
    symbol: str
    color: str
    place: str
    size: str

    @property
    def words(self) -> str:
        """``the red anchor at the top left``."""
        return f"the {self.color} {self.symbol} at the {self.place}"


@dataclass(frozen=True)
class SceneTruth:
    """What a question asks for.

    Attributes:
        aspect: ``meaning``, ``origin`` or ``use``.
        by: how the target is referred to: ``color``, ``place``, ``size`` or ``only``.
        target: the object that is asked about.
        others: what else the scene shows.
    """

    aspect: str
    by: str
    target: SceneThing
    others: tuple[SceneThing, ...]


def read_truths(scenes: Iterable[Mapping[str, Any]]) -> dict[str, SceneTruth]:
    """The truth of each question.

    Args:
        scenes: rows of a split of ``load_symbols``; their images are not read.

    Returns:
        Question id -> truth.

    Raises:
        ValueError: a row is none of the symbols benchmark, or does not have one target.
    """
    drop = getattr(scenes, "remove_columns", None)
    if drop is not None and "image" in getattr(scenes, "column_names", ()):
        scenes = drop("image")
    truths = {}
    for row in scenes:
        try:
            name, aspect, by = str(row["question_id"]), str(row["aspect"]), str(row["by"])
            things = [(_thing(item), bool(item["target"])) for item in row["objects"]]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"The scenes are rows of the symbols benchmark, which {error} is missing from"
            ) from None
        targets = [thing for thing, asked in things if asked]
        if len(targets) != 1:
            raise ValueError(
                f"A question asks about one object of its scene: '{name}' has {len(targets)}"
            )
        others = tuple(thing for thing, asked in things if not asked)
        truths[name] = SceneTruth(aspect, by, targets[0], others)
    return truths


def _thing(item: Mapping[str, Any]) -> SceneThing:
    left, top, right, bottom = (float(edge) for edge in item["box"])
    words = (str(item[name]) for name in ("symbol", "color", "place", "size"))
    return SceneThing((left, top, right, bottom), *words)


def with_symbols(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The documents with ``symbol``, ``aspect`` and ``char``, which a knowledge base may lack.

    Args:
        documents: id -> record.
    """
    known = {document["id"]: document for document in load_documents()}
    return {name: {**known.get(name, {}), **record} for name, record in documents.items()}


__all__ = ["SceneThing", "SceneTruth", "read_truths", "with_symbols"]
