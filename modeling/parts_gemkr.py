"""Loading the published parts that a GeMKR starts from."""

import copy
import inspect
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
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
from transformers.pytorch_utils import Conv1D

from .configuration_gemkr import GeMKRConfig

_LOCATION = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
_VISION_CLASSES: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipModel,
    "siglip_vision_model": SiglipVisionModel,
}


def check_folder(name: str | PathLike) -> None:
    """Raise FileNotFoundError where a path of this machine leads nowhere.

    transformers would take it for a Hub id, and complain of that.
    """
    text = str(name)
    looks_like_path = text.startswith((".", "~", "/")) or text.count("/") > 1 or "\\" in text
    if looks_like_path and not Path(text).exists():
        raise FileNotFoundError(f"There is no folder {text}.")


def load_vision_model(
    vision: PreTrainedModel | str | PathLike, dtype: torch.dtype | None = None, **options: Any
) -> PreTrainedModel:
    """The vision half of a CLIP or SigLIP: of an instance, a folder or a Hub id.

    `options` are for `from_pretrained`.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(vision, (str, PathLike)):
        check_folder(vision)
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
        name = vision.__name__ if isinstance(vision, type) else type(vision).__name__
        raise ValueError(
            f"{name} is no vision tower; pass a CLIPModel, a SiglipModel or the vision half of one."
        )
    return vision


def load_language_model(
    text: PreTrainedModel | str | PathLike, dtype: torch.dtype | None = None, **options: Any
) -> PreTrainedModel:
    """A causal language model, from an instance, a folder or a Hub id.

    `options` are for `from_pretrained`.

    Raises:
        ValueError: if it cannot generate text.
    """
    if isinstance(text, (str, PathLike)):
        check_folder(text)
        options = {"dtype": dtype or "auto", **options}
        text, dtype = AutoModelForCausalLM.from_pretrained(text, **options), None
    if hasattr(text, "peft_config") or hasattr(text, "get_base_model"):
        raise ValueError(
            "The language model is wrapped by PEFT, whose weights a checkpoint would lose; call "
            "merge_and_unload() first, or adapt the GeMKR itself."
        )
    if (
        not isinstance(text, nn.Module)
        or not hasattr(text, "get_output_embeddings")
        or text.get_output_embeddings() is None
        or getattr(text.config, "is_encoder_decoder", False)
    ):
        name = text.__name__ if isinstance(text, type) else type(text).__name__
        raise ValueError(f"{name} is no causal language model; load one with AutoModelForCausalLM.")
    if text.config.model_type == GeMKRConfig.model_type:
        raise ValueError("A GeMKR is no part of another; take its language model.")
    if not _keeps_keys_and_values(text):
        raise ValueError(
            f"{type(text).__name__} keeps no keys and values, which GeMKR's search needs; take a "
            "language model with attention."
        )
    return text if dtype is None or text.dtype == dtype else text.to(dtype)  # type: ignore


def _keeps_keys_and_values(text: Any) -> bool:
    """Whether a layer of a language model has attention, so that its cache is no mere state."""
    if "cache" not in inspect.signature(text.forward).parameters:
        return False
    if not getattr(text, "_is_stateful", False):
        return True
    kinds = getattr(text.config.get_text_config(decoder=True), "layer_types", None) or []
    return not set(kinds) <= {"linear_attention", "mlp", "moe"}


def only_language_model(quantization_config: Any, parts: Sequence[str]) -> Any:
    """A quantisation that leaves the `parts` beside the language model as they are.

    bitsandbytes' configurations name what to skip; one that names something is left alone.
    """
    if isinstance(quantization_config, dict):
        if quantization_config.get("quant_method", "bitsandbytes") != "bitsandbytes":
            return quantization_config
        return {"llm_int8_skip_modules": [*parts, "lm_head"], **quantization_config}
    if getattr(quantization_config, "llm_int8_skip_modules", False) is not None:
        return quantization_config
    changed = copy.deepcopy(quantization_config)
    changed.llm_int8_skip_modules = [*parts, "lm_head"]
    return changed


def adopt_quantization(model: PreTrainedModel, language_model: PreTrainedModel) -> None:
    """Let `model` know what its part, loaded in few bits by bitsandbytes, is.

    Without it a checkpoint would tell that the vision tower is quantised too, and not load again.
    """
    quantizer = getattr(language_model, "hf_quantizer", None)
    if quantizer is None or not _of_bitsandbytes(quantizer):
        return
    quantizer = copy.copy(quantizer)
    quantizer.quantization_config = copy.deepcopy(quantizer.quantization_config)
    # Exactly what was left as it is, whatever rule of the language model's chose it.
    whole = [name for name, part in model.named_children() if part is not language_model]
    whole += [
        f"language_model.{name}"
        for name, module in language_model.named_modules()
        if type(module) in (nn.Linear, Conv1D)
    ]
    quantizer.quantization_config.llm_int8_skip_modules = whole
    model.hf_quantizer = quantizer  # type: ignore[assignment]
    quantizer.postprocess_model(model)


def check_quantization(model: PreTrainedModel, language_model: PreTrainedModel) -> bool:
    """Tell whether bitsandbytes keeps weights of `model` in few bits.

    Raises:
        ValueError: if only its language model knows of it, so that a checkpoint would not load
            again.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None and getattr(language_model, "hf_quantizer", None) is not None:
        raise ValueError(
            "This GeMKR cannot be saved: its language model was quantised before it became a part, "
            "by another method than bitsandbytes; save one of the unquantised part and load that "
            "with from_pretrained(..., quantization_config=...)."
        )
    return _of_bitsandbytes(quantizer)


def _of_bitsandbytes(quantizer: Any) -> bool:
    return hasattr(getattr(quantizer, "quantization_config", None), "llm_int8_skip_modules")


@torch.no_grad()
def set_slot_rows(model: Any, vocabulary: int) -> None:
    """Give the slots, which images replace, embeddings and rows of the head that never vary.

    The same base models then give the same scores everywhere, also where only their names are
    known. Each slot's embedding is another, and not the zeros of padding: `find_slots` tells
    them by it.
    """
    head = model.get_output_embeddings()
    for parameter in (head.weight, getattr(head, "bias", None)):
        if parameter is not None and not parameter.is_meta:
            parameter[vocabulary:] = 0
    weight = model.get_input_embeddings().weight
    if not weight.is_meta:
        number = torch.arange(1, len(weight) - vocabulary + 1, device=weight.device)
        weight[vocabulary:] = (number / 1024).to(weight.dtype)[:, None]


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
    "adopt_quantization",
    "align_special_tokens",
    "check_folder",
    "check_quantization",
    "load_language_model",
    "load_vision_model",
    "only_language_model",
    "set_slot_rows",
]
