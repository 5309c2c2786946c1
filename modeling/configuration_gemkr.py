"""Configuration of GeMKR: a vision tower, a language model, and the parts that join them."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig, configuration_utils

# "ViT-L/14 from pre-trained CLIP" (Implementation Details).
VIT_L_14: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 768,
}

# These are not written to generation_config.json: a `num_beam_groups` there makes transformers look
# for a Hub repository.
PAPER_DECODING: dict[str, Any] = {
    "num_beams": 20,
    "num_beam_groups": 4,
    "diversity_penalty": 0.5,
    "length_penalty": 0.0,
    "max_new_tokens": 16,
    "min_length": 10,
    "max_length": 15,
    "ambiguity_penalty": 0.5,
    "renormalize": False,
    "keep_ambiguous": False,
    "max_pieces": 1,
    "aggregate": "max",
}
"""Decoding of the paper (Implementation Details): 20 beams in 4 groups, clues of at most 15 tokens
and the end token. Diversity 0.5 is the released code's; Eq. 1 has no length penalty; the paper does
not specify its penalty for ambiguity, see the guide to constrained decoding."""

_SUB_CONFIGS: dict[str, dict[str, Any]] = {
    "vision_config": VIT_L_14,
    "text_config": {"model_type": "llama"},
}
FORMAT_VERSION = 1
"""Format version of checkpoints: incremented when older code can no longer read them."""


class GeMKRConfig(PreTrainedConfig):
    """Configuration of `GeMKRForRetrieval`; the defaults are the paper's ViT-L/14 and LLaMA-7B.

    Args:
        vision_config: dict or PreTrainedConfig. A `CLIPVisionConfig` or `SiglipVisionConfig`; its
            hidden size is the `d` of the paper.
        text_config: dict or PreTrainedConfig. Of any causal language model that
            `AutoModelForCausalLM` builds; the width of its input embeddings is the `D` of Eq. 7.
        prefix_length: `l`, number of prefix vectors of each vision layer (Eq. 3).
        max_objects: maximum number of objects of an image; at most `prefix_length` if objects are
            added to the prefix.
        num_prefix_layers: how many of the last vision layers have a prefix; all by default.
        max_object_slots: number of objects, the most confident first, that reach the language
            model; all by default. The others are only added to the prefix. The processor has the
            same setting.
        project_objects: False: H_R is X_R itself, as in the released code, without `H_R =
            Linear(X_R)`.
        use_visual_query: False: Table 3, "w/o Visual Queries". Only the language model; give the
            processor `captions` instead of images.
        use_object_features: False: Table 3, "w/o Obj. Feature". No objects in the prefix and no
            `<object>` slots.
        use_dual_flow_attention: False: Table 3, "w/o Dual-flow Att". One softmax over prefix and
            tokens, no gate.
        use_prefix: False: Table 3, "w/o Obj. Prefix". The vision tower is plain CLIP; objects only
            reach the language model.
        image_token_id: the token `<image>`, whose embedding Eq. 7 replaces.
        object_token_id: the token `<object>`, likewise.
        decoding: dict. Defaults of `generate` (num_beams, num_beam_groups, diversity_penalty,
            length_penalty, max_new_tokens) and of `GeMKRRetriever` (min_length, max_length: l_min
            and l_max of a clue; ambiguity_penalty, renormalize, keep_ambiguous, max_pieces: clue
            rules; aggregate: a document's score from its clues, "max" or "logsumexp"). Missing keys
            take the value of `PAPER_DECODING`.
        initializer_range: standard deviation of the initial prefix and projections.
        tokenizer_fingerprint: of the tokenizer that the model was tuned with; the constraint of a
            knowledge base with another one is rejected.
        base_models: the published checkpoints of the frozen parts: `{"vision": {"name": Hub id,
            "revision": commit}, "text": {...}}`.
        by_reference: the checkpoint holds no weights: the towers are loaded from `base_models`; the
            joining parts are new or come with an adapter.
        format_version: format version of the checkpoint; a newer one than this code's is rejected.

    Raises:
        ValueError: if the sizes do not fit together; the message names the argument to change.
    """

    model_type = "gemkr"
    sub_configs: ClassVar[dict[str, Any]] = {"vision_config": AutoConfig, "text_config": AutoConfig}
    # Since 5.20, transformers leaves these defaults out of config.json.
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        name: configuration_utils.SubConfigSpec(AutoConfig, default["model_type"])
        for name, default in _SUB_CONFIGS.items()
        if hasattr(configuration_utils, "SubConfigSpec")
    }

    vision_config: Any = None
    text_config: Any = None
    prefix_length: int = 10
    max_objects: int = 5
    num_prefix_layers: int | None = None
    max_object_slots: int | None = None
    project_objects: bool = True
    use_visual_query: bool = True
    use_object_features: bool = True
    use_dual_flow_attention: bool = True
    use_prefix: bool = True
    image_token_id: int = 32000
    object_token_id: int = 32001
    decoding: Any = None
    initializer_range: float = 0.02
    tokenizer_fingerprint: str | None = None
    base_models: Any = None
    by_reference: bool = False
    format_version: int = FORMAT_VERSION
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.format_version, int) or self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"This checkpoint has format version {self.format_version}, and this code reads "
                f"versions up to {FORMAT_VERSION}: upgrade gemkr-hf."
            )
        if not type(self).__module__.startswith("transformers_modules"):
            # Installed code has registered the pipeline's task: no code is downloaded for it.
            kwargs.pop("custom_pipelines", None)
        for name, default in _SUB_CONFIGS.items():
            setattr(self, name, _sub_config(name, getattr(self, name), default))
        super().__post_init__(**kwargs)
        if self.by_reference and not self.base_models:
            raise ValueError("A checkpoint by reference needs base_models.")
        unknown = [name for name in self.decoding or {} if name not in PAPER_DECODING]
        if unknown:
            raise ValueError(
                f"Unknown key {unknown[0]!r} in decoding; choose among {', '.join(PAPER_DECODING)}."
            )
        self.decoding = {**PAPER_DECODING, **(self.decoding or {})}
        beams, groups = self.decoding["num_beams"], self.decoding["num_beam_groups"]
        if beams % groups != 0:
            raise ValueError(
                f"decoding: num_beams={beams} is not a multiple of num_beam_groups={groups}."
            )
        # For information only: each tower follows its own configuration.
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        layers, slots = self.vision_config.num_hidden_layers, self.max_object_slots
        if self.num_prefix_layers is None:
            self.num_prefix_layers = layers
        if not 0 <= self.num_prefix_layers <= layers:
            raise ValueError(
                f"num_prefix_layers={self.num_prefix_layers} is not between 0 and the {layers} "
                "layers of the vision tower."
            )
        if self.use_prefix and self.prefix_length < 1:
            raise ValueError("prefix_length must be at least 1; or disable it: use_prefix=False.")
        if self.use_prefix and self.use_object_features and self.max_objects > self.prefix_length:
            raise ValueError(
                f"max_objects={self.max_objects} objects do not fit into a prefix of length "
                f"prefix_length={self.prefix_length}; raise prefix_length or lower max_objects."
            )
        if slots is not None and not 0 <= slots <= self.max_objects:
            raise ValueError(
                f"max_object_slots={slots} is not between 0 and max_objects={self.max_objects}."
            )
        for name in ("image_token_id", "object_token_id"):
            token = getattr(self, name)
            if not isinstance(token, int) or token < 0:
                raise ValueError(
                    f"{name}={token} is not a valid token id; add <image> and <object> to the "
                    "tokenizer with add_image_tokens(tokenizer)."
                )
        if self.image_token_id == self.object_token_id:
            raise ValueError("image_token_id and object_token_id must be two different tokens.")

    @property
    def num_object_slots(self) -> int:
        """Maximum number of `<object>` tokens of a prompt."""
        if not (self.use_visual_query and self.use_object_features):
            return 0
        slots = self.max_object_slots
        return self.max_objects if slots is None else min(self.max_objects, slots)

    @classmethod
    def from_preset(cls, *args: Any, **kwargs: Any) -> GeMKRConfig:
        """Create a configuration of the paper; see `presets.from_preset` in the library."""
        return library_module("presets").from_preset(cls, *args, **kwargs)


def _sub_config(name: str, given: Any, default: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a tower; of a dict the model type, and of None all, are the default's.

    (transformers has `SubConfigSpec` for this only since 5.20.)
    """
    if isinstance(given, PreTrainedConfig):
        return given
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"{name} must be a configuration or a dict, got a {type(given).__name__}.")
    content = {"model_type": default["model_type"], **given} if given is not None else default
    return AutoConfig.for_model(**content)


def library_module(name: str) -> Any:
    """Import a module beside this file that the library has and a checkpoint does not."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}":
            raise
        reason = f"A checkpoint's own code does not include {name}"
        remedy = "load it with the library's classes (pip install gemkr-hf)"
        raise ImportError(f"{reason}: {remedy}.") from None


GeMKRConfig.register_for_auto_class()

__all__ = ["FORMAT_VERSION", "PAPER_DECODING", "GeMKRConfig"]
