"""Questions about one object of a scene and one aspect of it; they never name the symbol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemkr_hf.toy.symbols.symbol_scenes import SceneObject

TRAITS = ("color", "place", "size")
NOUNS = ("sign", "symbol", "figure", "mark", "drawing")

REFERENCES: dict[str, tuple[str, ...]] = {
    "color": (
        "the {value} {noun}",
        "the {noun} in {value}",
        "the {noun} that is {value}",
        "the {value} one",
    ),
    "place": (
        "the {noun} at the {value}",
        "the {value} {noun}",
        "the {noun} in the {value} corner",
        "the one at the {value}",
    ),
    "size": (
        "the {value} {noun}",
        "the {noun} drawn {value}",
        "the {value} one",
    ),
    "only": ("this {noun}", "the {noun} in the picture", "the {noun} shown here"),
}

QUESTIONS: dict[str, tuple[str, ...]] = {
    "meaning": (
        "What does {reference} mean?",
        "What does {reference} stand for?",
        "What is the meaning of {reference}?",
        "What does {reference} represent?",
        "What idea does {reference} express?",
        "Tell me what {reference} means.",
    ),
    "origin": (
        "Where does {reference} come from?",
        "What is the origin of {reference}?",
        "What is the history of {reference}?",
        "How did {reference} come about?",
        "How old is {reference}, and who made it?",
        "Tell me where {reference} comes from.",
    ),
    "use": (
        "What is {reference} used for?",
        "Where is {reference} used today?",
        "How do people use {reference}?",
        "Who uses {reference}, and what for?",
        "In which setting would I find {reference} used?",
        "Tell me how {reference} is used.",
    ),
}


@dataclass(frozen=True)
class Question:
    """A question about ``target``; ``by`` is the trait by which it refers to it."""

    text: str
    target: SceneObject
    aspect: str
    by: str


def traits_that_pick(target: SceneObject, objects: Sequence[SceneObject]) -> list[str]:
    """Return the traits (``color``, ``place``, ``size``, ``only``) that identify an object."""
    if len(objects) == 1:
        return [*TRAITS, "only"]
    others = [other for other in objects if other is not target]
    return [
        trait
        for trait in TRAITS
        if all(getattr(other, trait) != getattr(target, trait) for other in others)
    ]


def refer_to(target: SceneObject, by: str, rng: np.random.Generator) -> str:
    """Return a phrase such as "the red sign" or "the figure at the top left"."""
    value = "" if by == "only" else getattr(target, by)
    template = REFERENCES[by][rng.integers(len(REFERENCES[by]))]
    return template.format(value=value, noun=NOUNS[rng.integers(len(NOUNS))])


def ask(
    target: SceneObject, objects: Sequence[SceneObject], aspect: str, rng: np.random.Generator
) -> Question:
    """Ask about an aspect of an object, which is referred to by a random identifying trait.

    There always is one, since no two objects of a scene share a quadrant.
    """
    traits = traits_that_pick(target, objects)
    by = traits[rng.integers(len(traits))]
    template = QUESTIONS[aspect][rng.integers(len(QUESTIONS[aspect]))]
    return Question(template.format(reference=refer_to(target, by, rng)), target, aspect, by)
