"""Whether questions, documents and images belong together, before any training."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import datasets

from gemkr_hf.data.benchmark import Benchmark
from gemkr_hf.data.corpus import document_id_of
from gemkr_hf.data.corpus_lookup import FoundDocuments, look_up
from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.images import ImageSource, NoImages
from gemkr_hf.utils.logging import progress

_CANDIDATES = 50  # training questions among which those to be shown are looked for


@dataclass
class SplitCheck:
    """Figures of one split.

    Attributes:
        questions: how many there are.
        answers, documents, clues: how many have an answer, name a relevant document, have a clue.
        all_found, some_found, none_found: of how many all of the documents, some, none are there.
        images: how many have an image that is there.
        strays: what does not match, the first few of each kind, in sentences.
    """

    name: str
    questions: int = 0
    answers: int = 0
    documents: int = 0
    clues: int = 0
    all_found: int = 0
    some_found: int = 0
    none_found: int = 0
    images: int = 0
    strays: list[str] = field(default_factory=list)


@dataclass
class DataCheck:
    """What `check_data` found.

    Attributes:
        splits: figures of each split.
        documents: what the corpus or the knowledge base holds.
        images: how many there are; None where none are named.
        examples: a few questions, each with its first relevant document's text.
        warnings: what training goes on with, in sentences.
        stop: what stops training, in one sentence; None where nothing does.
    """

    splits: list[SplitCheck]
    documents: FoundDocuments
    images: int | None
    examples: list[tuple[dict[str, Any], str]]
    warnings: list[str]
    stop: str | None


def check_data(
    benchmark: Benchmark, config: DataConfig, decode: int = 0, shown: int = 3
) -> DataCheck:
    """Count what matches; the documents are read once, and the images are looked up, not opened.

    Args:
        benchmark: of ``load_benchmark``.
        config: of the benchmark.
        decode: so many images of questions, drawn at random, are opened.
        shown: how many examples and strays of each kind are kept.
    """
    wanted = {
        identifier
        for split in benchmark.questions.values()
        for identifiers in split["relevant_ids"]
        for identifier in identifiers
    }
    first = next(iter(benchmark.questions.values()))
    candidates = list(first.select(range(min(_CANDIDATES, len(first)))))
    texts = {row["relevant_ids"][0] for row in candidates if row["relevant_ids"]}
    documents = look_up(benchmark, wanted, texts, document_id_of(config.format))
    splits = [
        _check_split(name, split, documents, benchmark.images, shown)
        for name, split in benchmark.questions.items()
    ]
    named = not isinstance(benchmark.images, NoImages)
    warnings = _warnings(splits, documents, named)
    warnings += _broken(benchmark, decode, config.seed)
    return DataCheck(
        splits,
        documents,
        len(benchmark.images) if named else None,
        [
            (row, documents.texts.get(next(iter(row["relevant_ids"]), ""), ""))
            for row in sorted(candidates, key=lambda row: not _is_matched(row, documents))
        ][:shown],
        warnings,
        _stop(benchmark, splits, documents, named),
    )


def _is_matched(row: dict[str, Any], documents: FoundDocuments) -> bool:
    return bool(row["relevant_ids"]) and row["relevant_ids"][0] in documents.texts


def _check_split(
    name: str,
    questions: datasets.Dataset,
    documents: FoundDocuments,
    images: ImageSource,
    shown: int,
) -> SplitCheck:
    check = SplitCheck(name, len(questions))
    lost: list[str] = []
    without: list[str] = []
    for row in questions:
        relevant = row["relevant_ids"]
        found = sum(identifier in documents.found for identifier in relevant)
        check.answers += bool(row["answers"])
        check.documents += bool(relevant)
        check.clues += bool(row["clues"])
        if relevant:
            check.all_found += found == len(relevant)
            check.some_found += 0 < found < len(relevant)
            check.none_found += found == 0
        if found < len(relevant) and len(lost) < shown:
            stray = next(each for each in relevant if each not in documents.found)
            lost.append(
                f"{name}: question '{row['question_id']}' names document '{stray}', which is not "
                f"in '{documents.name}'"
            )
        if row["image_id"] in images:
            check.images += 1
        elif not isinstance(images, NoImages) and len(without) < shown:
            reason = images.missing(row["image_id"])
            without.append(f"{name}: question '{row['question_id']}': {reason}")
    check.strays = lost + without
    return check


def _warnings(splits: list[SplitCheck], documents: FoundDocuments, named: bool) -> list[str]:
    warnings = []
    if not named:
        warnings.append("No images are named: the questions are asked in words alone")
    if documents.empty:
        warnings.append(f"{documents.empty:,} documents have no text: no clue leads to them")
    for split in splits:
        if split.some_found or split.none_found:
            warnings.append(
                f"{split.name}: of {split.none_found:,} questions no document is there, of "
                f"{split.some_found:,} only some"
            )
        unasked = split.questions - max(split.documents, split.clues)
        if split.name == "train" and 0 < unasked < split.questions:
            warnings.append(f"train: {unasked:,} questions have neither document nor clue")
        if named and split.images < split.questions:
            missing = split.questions - split.images
            warnings.append(f"{split.name}: the image of {missing:,} questions is not there")
        warnings += split.strays
    return warnings


def _broken(benchmark: Benchmark, number: int, seed: int) -> list[str]:
    """What is wrong with images that are opened, drawn from those that questions are about."""
    images = benchmark.images
    ids = sorted(
        {
            image_id
            for split in benchmark.questions.values()
            for image_id in split["image_id"]
            if image_id in images
        }
    )
    drawn = Random(seed).sample(ids, min(number, len(ids)))
    broken = []
    for image_id in progress(drawn, "Images", unit="image"):
        try:
            images[image_id]
        except (ValueError, OSError) as error:
            broken.append(str(error))
    return broken


def _stop(
    benchmark: Benchmark, splits: list[SplitCheck], documents: FoundDocuments, named: bool
) -> str | None:
    if documents.number == 0:
        return "There are no documents: name a corpus (documents) or a knowledge base"
    if documents.repeated_id is not None:
        return (
            f"The id '{documents.repeated_id}' occurs more than once in '{documents.name}', as do "
            f"{documents.repeated:,} in all: a knowledge base needs every id once"
        )
    train = next((split for split in splits if split.name == "train"), None)
    if train is None:
        return None
    if not train.documents and not train.clues:
        return "No training question names a relevant document or has a clue"
    if not train.clues and not train.all_found and not train.some_found:
        asked = next(ids for ids in benchmark.questions["train"]["relevant_ids"] if ids)
        return (
            f"None of the documents that training questions name is in '{documents.name}': they "
            f"name '{asked[0]}', and it has '{documents.first_ids[0]}'"
        )
    if named and not train.images:
        image_id = benchmark.questions["train"]["image_id"][0]
        own = next(iter(benchmark.images))
        return (
            f"No training question has its image in '{benchmark.images.name}': the first names "
            f"'{image_id}', and the first there is '{own}'"
        )
    return None


__all__ = ["DataCheck", "SplitCheck", "check_data"]
