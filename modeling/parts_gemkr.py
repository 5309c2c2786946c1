"""Loading the published parts that a GeMKR starts from."""

import copy
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
    SiglipModel,
    SiglipVisionModel,
)

_LOCATION = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
_VISION_CLASSES: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipModel,
    "siglip_vision_model": SiglipVisionModel,
}


def load_vision_model(
    vision: PreTrainedModel | str | PathLike, dtype: torch.dtype | None = None, **options: Any
) -> PreTrainedModel:
    """The vision half of a CLIP or SigLIP: of an instance, a folder or a Hub id.

    `options` are for `from_pretrained`.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(vision, (str, PathLike)):
        where = {name: options[name] for name in _LOCATION if name in options}
        kind = AutoConfig.from_pretrained(vision, **where).model_type
        if kind not in _VISION_CLASSES:
            raise ValueError(
                f"{vision} is a checkpoint of type {kind!r}; the vision tower needs a CLIP or "
                "SigLIP."
            )
        options = {"dtype": dtype or torch.float32, **options}
        vision = _VISION_CLASSES[kind].from_pretrained(vision, **options)
    if isinstance(vision, (CLIPModel, CLIPVisionModelWithProjection, SiglipModel)):
        vision = vision.vision_model
    if not isinstance(vision, (CLIPVisionModel, SiglipVisionModel)):
        raise ValueError(
            f"{type(vision).__name__} is no vision tower; pass a CLIPModel, a SiglipModel or the "
            "vision half of one."
        )
    return vision


def load_language_model(
    text: PreTrainedModel | str | PathLike, dtype: torch.dtype | None = None, **options: Any
) -> PreTrainedModel:
    """A causal language model, from an instance, a folder or a Hub id.

    `options` are for `from_pretrained`.

    Raises
    ------
    ValueError
        If it cannot generate text.
    """
    if isinstance(text, (str, PathLike)):
        return AutoModelForCausalLM.from_pretrained(text, **{"dtype": dtype or "auto", **options})
    if not isinstance(text, nn.Module) or text.get_output_embeddings() is None:
        raise ValueError(
            f"{type(text).__name__} is no causal language model; load it with AutoModelForCausalLM."
        )
    return text if dtype is None or text.dtype == dtype else text.to(dtype)  # type: ignore


def only_language_model(quantization_config: Any, parts: Sequence[str]) -> Any:
    """A quantisation that leaves the `parts` beside the language model as they are.

    bitsandbytes' configurations name what to skip; one that names something is left alone.
    """
    if getattr(quantization_config, "llm_int8_skip_modules", False) is not None:
        return quantization_config
    changed = copy.deepcopy(quantization_config)
    changed.llm_int8_skip_modules = [*parts, "lm_head"]
    return changed


def align_special_tokens(model: PreTrainedModel, language_model: PreTrainedModel) -> None:
    """Let `model` end and pad clues with the language model's tokens.

    Its other generation settings (sampling, temperature) are for chat, not for retrieval.
    """
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(language_model.generation_config, name, None)
        if value is None:
            value = getattr(language_model.config, name, None)
        setattr(model.generation_config, name, value)


__all__ = [
    "align_special_tokens",
    "load_language_model",
    "load_vision_model",
    "only_language_model",
]
