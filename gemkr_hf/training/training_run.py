"""``gemkr train``: from a configuration to a tuned model, in steps that are each kept."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState

from gemkr_hf.data import Benchmark
from gemkr_hf.data.corpus import document_id_of
from gemkr_hf.evaluation.metrics import Metrics
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
from gemkr_hf.training.trainer import Tuned, last_whole_checkpoint, tune
from gemkr_hf.training.training_checks import check, has_images, with_images
from gemkr_hf.training.training_facts import keep_facts
from gemkr_hf.utils.config import as_plain, upgrade_settings
from gemkr_hf.utils.io import write_json
from gemkr_hf.utils.run_dir import RunDirectory, save_dataset

logger = logging.getLogger(__name__)

Say = Callable[[str], None]

_CONTENTS = (
    "instructions",
    "checkpoints",
    "preferences",
    "model",
    "adapter",
    "base",
    "metrics.json",
)
"""What follows from the settings, and is removed with ``--overwrite``."""


@dataclass
class _Workshop:
    """Folder of a run, its settings, and where its words go."""

    folder: Path
    config: TrainConfig
    say: Say
    state: PartialState
    images: Path

    def path(self, name: str) -> Path:
        return self.folder / name


def run_training(
    config: TrainConfig,
    base: str | Path = ".",
    say: Say = print,
    overwrite: bool = False,
    benchmark: Benchmark | None = None,
    images: Path | None = None,
) -> dict[str, Any]:
    """Tune a model as the configuration says, or go on where a stopped run was.

    Args:
        config: the settings; what another run with other settings left in ``config.output`` is
            not mixed with this one's.
        base: where relative paths of the data begin.
        say: takes each line for the reader, on the main process.
        overwrite: clear the output of a run with other settings.
        benchmark: in the place of what ``config.data`` names.
        images: folder of prepared images that several runs share; the run's own where None.

    Returns:
        Figures: what is in ``metrics.json``.

    Raises:
        ValueError, FileNotFoundError: before any model is loaded.
    """
    base = Path(base)
    started = time.time()
    state = PartialState(cpu=not torch.cuda.is_available())
    benchmark = check(config, base, benchmark)
    folder = Path(config.output)
    heard = say if state.is_main_process else _silent
    shop = _Workshop(folder, config, heard, state, images or folder / "images")
    with state.main_process_first():
        if state.is_main_process:
            settings = as_plain(config)
            del settings["output"]  # a folder may be moved
            upgrade = partial(upgrade_settings, TrainConfig)
            RunDirectory(folder, settings, "train.yaml", _CONTENTS, upgrade).prepare(overwrite)
    metrics_path = shop.path("metrics.json")
    if metrics_path.exists() and shop.path("model").exists():
        shop.say(f"This run is finished: {folder / 'model'}")
        return json.loads(metrics_path.read_text(encoding="utf-8"))
    processor = load_processor(config.model)
    knowledge_base = _knowledge_base(shop, benchmark, processor)
    benchmark = with_ids_of(benchmark, knowledge_base, config.data.format)
    train, held_out = _instructions(shop, benchmark, knowledge_base, processor)
    model = load_model(config.model, processor, config.tuning.seed)
    model.config.decoding["aggregate"] = config.aggregate
    model.config.tokenizer_fingerprint = tokenizer_fingerprint(processor.tokenizer)
    model.to(state.device)
    prepared = _images(shop, benchmark, (train, held_out), model, processor)
    if config.tuning.fit_objects and prepared is not None:
        fitted = fit_alignment(model, processor.tokenizer, prepared, captions(benchmark, prepared))
        shop.say(f"Projections fitted to the captions of {fitted:,} objects")
    tuned = _tune(shop, benchmark, knowledge_base, model, processor, (train, held_out), prepared)
    figures: dict[str, Any] = {
        "instructions": len(train),
        "questions": len(benchmark.questions["train"]),
        "documents": len(knowledge_base),
        "trainable_parameters": tuned.trainable,
        "parameters": tuned.parameters,
        "best_step": tuned.best_step,
        "history": tuned.history,
    }
    validation = _validation(shop, benchmark, knowledge_base, processor, prepared)
    figures["validation"] = None if validation is None else as_figures(validation(tuned.model))
    final = tuned.model
    if config.preferences is not None:
        final, told = _prefer(
            shop, benchmark, knowledge_base, tuned.model, processor, train, prepared
        )
        figures |= told
        if validation is not None:
            figures["validation_after_preferences"] = as_figures(validation(final))
    if state.is_main_process:
        _finish(shop, final, processor, figures, started)
    state.wait_for_everyone()
    return json.loads(metrics_path.read_text(encoding="utf-8"))


def _silent(line: str) -> None:
    """Processes beside the main one say nothing."""


# -- what is made before the model is loaded ---------------------------------------------------


def _knowledge_base(shop: _Workshop, benchmark: Benchmark, processor: Any) -> KnowledgeBase:
    """The knowledge base that the configuration names, or one that is built now."""
    target = Path(benchmark.knowledge_base or shop.path("knowledge_base"))
    with shop.state.main_process_first():
        loaded = open_or_build(benchmark, processor.tokenizer, target)
    loaded.check_tokenizer(processor.tokenizer)
    shop.say(f"{len(loaded):,} documents, {loaded.index.num_tokens:,} tokens")
    return loaded


def open_or_build(benchmark: Benchmark, tokenizer: Any, target: Path) -> KnowledgeBase:
    """The knowledge base at a place, built of the benchmark's documents if none is there yet.

    Args:
        benchmark: without documents, the knowledge base must be there.
        tokenizer: of one that is built.
        target: its folder; without documents, also a Hub id.
    """
    if len(benchmark.documents) and not (target / HEADER_FILE).exists():
        KnowledgeBase.build(benchmark.documents, tokenizer, target)
    return KnowledgeBase.from_pretrained(target if target.exists() else str(target))


def with_ids_of(benchmark: Benchmark, knowledge_base: KnowledgeBase, form: str) -> Benchmark:
    """The benchmark with its relevant documents named as the knowledge base names them.

    The files of OKVQA write one id in several ways (``google:17``, ``17``), and a knowledge base
    keeps what it was made of.
    """
    plain = document_id_of(form)
    first = str(knowledge_base[0]["id"])
    if plain(first) == first:
        return benchmark
    names = {plain(str(name)): str(name) for name in knowledge_base.row_ids()}
    questions = benchmark.questions.map(
        lambda record: {"relevant_ids": [names.get(name, name) for name in record["relevant_ids"]]}
    )
    return replace(benchmark, questions=questions)


def _instructions(
    shop: _Workshop, benchmark: Benchmark, knowledge_base: KnowledgeBase, processor: Any
) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """Training instructions, and those of the validation split."""
    config = shop.config
    written: list[datasets.Dataset | None] = [None, None]
    for number, split in enumerate(("train", "validation")):
        if split not in benchmark.questions:
            continue
        folder = shop.path("instructions") / split
        with shop.state.main_process_first():
            if not folder.exists():
                questions = _with_images(shop, benchmark, split)
                made = write_instructions(
                    questions,
                    knowledge_base,
                    processor.tokenizer,
                    config.sampling,
                    config.tuning.seed,
                    config.captions,
                )
                save_dataset(made, folder)
            written[number] = datasets.load_from_disk(folder)
    train, held_out = written
    if train is None:
        raise ValueError("There are no training questions")
    ambiguous = len(train) - sum(train["distinctive"])
    shop.say(
        f"{len(train):,} instructions of {len(benchmark.questions['train']):,} questions"
        + (f", {ambiguous:,} of them with a clue of several documents" if ambiguous else "")
        + ("" if held_out is None else f"; {len(held_out):,} held out")
    )
    return train, held_out


def _with_images(shop: _Workshop, benchmark: Benchmark, split: str) -> datasets.Dataset:
    """The questions whose image there is."""
    questions = benchmark.questions[split]
    there = with_images(questions, benchmark)
    if len(there) < len(questions):
        missing = len(questions) - len(there)
        shop.say(f"Left out: {missing:,} questions of {split} whose image is not there")
    return there


def _images(
    shop: _Workshop,
    benchmark: Benchmark,
    instructions: Sequence[datasets.Dataset | None],
    model: Any,
    processor: Any,
) -> PreparedImages | None:
    """Pixels, objects and their features, computed once; None for a model that reads captions."""
    if not has_images(benchmark) or model.vision_tower is None:
        return None
    names = [name for part in instructions if part is not None for name in part["image_id"]]
    with shop.state.main_process_first():
        return prepare_images(benchmark.images, names, model, processor, shop.images)


def captions(
    benchmark: Benchmark, images: PreparedImages
) -> dict[str, list[tuple[Sequence[float], Sequence[str]]]]:
    """Boxes with phrases: the symbols' own, or the labels that the detector gave."""
    if benchmark.captions is not None:
        return {name: list(found) for name, found in benchmark.captions.items()}
    return {
        name: [(found.box, (found.label,)) for found in images.objects_of(name) if found.label]
        for name in images
    }


