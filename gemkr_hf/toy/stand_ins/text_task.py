"""The task of the toy world as text: objects described in words, a question, and its answer.

No image is drawn. A scene is a list of objects (symbol, colour, place, size). The language model
reads each object either as words (``top left small red aries``) or, as with images later, through
one slot whose embedding is computed from the embeddings of these words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemkr_hf.toy.symbols.symbol_documents import ASPECTS, Symbol, load_known_symbols
from gemkr_hf.toy.symbols.symbol_questions import ask, refer_to, traits_that_pick
from gemkr_hf.toy.symbols.symbol_scenes import COLORS, PLACES, SIZES, SceneObject

PROMPT_TEMPLATE = (
    "Below is a knowledge completion task.\n"
    "### Question: {question}\n### Image:{image}\n### Response:"
)
OBJECT_TEMPLATE = " {place} {size}<object>"
OBJECT_SEPARATOR = " ;"


@dataclass(frozen=True)
class TextExample:
    """A question about a scene that is described in words; `target` is one of `objects`."""

    objects: tuple[SceneObject, ...]
    question: str
    target: SceneObject
    aspect: str

    @property
    def document_id(self) -> str:
        """Id of the relevant document."""
        return self.target.symbol.document_id(self.aspect)


def draw_text_example(rng: np.random.Generator, number: int | None = None) -> TextExample:
    """Draw a question about a scene; held-out symbols do not occur in it.

    Args:
        rng: Source of randomness.
        number: Number of objects; 1 to 4, drawn, if None.
    """
    seen = [symbol for symbol in load_known_symbols() if symbol.seen]
    objects, target = _draw_objects(rng, seen, number)
    question = ask(target, objects, ASPECTS[rng.integers(len(ASPECTS))], rng)
    return TextExample(objects, question.text, target, question.aspect)


def draw_reference(
    rng: np.random.Generator, number: int | None = None
) -> tuple[tuple[SceneObject, ...], str, SceneObject]:
    """Draw objects of any symbols, a phrase that refers to one of them, and this object."""
    objects, target = _draw_objects(rng, load_known_symbols(), number)
    traits = traits_that_pick(target, objects)
    return objects, refer_to(target, traits[rng.integers(len(traits))], rng), target


def _draw_objects(
    rng: np.random.Generator, symbols: Sequence[Symbol], number: int | None
) -> tuple[tuple[SceneObject, ...], SceneObject]:
    """Draw objects of different symbols at different places, and one of them as the target."""
    number = int(rng.integers(1, 5)) if number is None else number
    rows = rng.choice(len(symbols), size=number, replace=False)
    places = rng.permutation(len(PLACES))[:number]
    colors = list(COLORS)
    objects = tuple(
        SceneObject(
            symbols[row],
            colors[rng.integers(len(colors))],
            PLACES[place],
            SIZES[rng.integers(2)],
            (0, 0, 0, 0),
        )
        for row, place in zip(rows, places, strict=True)
    )
    return objects, objects[rng.integers(number)]
