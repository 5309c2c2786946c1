"""Check that questions, documents and images match: ``gemkr data check``, before any training."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import datasets
import pandas as pd

from gemkr_hf.data.benchmark import Benchmark
from gemkr_hf.data.corpus import document_id_of
from gemkr_hf.data.corpus_lookup import FoundDocuments, look_up
from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.images import ImageSource, NoImages
from gemkr_hf.utils.deprecation import renamed_arguments, renamed_fields
from gemkr_hf.utils.logging import progress

_CANDIDATES = 50  # questions from which the examples are chosen
_WIDTH = 88  # characters of an example's text
_ROWS = {
    "questions": "questions",
    "with_answers": "with answers",
    "with_documents": "with relevant documents",
    "all_found": "  all of them found",
    "some_found": "  some of them found",
    "none_found": "  none of them found",
    "with_clues": "with clues",
    "with_image": "with an existing image",
}


@renamed_fields(
    {
        "answers": "with_answers",
        "documents": "with_documents",
        "clues": "with_clues",
        "pictures": "with_image",
        "strays": "mismatches",
    }
)
@dataclass
class SplitCheck:
    """Counts of one split.

    Attributes:
        name: Name of the split.
        questions: Number of questions.
        with_answers, with_documents, with_clues: Questions with answers, with relevant documents,
            with clues.
        all_found, some_found, none_found: Questions of which all, some or none of the relevant
            documents exist.
        with_image: Questions whose image exists.
        mismatches: The first few missing documents and images, one sentence each.
    """

    name: str
    questions: int = 0
    with_answers: int = 0
    with_documents: int = 0
    with_clues: int = 0
    all_found: int = 0
    some_found: int = 0
    none_found: int = 0
    with_image: int = 0
    mismatches: list[str] = field(default_factory=list)


@renamed_fields({"pictures": "images", "stop": "error"})
@dataclass
class DataCheck:
    """The result of `check_data`.

    Attributes:
        splits: Counts of each split.
        documents: The documents of the corpus or the knowledge base.
        images: Number of images; None if none are configured.
        examples: A few questions, each with the text of its first relevant document.
        warnings: Problems that do not prevent training, one sentence each.
        error: The problem that prevents training, one sentence; None if there is none.
    """

    splits: list[SplitCheck]
    documents: FoundDocuments
    images: int | None
    examples: list[tuple[dict[str, Any], str]]
    warnings: list[str]
    error: str | None


@renamed_arguments({"decode": "num_decoded", "shown": "num_examples"})
def check_data(
    benchmark: Benchmark, config: DataConfig, num_decoded: int = 0, num_examples: int = 3
) -> DataCheck:
    """Count what matches. Documents are read once; images are looked up, but not opened.

    Args:
        benchmark: The benchmark, from ``load_benchmark``.
        config: Its configuration.
        num_decoded: Number of the questions' images to open, drawn at random.
        num_examples: Number of examples, and of mismatches of each kind.
    """
    relevant = {
        identifier
        for split in benchmark.questions.values()
        for identifiers in split["relevant_ids"]
        for identifier in identifiers
    }
    first_split = next(iter(benchmark.questions.values()))
    candidates = list(first_split.select(range(min(_CANDIDATES, len(first_split)))))
    text_ids = [next(iter(row["relevant_ids"]), "") for row in candidates]
    documents = look_up(benchmark, relevant, set(text_ids), document_id_of(config.format))
    examples = list(zip(candidates, text_ids, strict=True))
    examples.sort(key=lambda example: example[1] not in documents.texts)  # stable
    splits = [
        _check_split(name, split, documents, benchmark.images, num_examples)
        for name, split in benchmark.questions.items()
    ]
    has_images = not isinstance(benchmark.images, NoImages)
    warnings = _warnings(splits, documents, has_images)
    warnings += _damaged_images(benchmark, num_decoded, config.seed)
    return DataCheck(
        splits,
        documents,
        len(benchmark.images) if has_images else None,
        [(row, documents.texts.get(name, "")) for row, name in examples[:num_examples]],
        warnings,
        _error(benchmark, splits, documents, has_images),
    )


def _check_split(
    name: str,
    questions: datasets.Dataset,
    documents: FoundDocuments,
    images: ImageSource,
    num_examples: int,
) -> SplitCheck:
    check = SplitCheck(name, len(questions))
    missing_documents: list[str] = []
    missing_images: list[str] = []
    for row in questions:
        relevant = row["relevant_ids"]
        missing = [identifier for identifier in relevant if identifier not in documents.found]
        check.with_answers += bool(row["answers"])
        check.with_documents += bool(relevant)
        check.with_clues += bool(row["clues"])
        if relevant:
            check.all_found += not missing
            check.some_found += 0 < len(missing) < len(relevant)
            check.none_found += len(missing) == len(relevant)
        place = f"{name}: question '{row['question_id']}'"
        if missing:
            missing_documents.append(
                f"{place} names document '{missing[0]}', which is not in '{documents.name}'"
            )
        if row["image_id"] in images:
            check.with_image += 1
        elif not isinstance(images, NoImages):
            missing_images.append(f"{place}: {images.missing(row['image_id'])}")
    check.mismatches = missing_documents[:num_examples] + missing_images[:num_examples]
    return check


def _warnings(splits: list[SplitCheck], documents: FoundDocuments, has_images: bool) -> list[str]:
    warnings = []
    if not has_images:
        warnings.append("No images are configured: the questions are text-only")
    if documents.empty:
        warnings.append(f"{documents.empty:,} documents have no text and cannot be retrieved")
    for split in splits:
        if split.some_found or split.none_found:
            warnings.append(
                f"{split.name}: none of the relevant documents exist for {split.none_found:,} "
                f"questions, only some for {split.some_found:,}"
            )
        unusable = split.questions - max(split.with_documents, split.with_clues)
        if split.name == "train" and 0 < unusable < split.questions:
            warnings.append(f"train: {unusable:,} questions have neither document nor clue")
        if has_images and split.with_image < split.questions:
            missing = split.questions - split.with_image
            warnings.append(f"{split.name}: the image of {missing:,} questions does not exist")
        warnings += split.mismatches
    return warnings


def _damaged_images(benchmark: Benchmark, number: int, seed: int) -> list[str]:
    """Open some of the questions' images, and return the errors."""
    images = benchmark.images
    ids = {
        image_id
        for split in benchmark.questions.values()
        for image_id in split["image_id"]
        if image_id in images
    }
    drawn = Random(seed).sample(sorted(ids), min(number, len(ids)))
    errors = []
    for image_id in progress(drawn, "Images", unit="image"):
        try:
            images[image_id]
        except (ValueError, OSError) as error:
            errors.append(str(error))
    return errors


