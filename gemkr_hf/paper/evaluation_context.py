"""What the systems of a comparison share: made once, kept in the folder of the evaluation."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
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
from gemkr_hf.utils.io import atomic_write_text
from gemkr_hf.utils.run_dir import RunDirectory, first_difference

logger = logging.getLogger(__name__)

Say = Callable[[str], None]

_SHARED = ("data", "model", "captions", "captioner")
"""Settings that what is shared follows from; the others are each row's own."""
_MADE = (
    "knowledge_base",
    "images",
    "captioner",
    "captions",
    "language_models",
    "models",
    "rows",
    "work",
)


class Ground:
    """A benchmark, and what all systems need of it.

    Args:
        config: the settings.
        base: where relative paths of the data begin.
        say: takes each line for the reader.
        overwrite: replace what was made with other settings.
        benchmark: in the place of what ``config.data`` names.

    Raises:
        ValueError, FileNotFoundError: before anything long begins.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        base: str | Path = ".",
        say: Say = print,
        overwrite: bool = False,
        benchmark: Benchmark | None = None,
    ) -> None:
        check_model(config.model)
        for system, names in config.checkpoints.items():
            for name in names.split(","):
                resolve_source(name.strip(), f"Checkpoint for {system}", bare_ids=True, early=True)
        self.config = config
        self.overwrite = overwrite
        self.base = Path(base)
        self.say = say
        self.benchmark = benchmark or load_benchmark(config.data, self.base)
        if config.split not in self.benchmark.questions:
            raise ValueError(
                f"There is no split '{config.split}': there are "
                f"{', '.join(self.benchmark.questions)}"
            )
        self.folder = Path(config.output)
        settings = {name: as_plain(config)[name] for name in _SHARED}
        RunDirectory(
            self.folder,
            settings,
            "evaluation.yaml",
            _MADE,
            partial(upgrade_settings, EvaluationConfig),
        ).prepare(overwrite)

    def prepare(self) -> None:
        """Make what every row needs, before rows are made side by side."""
        _ = self.knowledge_base, self.asked

    def path(self, *names: str) -> Path:
        """A place in the evaluation's folder."""
        return self.folder.joinpath(*names)

    @cached_property
    def processor(self) -> Any:
        """GeMKR's; objects of an image are found once."""
        processor = load_processor(self.config.model)
        processor.object_cache = ObjectCache(self.path("objects.sqlite"))
        return processor

    @property
    def device(self) -> torch.device:
        """Where models run: a GPU if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def new_model(self, seed: int = 0) -> Any:
        """GeMKR as its training finds it."""
        return load_model(self.config.model, self.processor, seed)

    def trained(
        self, name: str, seed: int, settings: Sequence[str], train: Callable[[], Any]
    ) -> Path:
        """The folder of a model that these settings train: an earlier one's, or a new one's.

        Args:
            name: of the model.
            seed: of its training.
            settings: names of the settings that it follows from, besides data and model.
            train: gives something with ``save_pretrained``.

        Raises:
            ValueError: a model of other settings is there, and is not to be replaced.
        """
        folder = self.path("models", f"{name}-seed-{seed}")
        stated = folder / "training.json"
        wanted = self.settings_of("data", "model", *settings)
        if stated.exists():
            before = json.loads(stated.read_text(encoding="utf-8"))
            if before == wanted:
                return folder
            if not self.overwrite:
                changed = first_difference(before, wanted)
                raise ValueError(
                    f"'{folder}' holds a model of other settings ({changed}): name another output, "
                    "or replace it with --overwrite"
                )
        train().save_pretrained(folder)
        # What has no such file was not finished.
        atomic_write_text(stated, json.dumps(wanted, indent=1))
        return folder

    @property
    def knowledge_base_folder(self) -> Path:
        """Where the knowledge base is or will be built; a Hub id where it is on the Hub."""
        return Path(self.benchmark.knowledge_base or self.path("knowledge_base"))

    @cached_property
    def knowledge_base(self) -> KnowledgeBase:
        """Documents and FM-index for GeMKR's tokenizer."""
        return open_or_build(self.benchmark, self.processor.tokenizer, self.knowledge_base_folder)

    @cached_property
    def questions(self) -> datasets.DatasetDict:
        """The splits, their relevant documents named as they come back: as the knowledge base names
        them, a document of several ids by its first."""
        kb = self.knowledge_base
        questions = match_document_ids(self.benchmark, kb, self.config.data.format).questions
        first = kb.further_ids()
        if not first:
            return questions
        return questions.map(
            lambda record: {"relevant_ids": first_ids(record["relevant_ids"], first)}
        )

    @property
    def documents(self) -> Any:
        """Records of the corpus, with the ids that the questions name."""
        return self.knowledge_base

    @cached_property
    def asked(self) -> list[dict[str, Any]]:
        """The questions of the split that is measured, whose images there are."""
        questions = self.questions[self.config.split]
        there = with_images(questions, self.benchmark)
        if len(there) < len(questions):
            self.say(f"Left out: {len(questions) - len(there):,} questions without their image")
        if not len(there):
            raise ValueError(f"No image of the split '{self.config.split}' is there")
        records = list(there)
        self._tell_unknown(records)
        return records

    def _tell_unknown(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Relevant documents that are nowhere cannot be found: perhaps an id is misspelt."""
        names = sorted({name for record in records for name in record["relevant_ids"]})
        rows = self.knowledge_base.rows_of(names).tolist()
        unknown = {name for name, row in zip(names, rows, strict=True) if row < 0}
        named = [one["question_id"] for one in records if unknown & {*one["relevant_ids"]}]
        if unknown:
            self.say(
                f"{len(named):,} of {len(records):,} questions name a relevant document that is "
                f"not there: '{min(unknown)}' is one of {len(unknown):,} (see gemkr data check)"
            )

    @cached_property
    def asked_digest(self) -> str:
        """Of questions, images and documents: a file may change and keep its name."""
        kb = self.knowledge_base
        digest = hashlib.sha256(f"{len(kb)} {kb.index.num_tokens}".encode())
        for record in self.asked:
            parts = [str(record[name]) for name in ("question_id", "image_id", "question")]
            digest.update(json.dumps(parts).encode())
        return digest.hexdigest()[:16]

    def check_scorable(self) -> None:
        """Raise ValueError where the hit preset cannot judge a question that will be asked."""
        asked = with_images(self.benchmark.questions[self.config.split], self.benchmark)
        check_judged({str(record["question_id"]): record for record in asked}, self.config.hit)

    @cached_property
    def images(self) -> Sequence[Any] | None:
        """The images of `asked`, opened when they are looked at; None where no data names any."""
        if not has_images(self.benchmark):
            return None
        return _Opened(self.benchmark.images, [record["image_id"] for record in self.asked])

    @property
    def training_questions(self) -> datasets.Dataset:
        """The training questions.

        Raises:
            ValueError: there are none.
        """
        if "train" not in self.benchmark.questions:
            raise ValueError(
                "There are no training questions (data.train): name a checkpoint for each system"
            )
        return self.questions["train"]

    @cached_property
    def taught(self) -> list[dict[str, Any]]:
        """The training questions whose images there are.

        Raises:
            ValueError: there are none.
        """
        return list(with_images(self.training_questions, self.benchmark))

    @cached_property
    def prepared(self) -> PreparedImages:
        """The training images: pixels, objects, features."""
        names = list(dict.fromkeys(record["image_id"] for record in self.taught))
        return prepare_images(
            self.benchmark.images,
            names,
            self.new_model().to(self.device),
            self.processor,
            self.path("images"),
        )

    @cached_property
    def reader(self) -> ImageReader:
        """Finds and encodes the objects of the images that are asked of."""
        return ImageReader(self.new_model().vision_tower.to(self.device), self.processor)

    @cached_property
    def texts(self) -> dict[str, str]:
        """Id -> text of the documents that training questions name."""
        wanted = {name for record in self.taught for name in record["relevant_ids"]}
        found = self.knowledge_base.documents_of(sorted(wanted))
        return {name: document["text"] for name, document in found.items()}

    # -- the images in words ---------------------------------------------------------------------

    @cached_property
    def captions(self) -> dict[str, str]:
        """Image's id -> caption: of training images the given one, if there is one; of those
        that are asked of the given or a written one. A written one may be empty."""
        given = {
            record["image_id"]: record["caption"]
            for split in ("train", self.config.split)
            if split in self.questions and (split == "train" or self.config.captions == "given")
            for record in self.questions[split]
            if record["caption"]
        }
        if self.config.captions == "given":
            return given
        wanted = [record["image_id"] for record in self.asked]
        if "train" in self.questions:
            taught = (record["image_id"] for record in self.taught)
            wanted += [name for name in taught if name not in given]
        return given | self._written(list(dict.fromkeys(wanted)))

    def _written(self, names: Sequence[str]) -> dict[str, str]:
        if not has_images(self.benchmark):
            raise ValueError(
                "No captions can be written where data.images names none: set captions to given, "
                "or leave out the systems that read captions"
            )
        # Of each caption model its own; that of one trained here follows from the settings.
        named = self.config.checkpoints.get("captions")
        by = "trained" if named is None else hashlib.sha256(named.encode()).hexdigest()[:8]
        path = self.path("captions", f"{by}.json")
        path.parent.mkdir(exist_ok=True)
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        missing = [name for name in names if name not in kept]
        if missing:
            model = self._caption_model()
            model.to(self.device)
            written = model.write(_Opened(self.benchmark.images, missing))
            kept |= dict(zip(missing, written, strict=True))
            atomic_write_text(path, json.dumps(kept, indent=1, ensure_ascii=False))
        return kept

    def _caption_model(self) -> CaptionModel | PublishedCaptions:
        named = self.config.checkpoints.get("captions")
        if named is not None:
            return load_captioner(named)
        target = self.path("captioner")
        if not target.exists():
            captions = {
                record["image_id"]: record["caption"] for record in self.taught if record["caption"]
            }
            if not captions:
                raise ValueError(
                    "The training questions have no captions to learn from: give them a field "
                    "'caption', name a checkpoint for captions, or leave out the systems that read "
                    "captions"
                )
            self.say("Training the caption model")
            fit_captions(
                self.new_model().vision_tower.to(self.device),
                self.processor.image_processor,
                self.processor.tokenizer,
                self.benchmark.images,
                list(captions.items()),
                self.config.captioner,
                self.path("work", "captioner"),
            ).save_pretrained(target)
        return load_captioner(target)

    def captions_of(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """The captions of these questions' images.

        Raises:
            ValueError: an image has none.
        """
        there = self.captions
        missing = list(
            dict.fromkeys(one["image_id"] for one in records if one["image_id"] not in there)
        )
        if missing:
            raise ValueError(
                f"{len(missing):,} images have no caption, '{missing[0]}' is the first: give the "
                "questions a field 'caption', set captions to written, or leave out the systems "
                "that read captions"
            )
        return [there[record["image_id"]] for record in records]

    def settings_of(self, *names: str) -> dict[str, Any]:
        """Plain values of some settings."""
        return {name: _plain(getattr(self.config, name)) for name in names}


def _plain(value: Any) -> Any:
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
    return json.loads(json.dumps(plain))


class _Opened(Sequence[Any]):
    """Images in an order, opened when they are looked at."""

    def __init__(self, images: Mapping[str, Any], names: Sequence[str]) -> None:
        self._images, self._names = images, list(names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self._images[name] for name in self._names[place]]
        return self._images[self._names[place]]


__all__ = ["Ground"]