# -- tuning and what comes after it --------------------------------------------------------------


def _validation(
    shop: _Workshop,
    benchmark: Benchmark,
    knowledge_base: KnowledgeBase,
    processor: Any,
    prepared: PreparedImages | None,
) -> RetrievalValidation | None:
    config = shop.config.validation
    if "validation" not in benchmark.questions or config.questions == 0:
        return None
    return RetrievalValidation(
        _with_images(shop, benchmark, "validation"),
        benchmark.images if prepared is not None else None,
        knowledge_base,
        processor,
        config,
        prepared,
        shop.config.captions,
        shop.state.process_index,
        shop.state.num_processes,
    )


def _tune(
    shop: _Workshop,
    benchmark: Benchmark,
    knowledge_base: KnowledgeBase,
    model: Any,
    processor: Any,
    instructions: tuple[datasets.Dataset, datasets.Dataset | None],
    prepared: PreparedImages | None,
) -> Tuned:
    config = shop.config
    train, held_out = instructions
    checkpoints = shop.path("checkpoints")
    with shop.state.main_process_first():
        checkpoint = last_whole_checkpoint(checkpoints)
    if checkpoint:
        shop.say(f"Going on from {Path(checkpoint).name}")
    retrieval = _validation(shop, benchmark, knowledge_base, processor, prepared)
    return tune(
        model,
        processor,
        InstructionDataset(train, prepared, processor),
        checkpoints,
        config.tuning,
        validation=None if held_out is None else config.validation,
        held_out=None if held_out is None else InstructionDataset(held_out, prepared, processor),
        retrieval=retrieval,
        fresh=lambda: load_model(config.model, processor, config.tuning.seed),
    )


