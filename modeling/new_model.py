"""New models from published checkpoints, and checkpoints by reference.

This file stays in the library: a checkpoint is loaded without it.
"""

import copy
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    CLIPModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
    SiglipModel,
    SiglipVisionModel,
)
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils.hub import resolve_revision

from .configuration_gemkr import GeMKRConfig
from .generation_gemkr import cache_argument
from .modeling_gemkr import GeMKRForRetrieval, join_towers
from .presets import check_fields
from .vision_gemkr import VISION_TOWERS


def new_model(
    model_class: type[GeMKRForRetrieval],
    vision: PreTrainedModel | str | PathLike | None,
    text: PreTrainedModel | str | PathLike,
    *,
    image_token_id: int,
    object_token_id: int,
    dtype: torch.dtype | None = None,
    vision_options: Mapping[str, Any] | None = None,
    text_options: Mapping[str, Any] | None = None,
    **config: Any,
) -> GeMKRForRetrieval:
    """Create a model from published checkpoints: `GeMKRForRetrieval.from_pretrained_parts`.

    Args:
        model_class: class of the new model.
        vision: PreTrainedModel, folder or Hub id; None with use_visual_query=False. A
            `CLIPVisionModel` or `SiglipVisionModel`, or a CLIP or SigLIP whose vision half is
            taken. It is copied.
        text: PreTrainedModel, folder or Hub id. Any causal language model with attention. An
            instance is used itself, not a copy.
        image_token_id: id of `<image>` in the tokenizer; the embeddings are resized to hold both.
        object_token_id: id of `<object>`.
        dtype: torch.dtype. Of the whole model; the language model's own by default. To train
            checkpoints in half precision, use `torch.float32` or `torch.bfloat16`.
        vision_options: for `from_pretrained` of the vision tower: `revision`,
            `attn_implementation`, `device_map`...
        text_options: for `from_pretrained` of the language model: also `quantization_config` (4 or
            8 bits).
        **config: further fields of `GeMKRConfig`, such as those of a preset.

    Raises:
        ValueError: if a checkpoint is of the wrong kind, or a field is unknown.
        FileNotFoundError: if a folder does not exist.
    """
    check_fields(config)
    vision_options, text_options = vision_options or {}, text_options or {}
    if (vision is not None) != config.get("use_visual_query", True):
        raise ValueError(
            "vision=None is for a model with use_visual_query=False, which has no vision tower."
        )
    for name in (vision, text):
        _check_folder(name)
    vision_model = None
    if vision is not None:
        vision_model = _load_vision_model(vision, dtype, **vision_options)
    language_model = _load_language_model(text, dtype, **text_options)
    bases = {
        "vision": _base_model(vision, vision_options),
        "text": _base_model(text, text_options),
    }
    fields = {"image_token_id": image_token_id, "object_token_id": object_token_id, **config}
    if bases["text"] is not None and (vision is None or bases["vision"] is not None):
        fields["base_models"] = bases
    return join_towers(model_class, vision_model, language_model, dtype, **fields)


def save_reference(model: GeMKRForRetrieval, save_directory: str | PathLike) -> None:
    """Write a checkpoint by reference: configuration and code, a few kilobytes.

    It names the published models of the towers (`config.base_models`) instead of holding their
    weights, and is the base of an adapter, which holds the joining parts.

    Args:
        model: the model.
        save_directory: the folder.

    Raises:
        ValueError: if the towers are not from repositories on the Hub.
    """
    if not model.config.base_models:
        raise ValueError(
            "Only a model that from_pretrained_parts made of two Hub ids can be saved by "
            "reference; save_pretrained writes its weights."
        )
    folder = Path(save_directory)
    folder.mkdir(parents=True, exist_ok=True)
    model.describe_code()
    config = copy.deepcopy(model.config)
    config.by_reference = True
    config.dtype = str(model.dtype).removeprefix("torch.")
    custom_object_save(model, folder, config=config)  # type: ignore[arg-type]
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def _check_folder(name: Any) -> None:
    """Raise FileNotFoundError for a missing path, which transformers would take for a Hub id."""
    text = str(name) if isinstance(name, (str, PathLike)) else ""
    looks_like_path = text.startswith((".", "~", "/")) or text.count("/") > 1 or "\\" in text
    if looks_like_path and not Path(text).exists():
        raise FileNotFoundError(f"Folder not found: '{text}'.")


