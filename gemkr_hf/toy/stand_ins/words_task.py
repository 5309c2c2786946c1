"""The task told in words: a scene's objects by name, a question, and what answers it.

No image is drawn here. A scene is a list of (symbol, colour, place, size); the language model
reads the objects either as plain words (``top left small red aries``) or, as it will read images
later, through one slot an object whose embedding is made of the words' embeddings.
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
class WordsExample:
    """One question about a scene told in words; ``target`` is among ``objects``."""

    objects: tuple[SceneObject, ...]
    question: str
    target: SceneObject
    aspect: str

    @property
    def document_id(self) -> str:
        """The relevant document."""
        return self.target.symbol.document_id(self.aspect)


class WordsTask:
    """Draws scenes and questions in words; symbols held out of tuning are never asked of."""

    def __init__(self) -> None:
        known = load_known_symbols()
        self.targets = [symbol for symbol in known if symbol.seen]
        self.unseen = [symbol for symbol in known if not symbol.seen]
        self.known = list(known)

    def scene(
        self, rng: np.random.Generator, symbols: list[Symbol], number: int
    ) -> tuple[SceneObject, ...]:
        """``number`` objects of different symbols and places, colours and sizes by chance."""
        rows = rng.choice(len(symbols), size=number, replace=False)
        places = rng.permutation(len(PLACES))[:number]
        names = list(COLORS)
        return tuple(
            SceneObject(
                symbols[row],
                names[rng.integers(len(names))],
                PLACES[place],
                SIZES[rng.integers(2)],
                (0, 0, 0, 0),
            )
            for row, place in zip(rows, places, strict=True)
        )

    def draw(
        self,
        rng: np.random.Generator,
        number: int | None = None,
        symbols: list[Symbol] | None = None,
    ) -> WordsExample:
        """One question about 1 to 4 objects, of the symbols seen in tuning unless given."""
        number = int(rng.integers(1, 5)) if number is None else number
        objects = self.scene(rng, symbols or self.targets, number)
        target = objects[rng.integers(number)]
        question = ask(target, objects, ASPECTS[rng.integers(len(ASPECTS))], rng)
        return WordsExample(objects, question.text, target, question.aspect)

    def reference(
        self, rng: np.random.Generator, number: int | None = None
    ) -> tuple[tuple[SceneObject, ...], str, SceneObject]:
        """Objects of any symbols, a phrase that picks one, and that one: copying, nothing else."""
        number = int(rng.integers(1, 5)) if number is None else number
        objects = self.scene(rng, self.known, number)
        target = objects[rng.integers(number)]
        traits = traits_that_pick(target, objects)
        phrase = refer_to(target, traits[rng.integers(len(traits))], rng)
        return objects, phrase, target
