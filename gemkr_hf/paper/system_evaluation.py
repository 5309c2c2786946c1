"""An evaluation: a benchmark, the settings, and the folder with everything the systems share."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
import torch

from gemkr_hf.baselines.captioning import (
    CaptionModel,
    PublishedCaptions,
    fit_captions,
    load_captioner,
)
from gemkr_hf.baselines.image_inputs import ImageReader
from gemkr_hf.data import Benchmark, load_benchmark
from gemkr_hf.evaluation.run_files import first_ids
from gemkr_hf.evaluation.run_metrics import check_judged
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.paper.evaluation_config import EvaluationConfig
from gemkr_hf.processing import ObjectCache
from gemkr_hf.training.prepared_images import PreparedImages, prepare_images
from gemkr_hf.training.starting_model import check_model, load_model, load_processor
from gemkr_hf.training.training_checks import has_images, with_images
from gemkr_hf.training.training_run import match_document_ids, open_or_build
from gemkr_hf.utils.config import as_plain, upgrade_settings
from gemkr_hf.utils.hub_ids import resolve_source
from gemkr_hf.utils.io import read_json, write_json
from gemkr_hf.utils.run_dir import RunDirectory

Record = Mapping[str, Any]
"""A question of the benchmark, with ``QUESTION_FEATURES``."""

UPGRADE = partial(upgrade_settings, EvaluationConfig)
"""Converts settings that an earlier version recorded."""

_SHARED_SETTINGS = ("data", "model", "captions", "captioner")
"""Settings of the whole folder; each run and model records its own settings beside these."""
_CONTENTS = (
    "knowledge_base",
    "images",
    "captioner",
    "captions",
    "language_models",
    "models",
    "rows",
    "work",
)


class ImageList(Sequence[Any]):
    """Images in the order of their ids, opened on access."""

    def __init__(self, images: Mapping[str, Any], names: Sequence[str]) -> None:
        self._images, self._names = images, list(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self._images[name] for name in self._names[position]]
        return self._images[self._names[position]]


class Evaluation:
    """A benchmark, the settings of its evaluation, and the folder of its results.

    Everything that several systems read is computed on first access and kept in the folder.

    Args:
        config: the settings.
        base: folder that relative paths of the data start from.
        log: receives each line of output for the user.
        overwrite: replace results of other settings.
        benchmark: instead of the one that ``config.data`` describes.

    Raises:
        ValueError, FileNotFoundError: A setting or file is wrong; raised before any long work.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        base: str | Path = ".",
        log: Callable[[str], None] = print,
        overwrite: bool = False,
        benchmark: Benchmark | None = None,
    ) -> None:
        check_model(config.model)
        for system, names in config.checkpoints.items():
            for name in names.split(","):
                resolve_source(name.strip(), f"Checkpoint for {system}", bare_ids=True, early=True)
        self.config = config
        self.base = Path(base)
        self.log = log
        self.overwrite = overwrite
        self.benchmark = benchmark or load_benchmark(config.data, self.base)
        if config.split not in self.benchmark.questions:
            splits = ", ".join(self.benchmark.questions)
            raise ValueError(f"Unknown split '{config.split}': choose {splits}")
        self.folder = Path(config.output)
        settings = {name: as_plain(config)[name] for name in _SHARED_SETTINGS}
        directory = RunDirectory(self.folder, settings, "evaluation.yaml", _CONTENTS, UPGRADE)
        directory.prepare(overwrite)

    def path(self, *names: str) -> Path:
        """Return a path in the evaluation's folder."""
        return self.folder.joinpath(*names)

    def settings(self, *names: str) -> dict[str, Any]:
        """Return some settings as plain values."""
        plain = json.loads(json.dumps(as_plain(self.config)))
        return {name: plain[name] for name in names}

    # -- models ----------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """The device of the models: a GPU if available."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def processor(self) -> Any:
        """GeMKR's processor; detected objects are cached in the folder."""
        processor = load_processor(self.config.model)
        processor.object_cache = ObjectCache(self.path("objects.sqlite"))
        return processor

    def untuned_model(self, seed: int = 0) -> Any:
        """Return GeMKR before tuning."""
        return load_model(self.config.model, self.processor, seed)

    def trained_model(
        self, name: str, seed: int, settings: Sequence[str], train: Callable[[], Any]
    ) -> Path:
        """Return the folder of a trained model; train it unless an earlier run did.

        Args:
            name: name of the model.
            seed: seed of its training.
            settings: names of the settings that it depends on, besides data and model.
            train: trains it and returns an object with ``save_pretrained``.

        Raises:
            ValueError: The model was trained with other settings, and ``overwrite`` is False.
        """
        folder = self.path("models", f"{name}-seed-{seed}")
        wanted = self.settings("data", "model", *settings)
        directory = RunDirectory(folder, wanted, "training.json", upgrade=UPGRADE)
        if not directory.is_current(self.overwrite):
            train().save_pretrained(folder)
            directory.record()  # marks the model as complete
        return folder

    # -- documents and questions -----------------------------------------------------------------

    @property
    def knowledge_base_folder(self) -> Path:
        """Folder of the knowledge base, built or not; or its Hub id."""
        return Path(self.benchmark.knowledge_base or self.path("knowledge_base"))

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """The documents with the FM-index for GeMKR's tokenizer; built if necessary."""
        return open_or_build(self.benchmark, self.processor.tokenizer, self.knowledge_base_folder)

    @cached_property
    def questions(self) -> datasets.DatasetDict:
        """The splits, with relevant documents named by their first ids in the knowledge base."""
        kb = self.knowledge_base
        questions = match_document_ids(self.benchmark, kb, self.config.data.format).questions
        first = kb.further_ids()
        if not first:
            return questions
        return questions.map(
            lambda record: {"relevant_ids": first_ids(record["relevant_ids"], first)}
        )

    @cached_property
    def test_questions(self) -> list[dict[str, Any]]:
        """The questions of the evaluated split whose image exists.

        Raises:
            ValueError: No image exists.
        """
        questions = self.questions[self.config.split]
        records = list(with_images(questions, self.benchmark))
        if len(records) < len(questions):
            self.log(f"Skipped {len(questions) - len(records):,} questions without an image")
        if not records:
            raise ValueError(f"No image of the split '{self.config.split}' was found")
        relevant = sorted({name for record in records for name in record["relevant_ids"]})
        rows = self.knowledge_base.rows_of(relevant).tolist()
        unknown = {name for name, row in zip(relevant, rows, strict=True) if row < 0}
        affected = sum(not unknown.isdisjoint(record["relevant_ids"]) for record in records)
        if unknown:
            self.log(
                f"{affected:,} of {len(records):,} questions name a relevant document that is not "
                f"in the knowledge base: '{min(unknown)}' is one of {len(unknown):,} (see gemkr "
                "data check)"
            )
        return records

    def check_scorable(self) -> None:
        """Raise ValueError if the hit preset cannot judge one of the test questions."""
        records = with_images(self.benchmark.questions[self.config.split], self.benchmark)
        check_judged({str(record["question_id"]): record for record in records}, self.config.hit)

    def check_training_questions(self) -> None:
        """Raise ValueError if the benchmark has no training questions."""
        if "train" not in self.benchmark.questions:
            raise ValueError(
                "There are no training questions (data.train): give a checkpoint for each system"
            )

    @property
    def training_dataset(self) -> datasets.Dataset:
        """All training questions."""
        self.check_training_questions()
        return self.questions["train"]

    @cached_property
    def training_questions(self) -> list[dict[str, Any]]:
        """The training questions whose image exists."""
        return list(with_images(self.training_dataset, self.benchmark))

    @cached_property
    def relevant_texts(self) -> dict[str, str]:
        """Id -> text of the documents that training questions name."""
        names = {name for record in self.training_questions for name in record["relevant_ids"]}
        documents = self.knowledge_base.documents_of(sorted(names))
        return {name: document["text"] for name, document in documents.items()}

    # -- images and captions ---------------------------------------------------------------------

    @cached_property
    def test_images(self) -> Sequence[Any] | None:
        """The images of `test_questions`, opened on access; None without ``data.images``."""
        if not has_images(self.benchmark):
            return None
        names = [record["image_id"] for record in self.test_questions]
        return ImageList(self.benchmark.images, names)

    @cached_property
    def image_reader(self) -> ImageReader:
        """Detects and encodes the objects of test images."""
        return ImageReader(self.untuned_model().vision_tower.to(self.device), self.processor)

    @cached_property
    def training_images(self) -> PreparedImages:
        """Pixels, objects and object features of the training images."""
        names = list(dict.fromkeys(record["image_id"] for record in self.training_questions))
        model = self.untuned_model().to(self.device)
        folder = self.path("images")
        return prepare_images(self.benchmark.images, names, model, self.processor, folder)

    @cached_property
    def captions(self) -> dict[str, str]:
        """Image id -> caption. Training images have their given caption, if there is one; test
        images have the given or, with ``captions: written``, a written one.

        Raises:
            ValueError: Captions must be written, and there are no images.
        """
        split, questions = self.config.split, self.questions
        captions = _given_captions(questions["train"]) if "train" in questions else {}
        if self.config.captions == "given":
            return captions | _given_captions(questions[split])
        if not has_images(self.benchmark):
            raise ValueError(
                "Captions cannot be written without data.images: set captions to given, or leave "
                "out the systems that read captions"
            )
        records = [*self.test_questions]
        if "train" in questions:
            records += [one for one in self.training_questions if one["image_id"] not in captions]
        names = list(dict.fromkeys(record["image_id"] for record in records))
        checkpoint, writer = self.config.checkpoints.get("captions"), "trained"
        if checkpoint is not None:
            writer = hashlib.sha256(checkpoint.encode()).hexdigest()[:8]
        file = self.path("captions", f"{writer}.json")
        written = read_json(file) if file.exists() else {}
        missing = [name for name in names if name not in written]
        if missing:
            model = self._caption_model()
            model.to(self.device)
            texts = model.write(ImageList(self.benchmark.images, missing))
            written |= dict(zip(missing, texts, strict=True))
            write_json(file, written)
        return captions | written

    def _caption_model(self) -> CaptionModel | PublishedCaptions:
        """Return the one of a checkpoint, or train one on the captions of the training images."""
        if (checkpoint := self.config.checkpoints.get("captions")) is not None:
            return load_captioner(checkpoint)
        folder = self.path("captioner")
        if not folder.exists():
            captions = _given_captions(self.training_questions)
            if not captions:
                raise ValueError(
                    "The training questions have no captions to train a caption model on: give "
                    "them a field 'caption', name a checkpoint for captions, or leave out the "
                    "systems that read captions"
                )
            self.log("Training the caption model")
            vision_tower = self.untuned_model().vision_tower.to(self.device)
            fit_captions(
                vision_tower,
                self.processor.image_processor,
                self.processor.tokenizer,
                self.benchmark.images,
                list(captions.items()),
                self.config.captioner,
                self.path("work", "captioner"),
            ).save_pretrained(folder)
        return load_captioner(folder)

    def captions_for(self, records: Sequence[Record]) -> list[str]:
        """Return the caption of each question's image.

        Raises:
            ValueError: An image has no caption.
        """
        captions, names = self.captions, [record["image_id"] for record in records]
        missing = [name for name in dict.fromkeys(names) if name not in captions]
        if missing:
            raise ValueError(
                f"{len(missing):,} images have no caption, the first is '{missing[0]}': give the "
                "questions a field 'caption', set captions to written, or leave out the systems "
                "that read captions"
            )
        return [captions[name] for name in names]


def _given_captions(records: Iterable[Record]) -> dict[str, str]:
    """Return image id -> caption of the questions that have a caption."""
    return {record["image_id"]: record["caption"] for record in records if record["caption"]}


__all__ = ["Evaluation", "Record"]