def _prefer(
    shop: _Workshop,
    benchmark: Benchmark,
    knowledge_base: KnowledgeBase,
    model: Any,
    processor: Any,
    train: datasets.Dataset,
    prepared: PreparedImages | None,
) -> tuple[Any, dict[str, Any]]:
    """Preference tuning, and its figures."""
    config = shop.config.preferences
    assert config is not None
    folder = shop.path("preferences") / "pairs"
    with shop.state.main_process_first():
        if not folder.exists():
            pairs = collect_preferences(
                GeMKRRetriever(model, processor, knowledge_base),
                list(_with_images(shop, benchmark, "train")),
                benchmark.images if prepared is not None else None,
                train,
                config,
                prepared,
                shop.config.tuning.seed,
            )
            save_dataset(pairs, folder)
        pairs = datasets.load_from_disk(folder)
    shop.say(f"{len(pairs):,} preferences, {sum(pairs['hard']):,} of them almost distinctive")
    model, history = tune_preferences(
        model,
        processor,
        pairs,
        prepared,
        shop.path("preferences") / "checkpoints",
        shop.config.tuning,
        config,
    )
    return model, {"preferences": len(pairs), "preferences_history": history}


def _finish(
    shop: _Workshop, model: Any, processor: Any, figures: dict[str, Any], started: float
) -> None:
    """Save the model, and say how good it is."""
    figures["seconds"] = round(time.time() - started, 1)
    fingerprint = model.config.tokenizer_fingerprint
    bases = model.config.base_models
    name = Path(shop.config.output).name

    def describe(folder: Path, base: str | None = None) -> None:
        keep_facts(folder, shop.config, figures, fingerprint, bases)
        card = model_card(folder, name, adapter_base=base, ask_the_hub=False)
        (folder / "README.md").write_text(str(card), encoding="utf-8")

    stages = [
        shop.path(part) / "adapter"
        for part in ("checkpoints", "preferences/checkpoints")
        if (shop.path(part) / "adapter").is_dir()
    ]
    if shop.config.tuning.lora_r:
        base = _save_base(shop, model, processor)
        save_adapter(
            stages,
            processor,
            shop.path("adapter"),
            base,
            also=lambda folder: describe(folder, base or "its base"),
        )
    save_model(model, processor, shop.path("model"), describe)
    write_json(shop.path("metrics.json"), figures, ensure_ascii=True)
    for name in ("validation", "validation_after_preferences"):
        if figures.get(name):
            said = ", ".join(f"{k} {v:.3f}" for k, v in figures[name].items() if k != "questions")
            shop.say(f"{name.replace('_', ' ').capitalize()}: {said}")
    shop.say(f"Done in {figures['seconds']:.0f} s. The model is in {shop.path('model')}")


def _save_base(shop: _Workshop, model: Any, processor: Any) -> str | None:
    """What the adapter is on top of: a Hub id or a folder; None where nothing can be named.

    Parts from the Hub are named in a checkpoint by reference, and the small world's are small.
    """
    config, target = shop.config.model, shop.path("base")
    source = checkpoint_source(config)
    if source.adapter_base is not None:
        return source.adapter_base
    if source.save_untuned:
        untuned = load_model(config, processor, shop.config.tuning.seed)
        untuned.config.decoding = dict(model.config.decoding)
        untuned.config.tokenizer_fingerprint = model.config.tokenizer_fingerprint
        save_model(untuned, processor, target)
        return str(target.resolve())
    if model.config.base_models:
        save_model(model, processor, target, by_reference=True)
        return str(target.resolve())
    return None


def as_figures(metrics: Metrics) -> dict[str, float]:
    """A ``Metrics`` as JSON has it."""
    return {**metrics.as_dict(), "questions": metrics.questions}


__all__ = ["as_figures", "captions", "check", "run_training", "save_model"]
