"""`generate` for retrieval: a bare constraint, images encoded once, diverse beam search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PrefixConstrainedLogitsProcessor,
    PreTrainedModel,
)
from transformers.generation import GenerationMixin

from .beam_search_gemkr import BeamSearchOutput, DiverseBeamSearch
from .configuration_gemkr import GeMKRConfig

Processors = LogitsProcessor | list[LogitsProcessor] | None

_IMAGES = ("pixel_values", "object_pixel_values", "object_features")
SEARCH_SETTINGS = tuple(DiverseBeamSearch.__dataclass_fields__)


def as_processor_list(logits_processor: Processors) -> LogitsProcessorList:
    """One processor, a list of them or None, as the list that core's `generate` needs."""
    if logits_processor is None:
        return LogitsProcessorList()
    if isinstance(logits_processor, list):
        for processor in logits_processor:
            _begin_anew(processor)
        return LogitsProcessorList(logits_processor)
    if not callable(logits_processor):
        hint = ": pass its constraint()" if hasattr(logits_processor, "constraint") else ""
        raise TypeError(f"A {type(logits_processor).__name__} is no logits processor{hint}.")
    _begin_anew(logits_processor)
    return LogitsProcessorList([logits_processor])


def check_tokenizers(fingerprint: str | None, processors: LogitsProcessorList) -> None:
    """Raise ValueError for the constraint of a knowledge base that another tokenizer indexed."""
    for processor in processors:
        other = getattr(processor, "tokenizer_fingerprint", None)
        if fingerprint and other and fingerprint != other:
            raise ValueError(
                f"This model was tuned with the tokenizer {fingerprint[:8]}, and the constraint's "
                f"knowledge base was made with {other[:8]}: their tokens are different words."
            )


def _begin_anew(processor: LogitsProcessor) -> None:
    """Tell a constraint that what comes is no continuation of the call before."""
    reset = getattr(processor, "reset", None)
    if callable(reset):
        reset()


def diverse_beam_search(
    model: Any,
    inputs: torch.Tensor | Mapping[str, Any],
    logits_processor: Processors = None,
    **settings: Any,
) -> torch.Tensor | BeamSearchOutput:
    """Diverse beam search over any causal language model, the prompt computed once per query.

    Scores are sums of log-probabilities of the unconstrained distribution (Eq. 1): log-softmax
    first, then the processors' masks. `DiverseBeamSearch` says what is scored and kept.

    Args:
        model: PreTrainedModel. A causal language model, a GeMKR, or one of them wrapped by PEFT.
        inputs: int64 tensor (batch_size, length) or mapping. Prompts, or what a tokenizer or
            processor returns; padded on the left.
        logits_processor: LogitsProcessor or list of them. The constraint.
        **settings: fields of `DiverseBeamSearch`, and anything else that `generate` takes
            (max_new_tokens, return_dict_in_generate, eos_token_id...).

    Returns:
        int64 tensor (batch_size * num_return_sequences, longest), or `BeamSearchOutput` with,
        `return_dict_in_generate=True`.

    Raises:
        ValueError: if a setting is out of range.
    """
    if isinstance(inputs, torch.Tensor):
        inputs = {"input_ids": inputs}
    search = DiverseBeamSearch(**{k: v for k, v in settings.items() if k in SEARCH_SETTINGS})
    others = {k: v for k, v in settings.items() if k not in SEARCH_SETTINGS}
    return model.generate(**inputs, **search_arguments(search, logits_processor, others))


