"""Diverse beam search with any causal language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .generation_gemkr import (
    SEARCH_SETTINGS,
    BeamSearchOutput,
    DiverseBeamSearch,
    Processors,
    search_arguments,
)


def diverse_beam_search(
    model: Any,
    inputs: torch.Tensor | Mapping[str, Any],
    logits_processor: Processors = None,
    **settings: Any,
) -> torch.Tensor | BeamSearchOutput:
    """Diverse beam search with any causal language model; the prompt is computed once per query.

    Scores are sums of log-probabilities of the unconstrained distribution (Eq. 1): first the
    log-softmax, then the processors' masks.

    Args:
        model: a causal language model, a GeMKR, or one of them wrapped by PEFT.
        inputs: int64 tensor (batch_size, length) of prompts, or the mapping that a tokenizer or
            processor returns; padded on the left.
        logits_processor: the constraint, or a list of processors.
        **settings: fields of `DiverseBeamSearch`, and anything else that `generate` takes
            (max_new_tokens, return_dict_in_generate, eos_token_id...).

    Returns:
        int64 tensor (batch_size * num_return_sequences, longest), or a `BeamSearchOutput` with
        `return_dict_in_generate=True`.

    Raises:
        ValueError: if a setting is out of range.
    """
    if isinstance(inputs, torch.Tensor):
        inputs = {"input_ids": inputs}
    search = DiverseBeamSearch(**{k: v for k, v in settings.items() if k in SEARCH_SETTINGS})
    arguments = {k: v for k, v in settings.items() if k not in SEARCH_SETTINGS}
    return model.generate(**inputs, **search_arguments(search, logits_processor, arguments))


__all__ = ["diverse_beam_search"]
