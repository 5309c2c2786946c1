"""A benchmark: questions in splits, documents, images."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import datasets

from gemkr_hf.data.corpus import Corpus
from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.features import DOCUMENT_FEATURES, QUESTION_FEATURES
from gemkr_hf.data.images import DatasetImages, ImageSource, NoImages, open_images
from gemkr_hf.data.question_files import read_questions
from gemkr_hf.knowledge_base.document_sources import FILE_SUFFIXES
from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.toy.symbols.symbols_dataset import SymbolsConfig, load_symbols
from gemkr_hf.utils.hub_ids import resolve_source


class Documents(Protocol):
    """Records of `DOCUMENT_FEATURES`, read anew by each iteration."""

    def __iter__(self) -> Iterator[dict[str, str]]: ...

    def __len__(self) -> int: ...


Captions = Mapping[str, Sequence[tuple[Sequence[float], Sequence[str]]]]


@dataclass(frozen=True)
class Benchmark:
    """What a model is trained and measured on.

    Attributes:
        name: for messages and cards.
        questions: the splits that there are of ``train``, ``validation`` and ``test`` (and
            ``unseen`` of the small world), each with ``QUESTION_FEATURES``.
        documents: the corpus, read as it is asked for; empty where a knowledge base is named alone.
        images: by the questions' ``image_id``.
        knowledge_base: folder or Hub id, relative paths resolved; None where none is named.
        captions: id of a training image -> boxes ``(left, top, right, bottom)`` of its objects,
            each with phrases that say what it is; None where that is not known.
    """

    name: str
    questions: datasets.DatasetDict
    documents: Documents
    images: ImageSource
    knowledge_base: str | None = None
    captions: Captions | None = None


def load_benchmark(config: DataConfig, base: Path = Path()) -> Benchmark:
    """Read the questions, open corpus and images; documents and images are not read.

    Args:
        config: where they are.
        base: folder that relative paths are taken from.

    Raises:
        FileNotFoundError: a file or folder is missing; all are looked for before one is read.
        ValueError: a file is wrong or incomplete, with its line and field.
    """
    knowledge_base = _knowledge_base_at(config, base)
    if config.format == "symbols":
        return _load_small_world(config, knowledge_base)
    files = {
        "train": config.train,
        "validation": config.validation if isinstance(config.validation, str) else None,
        "test": config.test,
    }
    paths = {split: base / name for split, name in files.items() if name is not None}
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f"There is no file '{path}'")
    corpus = _source(config.documents, base, "documents")
    shown = _source(config.images, base, "images")
    documents: Documents = Corpus(corpus, config) if corpus is not None else ()
    images = open_images(shown, config.image_layout) if shown is not None else NoImages()
    questions = {split: read_questions(path, config) for split, path in paths.items()}
    if isinstance(config.validation, int):
        train, validation = draw_validation(
            questions["train"], config.validation, config.seed, images.key_of
        )
        questions = {**questions, "train": train, "validation": validation}
    ordered = {split: questions[split] for split in files if split in questions}
    name = f"{config.format} ({', '.join(path.name for path in paths.values())})"
    return Benchmark(name, datasets.DatasetDict(ordered), documents, images, knowledge_base)


def _source(name: str | None, base: Path, setting: str) -> str | None:
    """A path from `base` where there is one, else what may be a data set on the Hub."""
    if name is None:
        return None
    return str(resolve_source(name, f"data.{setting}", base=base, file_suffixes=FILE_SUFFIXES))


def _knowledge_base_at(config: DataConfig, base: Path) -> str | None:
    """Its path from `base`, unless it can only be on the Hub: what is not there may be yet."""
    name = config.knowledge_base
    if name is None:
        return None
    to_be_built = config.documents is not None or config.format == "symbols"
    return str(base / name) if to_be_built or (base / name).exists() else name


def draw_validation(
    questions: datasets.Dataset,
    number: int,
    seed: int,
    key_of: Callable[[str], str] = str,
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Draw validation questions by whole images, so that none is asked of in both splits.

    The draw follows from the seed and the images' ids alone, not from the order of the file.
    Images whose questions would exceed the number are passed over; if no set of the others fills
    it, fewer questions are drawn.

    Args:
        questions: to draw from.
        number: of questions to draw.
        seed: of the draw.
        key_of: gives the ids of one image one key.

    Returns:
        The remaining questions and the drawn ones, each in the order of the file.

    Raises:
        ValueError: there are not more questions than are to be drawn, or one image has so many
            questions that none can be drawn.
    """
    if number >= len(questions):
        raise ValueError(
            f"validation is {number} of the training questions, and there are {len(questions)}"
        )
    image_ids = list(questions["image_id"])
    images: defaultdict[str, list[int]] = defaultdict(list)
    for row, image_id in enumerate(image_ids):
        images[key_of(image_id)].append(row)
    drawn: list[int] = []
    # By the ids, not by the keys, which depend on where the images lie.
    for rows in sorted(
        images.values(), key=lambda rows: _place(min(image_ids[row] for row in rows), seed)
    ):
        if len(drawn) + len(rows) <= number:
            drawn += rows
    if not drawn:
        raise ValueError(
            f"No {number} questions can be drawn for validation without dividing the questions of "
            "one image: draw more"
        )
    rest = sorted(set(range(len(questions))) - set(drawn))
    return questions.select(rest), questions.select(sorted(drawn))


def _place(image_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{image_id}".encode()).digest()


def _load_small_world(config: DataConfig, knowledge_base: str | None) -> Benchmark:
    sizes = {} if config.scenes is None else {"train_scenes": config.scenes}
    return symbols_benchmark(load_symbols(SymbolsConfig(seed=config.seed, **sizes)), knowledge_base)


def symbols_benchmark(splits: datasets.DatasetDict, knowledge_base: str | None = None) -> Benchmark:
    """The small world as a benchmark.

    Args:
        splits: of `gemkr_hf.toy.symbols.load_symbols`.
        knowledge_base: folder where it is or will be built.
    """
    images = datasets.concatenate_datasets(
        [split.select_columns(["image_id", "image"]) for split in splits.values()]
    )
    return Benchmark(
        "symbols",
        datasets.DatasetDict({name: _as_questions(split) for name, split in splits.items()}),
        [{name: document[name] for name in DOCUMENT_FEATURES} for document in load_documents()],
        DatasetImages(images, "the small world"),
        knowledge_base,
        {
            name: [(item["box"], (item["color"], item["symbol"])) for item in objects]
            for name, objects in zip(
                splits["train"]["image_id"], splits["train"]["objects"], strict=True
            )
        },
    )


def _as_questions(split: datasets.Dataset) -> datasets.Dataset:
    own = [name for name in split.column_names if name in QUESTION_FEATURES]
    columns = split.select_columns(own).to_dict()
    columns["answer_scores"] = [[1.0] * len(answers) for answers in columns["answers"]]
    for name in ("negative_ids", "clues"):
        columns[name] = [[] for _ in range(len(split))]
    return datasets.Dataset.from_dict(
        {name: columns[name] for name in QUESTION_FEATURES}, features=QUESTION_FEATURES
    )


__all__ = ["Benchmark", "Documents", "draw_validation", "load_benchmark", "symbols_benchmark"]
