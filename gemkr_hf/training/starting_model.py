"""The model and the processor that a training starts from."""

import dataclasses
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, BitsAndBytesConfig

from gemkr_hf.hub.checkpoint_loading import load_checkpoint
from gemkr_hf.knowledge_base import load_tokenizer
from gemkr_hf.modeling import PRESETS, GeMKRConfig, GeMKRForRetrieval
from gemkr_hf.processing import (
    GeMKRProcessor,
    TransformersDetector,
    YoloDetector,
    add_image_tokens,
)
from gemkr_hf.toy.stand_ins.assemble import load_processor as load_small_world_processor
from gemkr_hf.toy.stand_ins.assemble import load_untuned_model
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from gemkr_hf.training.arguments import ModelConfig
from gemkr_hf.utils.hub_ids import resolve_source

SMALL_WORLD = "small-world"
"""The stand-ins that the library has; ``small-world:FOLDER`` for those of a folder of one's own."""


def stand_ins_of(checkpoint: str | None) -> Path | None:
    """The folder of the stand-ins that a checkpoint's name means; None where it means none."""
    if checkpoint == SMALL_WORLD:
        return CHECKPOINTS
    if checkpoint is not None and checkpoint.startswith(SMALL_WORLD + ":"):
        return Path(checkpoint.removeprefix(SMALL_WORLD + ":"))
    return None


def check_model(config: ModelConfig) -> None:
    """What can be known to fail before anything is loaded.

    Raises:
        FileNotFoundError: a folder or file that is not there.
        ValueError: bitsandbytes is missing.
    """
    if config.bits is not None and importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            f"model.bits: {config.bits} needs bitsandbytes: pip install 'gemkr-hf[quantization]'"
        )
    stand_ins = stand_ins_of(config.checkpoint)
    if stand_ins is not None and not (stand_ins / "language_model").is_dir():
        raise FileNotFoundError(f"model.checkpoint: there are no stand-ins in '{stand_ins}'")
    if config.checkpoint is not None and stand_ins is None:
        resolve_source(config.checkpoint, "model.checkpoint", ["config.json"])
        return
    _check_fields(config)
    if stand_ins is not None:
        return
    for setting in ("language_model", "vision_model"):
        name = getattr(config, setting)
        resolve_source(name, f"model.{setting}", ["config.json"], bare_ids=True)
    if config.detector is not None:
        resolve_source(config.detector.removeprefix("transformers:"), "model.detector")


def _check_fields(config: ModelConfig) -> None:
    """Fields that the model or the processor does not have, or that do not go together."""
    fields = model_fields(config)
    for setting, names, known in (
        ("model.config", fields, {field.name for field in dataclasses.fields(GeMKRConfig)}),
        ("model.processor", config.processor, inspect.signature(GeMKRProcessor).parameters),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{setting}: there is no {unknown[0]}")
    try:
        GeMKRConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model.config: {error}") from None


def model_fields(config: ModelConfig) -> dict[str, Any]:
    """Fields of ``GeMKRConfig``: the preset's without its vision tower, and those named."""
    fields = {**PRESETS[config.preset].config, **config.config}
    fields.pop("vision_config", None)
    return fields


def load_processor(config: ModelConfig) -> Any:
    """The processor: that of the checkpoint, or one of the parts."""
    stand_ins = stand_ins_of(config.checkpoint)
    if stand_ins is not None:
        return load_small_world_processor(stand_ins, **config.processor)
    if config.checkpoint is not None:
        return load_checkpoint(AutoProcessor, config.checkpoint, revision=config.revision)
    tokenizer = load_tokenizer(config.language_model)
    add_image_tokens(tokenizer)
    if tokenizer.pad_token_id is None:  # LLaMA has none; padding is masked, whatever it is
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    # The two of the model's fields that the processor must have as well.
    shared = {
        name: value
        for name, value in model_fields(config).items()
        if name in ("max_objects", "max_object_slots")
    }
    settings = {**PRESETS[config.preset].processor, **shared, **config.processor}
    return GeMKRProcessor(
        AutoImageProcessor.from_pretrained(config.vision_model),
        tokenizer,
        detector=_detector(config.detector),
        **settings,
    )


def _detector(name: str | None) -> Any:
    if name is None:
        return None
    if name.startswith("transformers:"):
        return TransformersDetector(name.removeprefix("transformers:"))
    return YoloDetector(name)


def load_model(config: ModelConfig, processor: Any, seed: int = 0) -> Any:
    """The model before tuning: the checkpoint's, or parts joined by a new prefix and projections.

    Args:
        config: what to load.
        processor: of the same checkpoint or parts.
        seed: of the new weights.
    """
    torch.manual_seed(seed)
    stand_ins = stand_ins_of(config.checkpoint)
    if stand_ins is not None:
        model = load_untuned_model(processor, stand_ins, seed, **config.config)
        if config.attention is not None:
            model.set_attn_implementation(config.attention)
        return model
    options: dict[str, Any] = {}
    if config.bits is not None:
        options["quantization_config"] = _in_few_bits(config.bits)
    if config.attention is not None:
        options["attn_implementation"] = config.attention
    dtype = getattr(torch, config.dtype)
    if config.checkpoint is not None:
        return load_checkpoint(
            AutoModel, config.checkpoint, dtype=dtype, revision=config.revision, **options
        )
    fields = model_fields(config)
    return GeMKRForRetrieval.from_pretrained_parts(
        config.vision_model if fields.get("use_visual_query", True) else None,
        config.language_model,
        image_token_id=processor.image_token_id,
        object_token_id=processor.object_token_id,
        dtype=dtype,
        text_options=options,
        **fields,
    )


def _in_few_bits(bits: int) -> BitsAndBytesConfig:
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    # As QLoRA (Dettmers et al. 2023) has it.
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


__all__ = ["SMALL_WORLD", "check_model", "load_model", "load_processor", "stand_ins_of"]