def _base_model(part: Any, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return Hub id and commit of a part that is given by its Hub id; None for any other."""
    if not isinstance(part, str) or Path(part).exists():
        return None
    location = {key: options[key] for key in ("cache_dir", "token") if options.get(key) is not None}
    resolved = resolve_revision(part, options.get("revision"), **location)
    return {"name": part, "revision": getattr(resolved, "resolved", resolved)}


def _load_vision_model(vision: Any, dtype: torch.dtype | None, **options: Any) -> PreTrainedModel:
    """Load the vision half of a CLIP or SigLIP, in float32 by default."""
    if isinstance(vision, (str, PathLike)):
        names = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
        location = {name: options[name] for name in names if name in options}
        kind = AutoConfig.from_pretrained(vision, **location).model_type
        if kind not in ("clip", "siglip", *VISION_TOWERS):
            raise ValueError(
                f"{vision} is a checkpoint of type {kind!r}; the vision tower needs a CLIP or "
                "SigLIP."
            )
        vision = AutoModel.from_pretrained(vision, **{"dtype": dtype or torch.float32, **options})
    if isinstance(vision, (CLIPModel, CLIPVisionModelWithProjection, SiglipModel)):
        vision = vision.vision_model
    if not isinstance(vision, (CLIPVisionModel, SiglipVisionModel)):
        name = vision.__name__ if isinstance(vision, type) else type(vision).__name__
        raise ValueError(
            f"{name} is not a vision tower; pass a CLIPModel, a SiglipModel or the vision half of "
            "one."
        )
    return vision


def _load_language_model(
    text: PreTrainedModel | str | PathLike, dtype: torch.dtype | None, **options: Any
) -> PreTrainedModel:
    """Load a causal language model, and check that GeMKR can use it."""
    if isinstance(text, (str, PathLike)):
        options = {"dtype": dtype or "auto", **options}
        text, dtype = AutoModelForCausalLM.from_pretrained(text, **options), None
    model: Any = text
    if hasattr(model, "peft_config") or hasattr(model, "get_base_model"):
        raise ValueError(
            "The language model is wrapped by PEFT, whose weights a checkpoint would lose; call "
            "merge_and_unload() first, or adapt the GeMKR itself."
        )
    if (
        not isinstance(text, nn.Module)
        or not hasattr(model, "get_output_embeddings")
        or model.get_output_embeddings() is None
        or getattr(model.config, "is_encoder_decoder", False)
    ):
        name = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ValueError(
            f"{name} is not a causal language model; load one with AutoModelForCausalLM."
        )
    if model.config.model_type == GeMKRConfig.model_type:
        raise ValueError("A GeMKR cannot be a part of another one; pass its language model.")
    if not _has_attention_cache(model):
        raise ValueError(
            f"{type(model).__name__} caches no keys and values, which GeMKR's search needs; use a "
            "language model with attention."
        )
    return model if dtype is None or model.dtype == dtype else model.to(dtype)


def _has_attention_cache(model: Any) -> bool:
    """Return whether a language model has attention layers: their cache can be reordered."""
    if cache_argument(model) is None:
        return False
    if not getattr(model, "_is_stateful", False):
        return True
    kinds = getattr(model.config.get_text_config(decoder=True), "layer_types", None) or []
    return not set(kinds) <= {"linear_attention", "mlp", "moe"}


__all__ = ["new_model", "save_reference"]
