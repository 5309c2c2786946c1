"""The task of the toy world as text: objects described in words, a question, and its answer.

No image is drawn. A scene is a list of objects (symbol, colour, place, size). The language model
reads each object either as words (``top left small red aries``) or, as with images later, through
one slot whose embedding is computed from the embeddings of these words.
"""

from dataclasses import dataclass

import numpy as np

from gemkr_hf.toy.symbols.scenes import COLORS, PLACES, SIZES, SceneObject
from gemkr_hf.toy.symbols.symbol_documents import ASPECTS, Symbol, load_known_symbols
from gemkr_hf.toy.symbols.symbol_questions import ask, refer_to, traits_that_pick

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


class TextTask:
    """Draws scenes and questions at random.

    Attributes:
        targets: Symbols that questions may ask about.
        unseen: Symbols that are held out of tuning.
        known: Both.
    """

    def __init__(self) -> None:
        self.known = list(load_known_symbols())
        self.targets = [symbol for symbol in self.known if symbol.seen]
        self.unseen = [symbol for symbol in self.known if not symbol.seen]

    def draw(
        self,
        rng: np.random.Generator,
        number: int | None = None,
        symbols: list[Symbol] | None = None,
    ) -> TextExample:
        """Draw a question about a scene.

        Args:
            rng: Source of randomness.
            number: Number of objects; 1 to 4, drawn, if None.
            symbols: Symbols to draw from; `targets` if None.
        """
        number = int(rng.integers(1, 5)) if number is None else number
        objects = _draw_objects(rng, symbols or self.targets, number)
        target = objects[rng.integers(number)]
        question = ask(target, objects, ASPECTS[rng.integers(len(ASPECTS))], rng)
        return TextExample(objects, question.text, target, question.aspect)

    def draw_reference(
        self, rng: np.random.Generator, number: int | None = None
    ) -> tuple[tuple[SceneObject, ...], str, SceneObject]:
        """Draw objects of any symbols, a phrase that refers to one of them, and this object."""
        number = int(rng.integers(1, 5)) if number is None else number
        objects = _draw_objects(rng, self.known, number)
        target = objects[rng.integers(number)]
        traits = traits_that_pick(target, objects)
        phrase = refer_to(target, traits[rng.integers(len(traits))], rng)
        return objects, phrase, target


def _draw_objects(
    rng: np.random.Generator, symbols: list[Symbol], number: int
) -> tuple[SceneObject, ...]:
    """Draw objects of different symbols at different places, with any colours and sizes."""
    rows = rng.choice(len(symbols), size=number, replace=False)
    places = rng.permutation(len(PLACES))[:number]
    colors = list(COLORS)
    return tuple(
        SceneObject(
            symbols[row],
            colors[rng.integers(len(colors))],
            PLACES[place],
            SIZES[rng.integers(2)],
            (0, 0, 0, 0),
        )
        for row, place in zip(rows, places, strict=True)
    )


__all__ = [
    "OBJECT_SEPARATOR",
    "OBJECT_TEMPLATE",
    "PROMPT_TEMPLATE",
    "TextExample",
    "TextTask",
]
