"""GeMKR's own rows: the full model, its ablations (Table 3), its language models (Fig. 3)."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoModel, AutoProcessor

from gemkr_hf.baselines.gemkr_baseline import GeMKRSystem
from gemkr_hf.hub.checkpoint_loading import load_checkpoint
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.paper.evaluation_config import LanguageModelSize
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.toy.stand_ins.build import SmallWorldTraining, build_small_world
from gemkr_hf.training.arguments import ModelConfig, TrainConfig, ValidationConfig
from gemkr_hf.training.starting_model import stand_ins_of
from gemkr_hf.training.training_run import run_training
from gemkr_hf.utils.text import slug

FULL = "Full Model"
BLIND = "w/o Visual Queries"


@dataclass(frozen=True)
class Trained:
    """A tuned GeMKR.

    Attributes:
        folder: of model and processor, or their Hub id.
        captions: it was tuned with captions in the place of images.
        knowledge_base: folder of its own, for another tokenizer than the evaluation's.
    """

    folder: str
    captions: bool = False
    knowledge_base: str | None = None


def trained_gemkr(
    ground: Ground,
    seed: int,
    ablation: str = FULL,
    size: LanguageModelSize | None = None,
) -> Trained:
    """Tune a GeMKR as `gemkr train` does, or find the one of an earlier run in this folder.

    Args:
        ground: the benchmark.
        seed: of clues, new weights and order.
        ablation: a row of Table 3.
        size: another language model.
    """
    blind = ablation == BLIND
    named = ground.config.checkpoints.get("gemkr")
    if named is not None and ablation == FULL and size is None:
        return Trained(named)
    label = ablation if size is None else size.name
    target = ground.path("models", f"gemkr-{slug(label)}-seed-{seed}")
    switches = dict(ABLATIONS[ablation])
    tuning = dataclasses.replace(ground.config.tuning, seed=seed)
    if not switches.pop("lora"):
        tuning = dataclasses.replace(tuning, lora_r=0)
    if blind:
        tuning = dataclasses.replace(tuning, fit_objects=False)
    model = _with_switches(_model_of(ground, size), switches)
    config = TrainConfig(
        data=ground.config.data,
        output=str(target),
        model=model,
        sampling=ground.config.sampling,
        tuning=tuning,
        validation=ValidationConfig(questions=0, metric="loss"),
        captions=blind,
        aggregate=ground.config.aggregate,
    )
    own = size is not None and size.language_model is not None
    benchmark = dataclasses.replace(
        ground.benchmark,
        questions=datasets.DatasetDict({"train": _taught(ground, blind)}),
        documents=ground.knowledge_base if own else ground.benchmark.documents,
        knowledge_base=None if own else str(ground.knowledge_base_folder),
    )
    if not blind:
        _ = ground.prepared  # once for all: no ablation and no language model changes them
    run_training(
        config,
        say=ground.say,
        overwrite=ground.overwrite,
        benchmark=benchmark,
        images=ground.path("images"),
    )
    knowledge_base = str(target / "knowledge_base") if own else None
    return Trained(str(target / "model"), blind, knowledge_base)


def _taught(ground: Ground, captions: bool) -> datasets.Dataset:
    """The training questions, with their captions where these are read."""
    questions = ground.training_questions
    if captions:
        described = ground.captions_of(list(questions))
        questions = questions.remove_columns("caption").add_column("caption", described)
    return questions


def _with_switches(model: ModelConfig, switches: dict[str, Any]) -> ModelConfig:
    processor = dict(model.processor)
    if switches.get("use_object_features") is False:
        processor["max_object_slots"] = 0
    return dataclasses.replace(model, config={**model.config, **switches}, processor=processor)


def _model_of(ground: Ground, size: LanguageModelSize | None) -> ModelConfig:
    model = ground.config.model
    if size is None:
        return model
    if size.language_model is not None:
        return dataclasses.replace(model, checkpoint=None, language_model=size.language_model)
    assert size.training is not None
    source = stand_ins_of(model.checkpoint)
    if source is None:
        raise ValueError(
            f"The language model '{size.name}' would be taught the symbols: give language_model, "
            "a folder or Hub id, on another benchmark"
        )
    settings = json.dumps(dataclasses.asdict(size.training), sort_keys=True)
    name = f"{slug(size.name)}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
    target = ground.path("language_models", name)
    _stand_ins_but_for_language_model(source, target)
    build_small_world(
        ground.path("work", f"language-model-{name}"),
        target,
        SmallWorldTraining(language_model=size.training),
        stages=("language_model",),
    )
    return dataclasses.replace(model, checkpoint=f"small-world:{target}")


def _stand_ins_but_for_language_model(source: Path, target: Path) -> None:
    """Links to the other stand-ins, which are the same."""
    target.mkdir(parents=True, exist_ok=True)
    for part in ("tokenizer", "detector", "clip"):
        link = target / part
        if not link.exists():
            link.symlink_to((source / part).resolve(), target_is_directory=True)


def gemkr_system(ground: Ground, trained: Trained, **decoding: Any) -> GeMKRSystem:
    """A tuned model as a system, over the evaluation's knowledge base."""
    model = load_checkpoint(AutoModel, trained.folder)
    processor = load_checkpoint(AutoProcessor, trained.folder)
    processor.object_cache = ground.processor.object_cache
    knowledge_base = ground.knowledge_base
    if trained.knowledge_base is not None:
        knowledge_base = KnowledgeBase.from_pretrained(trained.knowledge_base)
    knowledge_base.check_tokenizer(processor.tokenizer)
    return GeMKRSystem(
        model.float() if ground.device.type == "cpu" else model.to(ground.device),
        processor,
        knowledge_base,
        captions=trained.captions,
        **decoding,
    )


__all__ = ["FULL", "Trained", "gemkr_system", "trained_gemkr"]
