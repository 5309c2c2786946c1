"""The symbols dataset, generated from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from gemkr_hf.toy.symbols.symbol_documents import (
    ASPECTS,
    Symbol,
    documents_fingerprint,
    load_known_symbols,
)
from gemkr_hf.toy.symbols.symbol_questions import TRAITS, Question, ask
from gemkr_hf.toy.symbols.symbol_scenes import PLACES, Scene, draw_scene

SPLITS = ("train", "validation", "test", "unseen")

_TEXT = datasets.Value("string")
FEATURES = datasets.Features(
    {
        "question_id": _TEXT,
        "image_id": _TEXT,
        "image": datasets.Image(),
        **dict.fromkeys(("question", "aspect", "by"), _TEXT),
        **dict.fromkeys(("answers", "relevant_ids"), datasets.List(_TEXT)),
        "caption": _TEXT,
        "objects": datasets.List(
            {
                "box": datasets.List(datasets.Value("int32"), length=4),
                **dict.fromkeys(("symbol", "color", "place", "size"), _TEXT),
                "target": datasets.Value("bool"),
            }
        ),
    }
)


@dataclass(frozen=True)
class SymbolsConfig:
    """Size and seed of the dataset; the scenes of each split have their own seeds.

    Attributes:
        seed: Seed of all images and questions.
        train_scenes, validation_scenes, test_scenes, unseen_scenes: Number of images per split.
        train_questions: Questions per training image.
        questions: Questions per image of the other splits.
    """

    seed: int = 0
    train_scenes: int = 2400
    validation_scenes: int = 100
    test_scenes: int = 200
    unseen_scenes: int = 60
    train_questions: int = 3
    questions: int = 1

    def __post_init__(self) -> None:
        for split in SPLITS:
            if (number := getattr(self, f"{split}_scenes")) < 1:
                raise ValueError(f"{split}_scenes must be at least 1, got {number}")


def _draw_symbols(split: str, rng: np.random.Generator) -> list[Symbol]:
    """Draw 1 to 4 symbols of a scene, each number equally often; the target first if unseen."""
    known = load_known_symbols()
    seen = [symbol for symbol in known if symbol.seen]
    number = int(rng.integers(1, len(PLACES) + 1))
    if split != "unseen":
        return [seen[row] for row in rng.permutation(len(seen))[:number]]
    unseen = [symbol for symbol in known if not symbol.seen]
    target = unseen[rng.integers(len(unseen))]
    others = [symbol for symbol in known if symbol is not target]
    return [target] + [others[row] for row in rng.permutation(len(others))[: number - 1]]


def _questions(split: str, scene: Scene, number: int, rng: np.random.Generator) -> list[Question]:
    """Draw questions about different (object, aspect) pairs; if unseen, about the first object."""
    targets = scene.objects[:1] if split == "unseen" else scene.objects
    pairs = [(target, aspect) for target in targets for aspect in ASPECTS]
    chosen = rng.permutation(len(pairs))[:number]
    return [ask(pairs[row][0], scene.objects, pairs[row][1], rng) for row in chosen]


def caption_of(scene: Scene) -> str:
    """Return a caption of all objects: ``a small red aries at the top left and ...``."""
    return " and ".join(
        f"a {item.size} {item.phrase} at the {item.place}" for item in scene.objects
    )


def _rows(split: str, config: SymbolsConfig, fingerprint: str) -> Iterator[dict[str, Any]]:
    """Generate the rows of a split; the cache notices new documents by their ``fingerprint``."""
    number = config.train_questions if split == "train" else config.questions
    for scene_number in range(getattr(config, f"{split}_scenes")):
        rng = np.random.default_rng([config.seed, SPLITS.index(split), scene_number])
        scene = draw_scene(_draw_symbols(split, rng), rng)
        image_id = f"{split}-{scene_number:05d}"
        # Encoded once for all questions about the image.
        image = BytesIO()
        scene.image.save(image, format="PNG", compress_level=1)
        for row, question in enumerate(_questions(split, scene, number, rng)):
            target = question.target
            yield {
                "question_id": f"{image_id}-{row}",
                "image_id": image_id,
                "image": {"bytes": image.getvalue(), "path": None},
                "question": question.text,
                "aspect": question.aspect,
                "by": question.by,
                "answers": [target.symbol.name],
                "relevant_ids": [target.symbol.document_id(question.aspect)],
                "caption": caption_of(scene),
                "objects": [
                    {
                        "box": list(item.box),
                        "symbol": item.symbol.name,
                        **{trait: getattr(item, trait) for trait in TRAITS},
                        "target": item is target,
                    }
                    for item in scene.objects
                ],
            }


def load_symbols(
    config: SymbolsConfig | None = None, cache_dir: str | Path | None = None
) -> datasets.DatasetDict:
    """Generate the dataset, or load it from the cache.

    Args:
        config: Size and seed; the defaults are those of the benchmark.
        cache_dir: Folder for the splits; the cache of ``datasets`` if None.

    Returns:
        Splits ``train``, ``validation``, ``test`` and ``unseen`` with the columns of `FEATURES`:
        image, question, ids of relevant documents, and the objects with their boxes in pixels.
    """
    arguments = {"config": config or SymbolsConfig(), "fingerprint": documents_fingerprint()}
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_generator(
                _rows,
                features=FEATURES,
                cache_dir=None if cache_dir is None else str(cache_dir),
                gen_kwargs={"split": split, **arguments},
                split=datasets.NamedSplit(split),
            )
            for split in SPLITS
        }
    )
