"""Benchmarks: questions in splits, documents and images."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import datasets

from gemkr_hf.data.corpus import Corpus
from gemkr_hf.data.data_config import BENCHMARK_FORMATS, DataConfig
from gemkr_hf.data.features import QUESTION_FEATURES
from gemkr_hf.data.formats import FILE_FORMATS
from gemkr_hf.data.images import ImageSource, NoImages, open_images
from gemkr_hf.data.scenes import SceneAnnotations
from gemkr_hf.knowledge_base.document_sources import FILE_SUFFIXES
from gemkr_hf.utils.deprecation import renamed_fields
from gemkr_hf.utils.hub_ids import resolve_source


class Documents(Protocol):
    """Records of `DOCUMENT_FEATURES`; each iteration reads them again."""

    def __iter__(self) -> Iterator[dict[str, str]]: ...

    def __len__(self) -> int: ...


ObjectCaptions = Mapping[str, Sequence[tuple[Sequence[float], Sequence[str]]]]
"""Image id -> box ``(left, top, right, bottom)`` of each object, and phrases that describe it."""


@renamed_fields({"pictures": "images"})
@dataclass(frozen=True)
class Benchmark:
    """Data for training and evaluation.

    Attributes:
        name: Name for messages and cards.
        questions: Splits, any of ``train``, ``validation``, ``test`` and further ones, each with
            ``QUESTION_FEATURES``.
        documents: The corpus, read lazily; empty if only a knowledge base is given.
        images: Images by the questions' ``image_id``.
        knowledge_base: Folder (resolved path) or Hub id; None if not given.
        captions: `ObjectCaptions` of the training images; None if unknown. (The captions of whole
            images are a column of the questions.)
        scenes: Returns the scene annotations of a split; None if the images are not generated.
    """

    name: str
    questions: datasets.DatasetDict
    documents: Documents
    images: ImageSource
    knowledge_base: str | None = None
    captions: ObjectCaptions | None = None
    scenes: Callable[[str], SceneAnnotations] | None = None


def load_benchmark(config: DataConfig, base: Path = Path()) -> Benchmark:
    """Load a benchmark: questions are read at once, documents and images lazily.

    Args:
        config: Format and location of the data.
        base: Folder that relative paths are resolved against.

    Raises:
        FileNotFoundError: If a file or folder is missing; all are checked before any is read.
        ValueError: If a file is invalid or incomplete, with its line and field.
    """
    benchmark: Benchmark = BENCHMARK_FORMATS.get(config.format)(config, base)
    return benchmark


def load_files(config: DataConfig, base: Path) -> Benchmark:
    """Load a benchmark from files; the loader of all `FILE_FORMATS`."""
    files = {
        "train": config.train,
        "validation": config.validation if isinstance(config.validation, str) else None,
        "test": config.test,
    }
    paths = {split: base / name for split, name in files.items() if name is not None}
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f"File not found: '{path}'")
    corpus, image_source = (
        name and str(resolve_source(name, setting, base=base, file_suffixes=FILE_SUFFIXES))
        for name, setting in ((config.documents, "data.documents"), (config.images, "data.images"))
    )
    documents: Documents = () if corpus is None else Corpus(corpus, config)
    images = NoImages() if image_source is None else open_images(image_source, config.image_layout)
    questions = {split: read_questions(path, config) for split, path in paths.items()}
    if isinstance(config.validation, int):
        questions["train"], questions["validation"] = draw_validation(
            questions["train"], config.validation, config.seed, images.key_of
        )
    ordered = {split: questions[split] for split in files if split in questions}
    name = f"{config.format} ({', '.join(path.name for path in paths.values())})"
    knowledge_base = knowledge_base_path(config, base)
    return Benchmark(name, datasets.DatasetDict(ordered), documents, images, knowledge_base)


for _name in FILE_FORMATS:
    BENCHMARK_FORMATS.register(_name, load_files)


def read_questions(path: str | Path, config: DataConfig) -> datasets.Dataset:
    """Read the questions of a file.

    Args:
        path: The file.
        config: Its ``format`` selects the reader; its columns apply to tables.

    Returns:
        A dataset with `QUESTION_FEATURES`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is invalid or incomplete, with the number, line and field of the
            record; or if two questions have the same id.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"File not found: '{path}'")
    if config.format not in FILE_FORMATS:
        raise ValueError(f"The format '{config.format}' has no question files")
    rows = list(FILE_FORMATS[config.format](path, config))
    identifier, count = Counter(row["question_id"] for row in rows).most_common(1)[0]
    if count > 1:
        raise ValueError(f"question_id '{identifier}' occurs {count} times in '{path}'")
    return datasets.Dataset.from_list(rows, features=QUESTION_FEATURES)


def knowledge_base_path(config: DataConfig, base: Path) -> str | None:
    """Return the knowledge base's path, or its name if it can only be a Hub id.

    A path may not exist yet if there are documents that it can be built from.
    """
    name = config.knowledge_base
    if name is None:
        return None
    can_be_built = config.documents is not None or config.is_generated
    return str(base / name) if can_be_built or (base / name).exists() else name


def draw_validation(
    questions: datasets.Dataset,
    number: int,
    seed: int,
    key_of: Callable[[str], str] = str,
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Draw validation questions by whole images, so that no image is in both splits.

    The draw depends only on the seed and the images' ids, not on the order of the file. Images with
    more questions than are still needed are skipped, so fewer questions may be drawn.

    Args:
        questions: Questions to draw from.
        number: Number of questions to draw.
        seed: Seed of the draw.
        key_of: Maps all ids of one image to the same key.

    Returns:
        The remaining and the drawn questions, both in the order of the file.

    Raises:
        ValueError: If there are not more than ``number`` questions, or none can be drawn because
            every image has more questions than that.
    """
    if number >= len(questions):
        raise ValueError(
            f"validation is {number}, but there are only {len(questions)} training questions"
        )
    image_ids = list(questions["image_id"])
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, image_id in enumerate(image_ids):
        rows_of[key_of(image_id)].append(row)

    def draw_order(rows: list[int]) -> bytes:
        # Depends on the ids, not on the keys: keys depend on where the images are stored.
        first_id = min(image_ids[row] for row in rows)
        return hashlib.sha256(f"{seed}:{first_id}".encode()).digest()

    drawn: list[int] = []
    for rows in sorted(rows_of.values(), key=draw_order):
        if len(drawn) + len(rows) <= number:
            drawn += rows
    if not drawn:
        raise ValueError(
            f"Cannot draw {number} validation questions without splitting the questions of an "
            "image: increase validation"
        )
    rest = sorted(set(range(len(questions))) - set(drawn))
    return questions.select(rest), questions.select(sorted(drawn))


__all__ = [
    "Benchmark",
    "Documents",
    "ObjectCaptions",
    "draw_validation",
    "knowledge_base_path",
    "load_benchmark",
    "read_questions",
]
