"""GeMKR as a system: the full model, its ablations (Table 3), its language models (Figure 3)."""

import dataclasses
import hashlib
import json
from typing import Any

import datasets
from transformers import AutoModel, AutoProcessor

from gemkr_hf.hub.checkpoint_loading import load_checkpoint
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.paper.evaluation_config import EVALUATION_PLUGINS, LanguageModelSize
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.training.arguments import ModelConfig, TrainConfig, ValidationConfig
from gemkr_hf.training.training_run import run_training
from gemkr_hf.utils.text import slug

FULL_MODEL = "Full Model"
WITHOUT_IMAGES = "w/o Visual Queries"


def gemkr(
    evaluation: Evaluation,
    seed: int,
    ablation: str = FULL_MODEL,
    size: LanguageModelSize | None = None,
    **decoding: Any,
) -> GeMKRRetriever:
    """Return a tuned GeMKR over the evaluation's knowledge base; tune it if necessary.

    Args:
        evaluation: the evaluation.
        seed: seed of clues, new weights and the order of the questions.
        ablation: a row of Table 3.
        size: another language model.
        **decoding: for ``GeMKRRetriever``, such as ``strategy``.
    """
    checkpoint = evaluation.config.checkpoints.get("gemkr")
    knowledge_base = evaluation.knowledge_base
    if checkpoint is None or ablation != FULL_MODEL or size is not None:
        config = _training_config(evaluation, seed, ablation, size)
        own_tokenizer = size is not None and size.language_model is not None
        _tune(evaluation, config, own_tokenizer)
        checkpoint = f"{config.output}/model"
        if own_tokenizer:
            knowledge_base = KnowledgeBase.from_pretrained(f"{config.output}/knowledge_base")
    model = load_checkpoint(AutoModel, checkpoint)
    processor = load_checkpoint(AutoProcessor, checkpoint)
    processor.object_cache = evaluation.processor.object_cache
    model = model.float() if evaluation.device.type == "cpu" else model.to(evaluation.device)
    reads_captions = ablation == WITHOUT_IMAGES
    return GeMKRRetriever(model, processor, knowledge_base, captions=reads_captions, **decoding)


def _training_config(
    evaluation: Evaluation, seed: int, ablation: str, size: LanguageModelSize | None
) -> TrainConfig:
    """Return the settings with which ``gemkr train`` tunes this model."""
    settings = evaluation.config
    switches = dict(ABLATIONS[ablation])
    tuning = dataclasses.replace(settings.tuning, seed=seed)
    if not switches.pop("lora"):
        tuning = dataclasses.replace(tuning, lora_r=0)
    if ablation == WITHOUT_IMAGES:
        tuning = dataclasses.replace(tuning, fit_objects=False)
    model = _with_language_model(evaluation, size)
    processor = dict(model.processor)
    if switches.get("use_object_features") is False:
        processor["max_object_slots"] = 0
    label = ablation if size is None else size.name
    return TrainConfig(
        data=settings.data,
        output=str(evaluation.path("models", f"gemkr-{slug(label)}-seed-{seed}")),
        model=dataclasses.replace(model, config={**model.config, **switches}, processor=processor),
        sampling=settings.sampling,
        tuning=tuning,
        validation=ValidationConfig(questions=0, metric="loss"),
        captions=ablation == WITHOUT_IMAGES,
        aggregate=settings.aggregate,
    )


def _with_language_model(evaluation: Evaluation, size: LanguageModelSize | None) -> ModelConfig:
    model = evaluation.config.model
    if size is None:
        return model
    if size.language_model is not None:
        return dataclasses.replace(model, checkpoint=None, language_model=size.language_model)
    data_format = evaluation.config.data.format
    if data_format not in EVALUATION_PLUGINS:
        raise ValueError(
            f"Language model '{size.name}' cannot be trained on the benchmark '{data_format}': set "
            "its language_model to a folder or Hub id"
        )
    settings = json.dumps(dataclasses.asdict(size)["training"], sort_keys=True)
    name = f"{slug(size.name)}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
    return EVALUATION_PLUGINS.get(data_format)().train_language_model(
        model,
        size.training,
        evaluation.path("language_models", name),
        evaluation.path("work", f"language-model-{name}"),
    )


def _tune(evaluation: Evaluation, config: TrainConfig, own_tokenizer: bool) -> None:
    """Tune a model, or find it tuned with the same settings."""
    questions = evaluation.training_dataset
    if config.captions:
        captions = evaluation.captions_for(list(questions))
        questions = questions.remove_columns("caption").add_column("caption", captions)
    benchmark = dataclasses.replace(
        evaluation.benchmark,
        questions=datasets.DatasetDict({"train": questions}),
        documents=evaluation.knowledge_base if own_tokenizer else evaluation.benchmark.documents,
        knowledge_base=None if own_tokenizer else str(evaluation.knowledge_base_folder),
    )
    # The images are the same for all ablations and language models.
    folder = evaluation.path("images") if config.captions else evaluation.training_images.folder
    log, overwrite = evaluation.log, evaluation.overwrite
    run_training(config, log=log, overwrite=overwrite, benchmark=benchmark, images=folder)


__all__ = ["FULL_MODEL", "WITHOUT_IMAGES", "gemkr"]
