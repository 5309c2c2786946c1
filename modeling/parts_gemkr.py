"""Loading the published parts that a GeMKR starts from."""

from os import PathLike

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
)


def load_vision_model(
    vision: PreTrainedModel | str | PathLike, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """The `CLIPVisionModel` of an instance, a folder or a Hub id, or the vision half of a CLIP.

    Raises
    ------
    ValueError
        If it is not a CLIP.
    """
    if isinstance(vision, (str, PathLike)):
        kind = AutoConfig.from_pretrained(vision).model_type
        classes: dict[str, type[PreTrainedModel]] = {
            "clip": CLIPModel,
            "clip_vision_model": CLIPVisionModel,
        }
        if kind not in classes:
            raise ValueError(
                f"{vision} is a checkpoint of type {kind!r}; the vision tower needs a CLIP."
            )
        vision = classes[kind].from_pretrained(vision, dtype=dtype or torch.float32)
    if isinstance(vision, (CLIPModel, CLIPVisionModelWithProjection)):
        vision = vision.vision_model
    if not isinstance(vision, CLIPVisionModel):
        raise ValueError(
            f"{type(vision).__name__} is no vision tower; pass a CLIPVisionModel or a CLIPModel."
        )
    return vision


def load_language_model(
    text: PreTrainedModel | str | PathLike, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """A causal language model, from an instance, a folder or a Hub id.

    Raises
    ------
    ValueError
        If it cannot generate text.
    """
    if isinstance(text, (str, PathLike)):
        return AutoModelForCausalLM.from_pretrained(text, dtype=dtype or "auto")
    if not isinstance(text, nn.Module) or text.get_output_embeddings() is None:
        raise ValueError(
            f"{type(text).__name__} is no causal language model; load it with AutoModelForCausalLM."
        )
    return text if dtype is None or text.dtype == dtype else text.to(dtype)  # type: ignore


def align_special_tokens(model: PreTrainedModel, language_model: PreTrainedModel) -> None:
    """Let `model` end and pad clues with the language model's tokens.

    Its other generation settings (sampling, temperature) are for chat, not for retrieval.
    """
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(language_model.generation_config, name, None)
        if value is None:
            value = getattr(language_model.config, name, None)
        setattr(model.generation_config, name, value)


__all__ = ["align_special_tokens", "load_language_model", "load_vision_model"]