def _error(
    benchmark: Benchmark, splits: list[SplitCheck], documents: FoundDocuments, has_images: bool
) -> str | None:
    if documents.number == 0:
        return "There are no documents: set documents (a corpus) or knowledge_base"
    if documents.repeated_id is not None:
        return (
            f"Document ids in '{documents.name}' must be unique: {documents.repeated:,} records "
            f"repeat an id, such as '{documents.repeated_id}'"
        )
    train = next((split for split in splits if split.name == "train"), None)
    if train is None:
        return None
    if not train.with_documents and not train.with_clues:
        return "No training question has a relevant document or a clue"
    if not train.with_clues and not train.all_found and not train.some_found:
        named = next(ids for ids in benchmark.questions["train"]["relevant_ids"] if ids)
        return (
            f"None of the training questions' documents are in '{documents.name}': the questions "
            f"name ids like '{named[0]}', the corpus has ids like '{documents.first_ids[0]}'"
        )
    if has_images and not train.with_image:
        image_id = benchmark.questions["train"]["image_id"][0]
        return (
            f"None of the training questions' images are in '{benchmark.images.name}': the "
            f"questions name ids like '{image_id}', the images have ids like "
            f"'{next(iter(benchmark.images))}'"
        )
    return None


def describe(check: DataCheck) -> str:
    """Format counts, examples and warnings as text."""
    documents = check.documents
    counts = {
        split.name: {label: f"{getattr(split, name):,}" for name, label in _ROWS.items()}
        for split in check.splits
    }
    lines = [
        pd.DataFrame(counts).to_string(),
        "",
        f"documents  {documents.number:,} in '{documents.name}'; {documents.repeated:,} with a "
        f"duplicate id, {documents.empty:,} without text",
        f"images     {'not configured' if check.images is None else f'{check.images:,}'}",
    ]
    for row, text in check.examples:
        answers = ", ".join(row["answers"][:3]) or ", ".join(row["clues"][:1]) or "no answer"
        question = f"{row['question_id']}, image {row['image_id']}: {row['question']}"
        lines += ["", f"{question} -> {answers}"]
        if text:
            text = " ".join(text.split())
            text = text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
            lines.append(f"  {row['relevant_ids'][0]}: {text}")
    if check.warnings:
        lines += ["", *(f"Warning: {warning}" for warning in check.warnings)]
    return "\n".join(lines)


__all__ = ["DataCheck", "SplitCheck", "check_data", "describe"]
