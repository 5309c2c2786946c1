"""Settings of the paper, of its released code, of its ablations and of its language models.

This file stays in the library: a checkpoint has a configuration already.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .configuration_gemkr import VIT_L_14, GeMKRConfig


@dataclass(frozen=True)
class Preset:
    """A named set of settings.

    Attributes:
        config: fields of `GeMKRConfig`.
        lora: arguments of `GeMKRForRetrieval.lora_arguments`.
        processor: arguments of `GeMKRProcessor`.
    """

    config: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)


# The size of the released code's vision tower; its weights (EVA-CLIP) are not a CLIP checkpoint.
VIT_G_14: dict[str, Any] = {
    **VIT_L_14,
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 40,
    "projection_dim": 1024,
}

PRESETS: dict[str, Preset] = {
    # The paper does not give the rank; 16 results in its "14M parameters of the total 7.3B".
    "paper": Preset(
        config={"vision_config": VIT_L_14, "prefix_length": 10, "max_objects": 5},
        lora={"r": 16, "lora_alpha": 32, "lora_dropout": 0.05},
        processor={"max_objects": 5},
    ),
    "released-code": Preset(
        config={
            "vision_config": VIT_G_14,
            "prefix_length": 10,
            "num_prefix_layers": 20,
            "max_objects": 10,
            "max_object_slots": 2,
            "project_objects": False,
            "decoding": {
                "num_beams": 10,
                "num_beam_groups": 10,
                "diversity_penalty": 0.5,
                "min_length": 9,
                "max_length": 9,
                "max_new_tokens": 10,
                "keep_ambiguous": True,
            },
        },
        lora={"r": 8, "lora_alpha": 16, "lora_dropout": 0.05},
        processor={"max_objects": 10, "max_object_slots": 2},
    ),
}
"""The paper's settings, and those of its released code, by name."""

ABLATIONS: dict[str, dict[str, bool]] = {
    "Full Model": {"lora": True},
    "w/o Obj. Feature": {"lora": True, "use_object_features": False},
    "w/o Dual-flow Att": {"lora": True, "use_dual_flow_attention": False},
    "w/o Obj. Prefix": {"lora": True, "use_prefix": False},
    "w/o Lora": {"lora": False},
    "w/o (Obj. Prefix & Lora)": {"lora": False, "use_prefix": False},
    "w/o Visual Queries": {"lora": True, "use_visual_query": False},
}
"""Table 3: the row's name -> what it changes. `lora`: whether the language model is adapted."""


def _llama(hidden_size: int, intermediate_size: int, layers: int, heads: int) -> dict[str, Any]:
    # LLaMA's tokenizer has 32,000 tokens; <image> and <object> follow them.
    return {
        "image_token_id": 32000,
        "object_token_id": 32001,
        "text_config": {
            "model_type": "llama",
            "vocab_size": 32002,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
        },
    }


def _opt(hidden_size: int, layers: int) -> dict[str, Any]:
    # OPT's tokenizer has 50,265 tokens, its embeddings 50,272 rows.
    return {
        "image_token_id": 50265,
        "object_token_id": 50266,
        "text_config": {
            "model_type": "opt",
            "vocab_size": 50272,
            "hidden_size": hidden_size,
            "word_embed_proj_dim": hidden_size,
            "ffn_dim": 4 * hidden_size,
            "num_hidden_layers": layers,
            "num_attention_heads": 32,
        },
    }


LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "opt-1.3b": _opt(2048, 24),
    "opt-2.7b": _opt(2560, 32),
    "opt-6.7b": _opt(4096, 32),
    "llama-7b": _llama(4096, 11008, 32, 32),
    "llama-13b": _llama(5120, 13824, 40, 40),
}
"""Fig. 3: the language model's name -> its part of the configuration."""


def check_fields(names: Iterable[str]) -> None:
    """Raise ValueError if one of the names is not a field of `GeMKRConfig`."""
    for name in names:
        if not hasattr(GeMKRConfig, name):
            raise ValueError(f"GeMKRConfig has no field {name!r}.")


def from_preset(
    config_class: type[GeMKRConfig],
    name: str = "paper",
    language_model: str = "llama-7b",
    ablation: str = "Full Model",
    **changes: Any,
) -> GeMKRConfig:
    """Create a configuration of the paper: `GeMKRConfig.from_preset`.

    Args:
        config_class: class of the configuration.
        name: "paper", or "released-code" where the authors' code differs.
        language_model: one of Fig. 3: "opt-1.3b", "opt-2.7b", "opt-6.7b", "llama-7b", "llama-13b".
        ablation: a row of Table 3, a key of `ABLATIONS`. Whether the language model gets LoRA is
            not part of the configuration: see `ABLATIONS[ablation]["lora"]`.
        **changes: fields that differ.

    Raises:
        ValueError: if the preset, language model, row or field is unknown.

    Example:
        >>> GeMKRConfig.from_preset("paper", language_model="opt-1.3b").text_config.hidden_size
        2048
        >>> GeMKRConfig.from_preset("released-code").num_object_slots
        2
    """
    for kind, key, table in (
        ("preset", name, PRESETS),
        ("language model", language_model, LANGUAGE_MODELS),
        ("row of Table 3", ablation, ABLATIONS),
    ):
        if key not in table:
            raise ValueError(f"Unknown {kind} {key!r}; choose among {', '.join(table)}.")
    check_fields(changes)
    switches = {key: value for key, value in ABLATIONS[ablation].items() if key != "lora"}
    fields = {**PRESETS[name].config, **LANGUAGE_MODELS[language_model], **switches}
    return config_class(**{**copy.deepcopy(fields), **changes})


__all__ = ["ABLATIONS", "LANGUAGE_MODELS", "PRESETS", "Preset", "from_preset"]
