"""A training run, from a configuration to a saved model; a stopped run resumes."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState

from gemkr_hf.data import Benchmark
from gemkr_hf.data.benchmark import ObjectCaptions
from gemkr_hf.data.corpus import document_id_of
from gemkr_hf.hub.checkpoint_saving import save_adapter, save_model
from gemkr_hf.hub.model_card import model_card
from gemkr_hf.knowledge_base import KnowledgeBase, tokenizer_fingerprint
from gemkr_hf.knowledge_base.storage import HEADER_FILE
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.training.alignment import fit_alignment
from gemkr_hf.training.arguments import TrainConfig
from gemkr_hf.training.instruction_dataset import InstructionDataset, write_instructions
from gemkr_hf.training.preferences import collect_preferences, tune_preferences
from gemkr_hf.training.prepared_images import PreparedImages, prepare_images
from gemkr_hf.training.retrieval_validation import RetrievalValidation
from gemkr_hf.training.starting_model import checkpoint_source, load_model, load_processor
from gemkr_hf.training.trainer import TuningResult, last_complete_checkpoint, tune
from gemkr_hf.training.training_checks import check_training, has_images, with_images
from gemkr_hf.training.training_summary import write_summary
from gemkr_hf.utils.config import as_plain, upgrade_settings
from gemkr_hf.utils.deprecation import renamed_arguments
from gemkr_hf.utils.io import write_json
from gemkr_hf.utils.run_dir import RunDirectory, save_dataset

_CONTENTS = (
    "instructions", "checkpoints", "preferences", "model", "adapter", "base", "metrics.json",
)  # fmt: skip
"""What ``--overwrite`` removes. ``images`` records its own settings, and a knowledge base stays."""


@renamed_arguments({"say": "log", "pictures": "images"})
def run_training(
    config: TrainConfig,
    base: str | Path = ".",
    log: Callable[[str], Any] = print,
    overwrite: bool = False,
    benchmark: Benchmark | None = None,
    images: Path | None = None,
) -> dict[str, Any]:
    """Train a model, or resume a stopped run in ``config.output``.

    Args:
        config: The settings.
        base: Folder that relative paths of the data are resolved against.
        log: Receives each line of the run's log, in the main process.
        overwrite: Replace a run with other settings.
        benchmark: Used instead of the one that ``config.data`` names.
        images: Folder of prepared images that several runs share; the run's own if None.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ValueError, FileNotFoundError: Before a model is loaded: invalid settings, missing files, or
            an output folder of other settings.
    """
    run = TrainingRun(config, log, images)
    return run(check_training(config, Path(base), benchmark), overwrite)


class TrainingRun:
    """The stages of one training run; each leaves its result in the output folder.

    Args:
        config: The settings.
        log: See `run_training`.
        images: See `run_training`.
    """

    def __init__(
        self, config: TrainConfig, log: Callable[[str], Any], images: Path | None = None
    ) -> None:
        self.config = config
        self.state = PartialState(cpu=not torch.cuda.is_available())
        self.log = log if self.state.is_main_process else lambda line: None
        self.folder = Path(config.output)
        self.images_folder = images or self.folder / "images"

    def __call__(self, benchmark: Benchmark, overwrite: bool = False) -> dict[str, Any]:
        """Run all stages; see `run_training`."""
        config = self.config
        started = time.time()
        self._prepare_folder(overwrite)
        metrics_file = self.folder / "metrics.json"
        if metrics_file.exists() and (self.folder / "model").exists():
            self.log(f"This run is finished: {self.folder / 'model'}")
            return json.loads(metrics_file.read_text(encoding="utf-8"))

        self.processor = load_processor(config.model)
        self.knowledge_base = self._open_knowledge_base(benchmark)
        self.benchmark = match_document_ids(benchmark, self.knowledge_base, config.data.format)
        self.questions = self._questions_with_images()
        self.instructions = self._sample_instructions()
        model = self._load_model()
        self.prepared = self._prepare_images(model)
        if config.tuning.fit_objects and self.prepared is not None:
            captions = object_captions(self.benchmark, self.prepared)
            fitted = fit_alignment(model, self.processor.tokenizer, self.prepared, captions)
            self.log(f"Projections fitted to the captions of {fitted:,} objects")
        validation = self._retrieval_validation()
        tuned = self._tune(model, validation)
        metrics: dict[str, Any] = {
            "instructions": len(self.instructions["train"]),
            "questions": len(self.benchmark.questions["train"]),
            "documents": len(self.knowledge_base),
            "trainable_parameters": tuned.trainable_parameters,
            "parameters": tuned.parameters,
            "best_step": tuned.best_step,
            "history": tuned.history,
            "validation": None if validation is None else validation.evaluate(tuned.model),
        }
        model = tuned.model
        if config.preferences is not None:
            model = self._tune_preferences(model, metrics)
            if validation is not None:
                metrics["validation_after_preferences"] = validation.evaluate(model)
        if self.state.is_main_process:
            metrics["seconds"] = round(time.time() - started, 1)
            self._save(model, metrics)
        self.state.wait_for_everyone()
        return json.loads(metrics_file.read_text(encoding="utf-8"))

    # -- before the model is loaded ----------------------------------------------------------------

    def _prepare_folder(self, overwrite: bool) -> None:
        settings = as_plain(self.config)
        del settings["output"]  # a folder may be moved
        upgrade = partial(upgrade_settings, TrainConfig)
        directory = RunDirectory(self.folder, settings, "train.yaml", _CONTENTS, upgrade)
        with self.state.main_process_first():
            if self.state.is_main_process:
                directory.prepare(overwrite)

    def _open_knowledge_base(self, benchmark: Benchmark) -> KnowledgeBase:
        folder = Path(benchmark.knowledge_base or self.folder / "knowledge_base")
        with self.state.main_process_first():
            knowledge_base = open_or_build(benchmark, self.processor.tokenizer, folder)
        knowledge_base.check_tokenizer(self.processor.tokenizer)
        tokens = knowledge_base.index.num_tokens
        self.log(f"{len(knowledge_base):,} documents, {tokens:,} tokens")
        return knowledge_base

    def _questions_with_images(self) -> dict[str, datasets.Dataset]:
        """Questions of the training and validation splits whose image exists."""
        usable = {}
        for split in ("train", "validation"):
            if split in self.benchmark.questions:
                questions = self.benchmark.questions[split]
                usable[split] = with_images(questions, self.benchmark)
                if missing := len(questions) - len(usable[split]):
                    self.log(f"Left out: {missing:,} questions of {split} whose image is missing")
        return usable

    def _sample_instructions(self) -> dict[str, datasets.Dataset]:
        """Sample clues for the questions of each split."""
        instructions = {}
        for split, questions in self.questions.items():
            folder = self.folder / "instructions" / split
            with self.state.main_process_first():
                if not folder.exists():
                    sampled = write_instructions(
                        questions,
                        self.knowledge_base,
                        self.processor.tokenizer,
                        self.config.sampling,
                        self.config.tuning.seed,
                        self.config.captions,
                    )
                    save_dataset(sampled, folder)
                instructions[split] = datasets.load_from_disk(folder)
        train = instructions["train"]
        ambiguous = len(train) - sum(train["distinctive"])
        self.log(
            f"{len(train):,} instructions of {len(self.benchmark.questions['train']):,} questions"
            + (f", {ambiguous:,} of them with a clue of several documents" if ambiguous else "")
            + "".join(f"; {len(part):,} for validation" for part in [*instructions.values()][1:])
        )
        return instructions

    # -- training ----------------------------------------------------------------------------------

    def _load_model(self) -> Any:
        model = load_model(self.config.model, self.processor, self.config.tuning.seed)
        model.config.decoding["aggregate"] = self.config.aggregate
        model.config.tokenizer_fingerprint = tokenizer_fingerprint(self.processor.tokenizer)
        return model.to(self.state.device)

    def _prepare_images(self, model: Any) -> PreparedImages | None:
        """Detect and encode objects once; None for a text-only model."""
        if not has_images(self.benchmark) or model.vision_tower is None:
            return None
        names = [name for part in self.instructions.values() for name in part["image_id"]]
        with self.state.main_process_first():
            return prepare_images(
                self.benchmark.images, names, model, self.processor, self.images_folder
            )

    def _retrieval_validation(self) -> RetrievalValidation | None:
        if "validation" not in self.questions or self.config.validation.questions == 0:
            return None
        return RetrievalValidation(
            self.questions["validation"],
            self.benchmark.images if self.prepared is not None else None,
            self.knowledge_base,
            self.processor,
            self.config.validation,
            self.prepared,
            self.config.captions,
            self.state.process_index,
            self.state.num_processes,
        )

    def _tune(self, model: Any, retrieval: RetrievalValidation | None) -> TuningResult:
        config, folder = self.config, self.folder / "checkpoints"
        with self.state.main_process_first():
            checkpoint = last_complete_checkpoint(folder)
        if checkpoint:
            self.log(f"Resuming from {Path(checkpoint).name}")
        sets = {
            split: InstructionDataset(part, self.prepared, self.processor)
            for split, part in self.instructions.items()
        }
        return tune(
            model,
            self.processor,
            sets["train"],
            folder,
            config.tuning,
            validation=config.validation if "validation" in sets else None,
            validation_set=sets.get("validation"),
            retrieval=retrieval,
            load_untuned=lambda: load_model(config.model, self.processor, config.tuning.seed),
        )

    def _tune_preferences(self, model: Any, metrics: dict[str, Any]) -> Any:
        """Collect feedback on training questions, and tune the model with it."""
        config, folder = self.config, self.folder / "preferences"
        assert config.preferences is not None
        with self.state.main_process_first():
            if not (folder / "pairs").exists():
                pairs = collect_preferences(
                    GeMKRRetriever(model, self.processor, self.knowledge_base),
                    list(self.questions["train"]),
                    self.benchmark.images if self.prepared is not None else None,
                    self.instructions["train"],
                    config.preferences,
                    self.prepared,
                    config.tuning.seed,
                )
                save_dataset(pairs, folder / "pairs")
            pairs = datasets.load_from_disk(folder / "pairs")
        self.log(f"{len(pairs):,} preferences, {sum(pairs['hard']):,} of them hard negatives")
        model, history = tune_preferences(
            model,
            self.processor,
            pairs,
            self.prepared,
            folder / "checkpoints",
            config.tuning,
            config.preferences,
        )
        metrics |= {"preferences": len(pairs), "preferences_history": history}
        return model

    # -- saving ------------------------------------------------------------------------------------

    def _save(self, model: Any, metrics: dict[str, Any]) -> None:
        """Save adapter, model, cards and metrics."""

        def describe(folder: Path, base: str | None = None) -> None:
            write_summary(folder, self.config, metrics, model.config)
            card = model_card(folder, self.folder.name, adapter_base=base, ask_the_hub=False)
            (folder / "README.md").write_text(str(card), encoding="utf-8")

        if self.config.tuning.lora_r:
            stages = ("checkpoints", "preferences/checkpoints")
            folders = [self.folder / stage / "adapter" for stage in stages]
            base = self._save_base(model)
            save_adapter(
                [folder for folder in folders if folder.is_dir()],
                self.processor,
                self.folder / "adapter",
                base,
                write_more=lambda folder: describe(folder, base or "its base"),
            )
        save_model(model, self.processor, self.folder / "model", describe)
        write_json(self.folder / "metrics.json", metrics)  # last: it marks the run as finished
        for name in ("validation", "validation_after_preferences"):
            if metrics.get(name):
                values = [f"{k} {v:.3f}" for k, v in metrics[name].items() if k != "questions"]
                self.log(f"{name.replace('_', ' ').capitalize()}: {', '.join(values)}")
        self.log(f"Done in {metrics['seconds']:.0f} s. The model is in {self.folder / 'model'}")

    def _save_base(self, model: Any) -> str | None:
        """Return the Hub id or folder of the adapter's base; None if it has no name.

        Parts from the Hub are saved by reference, small checkpoints in full.
        """
        source, target = checkpoint_source(self.config.model), self.folder / "base"
        if source.adapter_base is not None:
            return source.adapter_base
        if source.save_untuned:
            untuned = load_model(self.config.model, self.processor, self.config.tuning.seed)
            untuned.config.decoding = dict(model.config.decoding)
            untuned.config.tokenizer_fingerprint = model.config.tokenizer_fingerprint
            save_model(untuned, self.processor, target)
        elif model.config.base_models:
            save_model(model, self.processor, target, by_reference=True)
        else:
            return None
        return str(target.resolve())


def open_or_build(benchmark: Benchmark, tokenizer: Any, target: Path) -> KnowledgeBase:
    """Open a knowledge base, or build it from the benchmark's documents if it does not exist.

    Args:
        benchmark: Its documents are indexed; if it has none, the knowledge base must exist.
        tokenizer: Tokenizer to build it with.
        target: Folder of the knowledge base; for a benchmark without documents, also a Hub id.
    """
    if len(benchmark.documents) and not (target / HEADER_FILE).exists():
        KnowledgeBase.build(benchmark.documents, tokenizer, target)
    return KnowledgeBase.from_pretrained(target if target.exists() else str(target))


def match_document_ids(
    benchmark: Benchmark, knowledge_base: KnowledgeBase, data_format: str
) -> Benchmark:
    """Write the ids of relevant documents as the knowledge base does.

    The files of OKVQA write one id in several ways (``google:17``, ``17``), and a knowledge base
    keeps the ids that it was built with.

    Args:
        benchmark: The benchmark.
        knowledge_base: The knowledge base of its documents.
        data_format: ``DataConfig.format`` of the benchmark.
    """
    normalize = document_id_of(data_format)
    first = str(knowledge_base[0]["id"])
    if normalize(first) == first:  # then all ids are taken as normalized, like the benchmark's
        return benchmark
    own_ids = {normalize(str(name)): str(name) for name in knowledge_base.row_ids()}
    questions = benchmark.questions.map(
        lambda record: {
            "relevant_ids": [own_ids.get(name, name) for name in record["relevant_ids"]]
        }
    )
    return replace(benchmark, questions=questions)


def object_captions(benchmark: Benchmark, images: PreparedImages) -> ObjectCaptions:
    """Return boxes and phrases of each image: the benchmark's, or the detector's labels."""
    if benchmark.captions is not None:
        return benchmark.captions
    return {
        name: [(one.box, (one.label,)) for one in images.objects_of(name) if one.label]
        for name in images
    }


__all__ = [
    "TrainingRun",
    "match_document_ids",
    "object_captions",
    "open_or_build",
    "run_training",
]