def search_arguments(
    search: DiverseBeamSearch, logits_processor: Processors, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments with which core's `generate` runs `search`, which brings its own beams."""
    arguments = dict(arguments)
    processors = as_processor_list(logits_processor)
    allowed_tokens = arguments.pop("prefix_allowed_tokens_fn", None)
    if allowed_tokens is not None:
        # Core would count one row per query.
        processors.append(PrefixConstrainedLogitsProcessor(allowed_tokens, search.num_beams))
    return {
        **arguments,
        "logits_processor": processors,
        "custom_generate": search,
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
    }


class GeMKRGenerationMixin(GenerationMixin):
    """`generate` with the paper's diverse beam search as the default."""

    if TYPE_CHECKING:  # of the model that this is mixed into
        config: GeMKRConfig
        get_image_features: Callable
        vision_tower: PreTrainedModel

    def generate(  # type: ignore[override]
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Processors = None,
        custom_generate: str | Callable | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write knowledge clues for multi-modal queries, never an `<image>` or `<object>`.

        Diverse beam search with the defaults of `config.decoding`; `num_beams=1` and
        `do_sample=True` are core's greedy search and sampling.

        Args:
            inputs, generation_config, custom_generate, **kwargs: as in transformers, and the inputs
                of `forward`.
            logits_processor: LogitsProcessor or list of them. The constraint; a bare one is fine.
            num_beams, num_beam_groups, diversity_penalty, length_penalty, num_return_sequences,:
                see above.
            score_eos: fields of `DiverseBeamSearch`. Where only `num_beams` is given, the groups
                are those of the configuration as far as they divide it.
            max_new_tokens: the constraint's `max_length` and one for the end token, or the
                configuration's.

        Returns:
            int64 tensor (batch_size * num_return_sequences, longest), prompts and clues; or,
            `BeamSearchOutput` with `return_dict_in_generate=True`.

        Raises:
            ValueError: if a setting is out of range, or the constraint is of another tokenizer.
        """
        if kwargs.get("pixel_values") is not None:
            kwargs = self._encode_images(kwargs)
        given = _given(generation_config, kwargs)
        processors = as_processor_list(logits_processor)
        check_tokenizers(self.config.tokenizer_fingerprint, processors)
        # Slots are for prompts. A constraint with a search of its own only writes what documents
        # hold, and steps aside for no other processor.
        if not any(hasattr(processor, "search_tree") for processor in processors):
            configs = (generation_config, self.generation_config)
            found = (getattr(config, "suppress_tokens", None) for config in configs)
            more = kwargs.get("suppress_tokens") or next(filter(None, found), ())
            slots = (self.config.image_token_id, self.config.object_token_id)
            kwargs["suppress_tokens"] = sorted({*more, *slots})
        if "max_new_tokens" not in given and "max_length" not in given:
            kwargs["max_new_tokens"] = self._clue_length(processors)
        if custom_generate is not None:
            kwargs.update(logits_processor=processors, custom_generate=custom_generate)
        else:
            decoding = {**self.config.decoding, **given}
            if decoding.get("do_sample") or decoding["num_beams"] == 1:
                kwargs["logits_processor"] = processors
            else:
                if "num_beam_groups" not in given:
                    groups = math.gcd(decoding["num_beams"], decoding["num_beam_groups"])
                    decoding["num_beam_groups"] = groups
                search = DiverseBeamSearch(
                    **{name: decoding[name] for name in SEARCH_SETTINGS if name in decoding}
                )
                others = {k: v for k, v in kwargs.items() if k not in SEARCH_SETTINGS}
                kwargs = search_arguments(search, processors, others)
        return super().generate(  # type: ignore[misc]
            inputs, generation_config=generation_config, **kwargs
        )

    @torch.no_grad()
    def _encode_images(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Replace images by their features, so that no beam and no step encodes them again."""
        images = {
            name: kwargs[name] for name in (*_IMAGES, "object_mask") if kwargs.get(name) is not None
        }
        # Weights that a device map keeps elsewhere are on "meta", and move their inputs.
        if self.vision_tower is not None and self.vision_tower.device.type != "meta":
            device = self.vision_tower.device
            images = {name: value.to(device) for name, value in images.items()}
        features = self.get_image_features(**images)
        others = {name: value for name, value in kwargs.items() if name not in _IMAGES}
        return {**others, "image_features": features.pooler_output}

    def _clue_length(self, processors: LogitsProcessorList) -> int:
        found = (getattr(processor, "max_length", None) for processor in processors)
        limits = [limit for limit in found if isinstance(limit, int)]
        return max(limits) + 1 if limits else self.config.decoding["max_new_tokens"]

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As in transformers; images belong to the prompt and leave after it."""
        inputs = super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids,  # type: ignore[arg-type]
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        cache = kwargs.get("cache")
        # The first step of an assistant in assisted decoding is none for core.
        begun = not is_first_iteration and cache is not None and cache.get_seq_length() > 0
        if begun and kwargs.get("use_cache", True):
            for name in (*_IMAGES, "object_mask", "image_features"):
                inputs.pop(name, None)
        return inputs


def _given(generation_config: GenerationConfig | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller decided: keyword arguments before the fields of a generation config."""
    names = (*SEARCH_SETTINGS, "do_sample", "max_new_tokens", "max_length")
    given = {name: getattr(generation_config, name, None) for name in names}
    given.update({name: kwargs[name] for name in names if name in kwargs})
    return {name: value for name, value in given.items() if value is not None}


__all__ = [
    "BeamSearchOutput",
    "DiverseBeamSearch",
    "GeMKRGenerationMixin",
    "as_processor_list",
    "check_tokenizers",
    "diverse_beam_search",
]
