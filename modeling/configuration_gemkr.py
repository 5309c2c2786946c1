"""Configuration of GeMKR: a vision tower, a language model, and what joins them."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .presets_gemkr import ABLATIONS, LANGUAGE_MODELS, PRESETS, VIT_L_14, choose

# Decoding of the paper (Implementation Details): 20 beams in 4 groups, clues of at most 15 tokens
# and their end token; diversity 0.5 is the released code's. The score of Eq. 1 has no length
# penalty. The paper gives its penalty for ambiguity no formula and no figure: docs/decoding.md has
# ours. These stay out of generation_config.json: a `num_beam_groups` there makes transformers look
# for a repository on the Hub.
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

FORMAT_VERSION = 1
"""Of checkpoints: raised when older code could no longer read them."""


class GeMKRConfig(PreTrainedConfig):
    """Configuration of `GeMKRForRetrieval`; the defaults are the paper's ViT-L/14 and LLaMA-7B.

    Args:
        vision_config: dict or PreTrainedConfig. A `CLIPVisionConfig` or `SiglipVisionConfig`; its
            hidden size is the `d` of the paper.
        text_config: dict or PreTrainedConfig. Configuration of any causal language model that
            `AutoModelForCausalLM` builds; the width of its input embeddings is the `D` of Eq. 7.
        prefix_length: `l`, vectors put before each vision layer (Eq. 3).
        max_objects: most objects of one image, at most `prefix_length` when objects go into the
            prefix.
        num_prefix_layers: how many of the last vision layers have a prefix; all of them by default.
        max_object_slots: how many of the objects, the most confident first, reach the language
            model; all of them by default. The others only go into the prefix. The processor has the
            same setting.
        project_objects: off: H_R is X_R itself, as in the released code, without `H_R =
            Linear(X_R)`.
        use_visual_query: off: Table 3, "w/o Visual Queries". A language model alone, without a
            vision tower and all that joins them; give the processor `captions` in the place of
            images.
        use_object_features: off: Table 3, "w/o Obj. Feature". No object in the prefix and no
            `<object>` slot.
        use_dual_flow_attention: off: Table 3, "w/o Dual-flow Att". One softmax over prefix and
            tokens, no gate.
        use_prefix: off: Table 3, "w/o Obj. Prefix". The vision tower is plain CLIP; objects only go
            to the language model.
        image_token_id, object_token_id: the tokens `<image>` and `<object>`, whose embeddings Eq. 7
            replaces.
        decoding: defaults of `generate` (num_beams, num_beam_groups, diversity_penalty,
            length_penalty, max_new_tokens) and of `GeMKRRetriever` (min_length, max_length: l_min
            and l_max of a clue; ambiguity_penalty, renormalize, keep_ambiguous, max_pieces: what
            else a clue is and how it is scored; aggregate: a document's score from those of its
            clues, "max" or "logsumexp"). Keys that are left out keep the paper's value.
        initializer_range: standard deviation of the prefix and the projections at the start.
        tokenizer_fingerprint: of the tokenizer that the model was tuned with
            (`tokenizer_fingerprint`): a knowledge base of another one is refused.
        base_models: the published checkpoints that the frozen parts come from: `{"vision": {"name":
            Hub id, "revision": commit}, "text": {...}}`.
        by_reference: the checkpoint holds no weights: the towers are loaded from `base_models`, and
            what joins them is new or comes with an adapter.
        format_version: of the checkpoint; one that is newer than this code is refused.

    Raises:
        ValueError: if the sizes do not fit together; the message names the argument to change.
    """

    model_type = "gemkr"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="clip_vision_model",
            init_kwargs={key: size for key, size in VIT_L_14.items() if key != "model_type"},
        ),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    # Whatever is given (a dict, a configuration, None), the base class makes configurations of it.
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
            # Installed code knows the task itself (gemkr_hf.auto): none need be fetched for it.
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        if self.by_reference and not self.base_models:
            raise ValueError("A checkpoint by reference must say of which base_models.")
        unknown = [name for name in self.decoding or {} if name not in PAPER_DECODING]
        if unknown:
            raise ValueError(
                f"decoding knows no {unknown[0]!r}; it has {', '.join(PAPER_DECODING)}."
            )
        self.decoding = {**PAPER_DECODING, **(self.decoding or {})}
        if self.decoding["num_beams"] % self.decoding["num_beam_groups"] != 0:
            raise ValueError(
                f"decoding: num_beams={self.decoding['num_beams']} is no multiple of "
                f"num_beam_groups={self.decoding['num_beam_groups']}."
            )
        # The two towers tie what their own configurations say; this flag only tells readers.
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        num_layers = self.vision_config.num_hidden_layers
        if self.num_prefix_layers is None:
            self.num_prefix_layers = num_layers
        if not 0 <= self.num_prefix_layers <= num_layers:
            raise ValueError(
                f"num_prefix_layers={self.num_prefix_layers} is not between 0 and the "
                f"{num_layers} layers of the vision tower."
            )
        if self.use_prefix and self.prefix_length < 1:
            raise ValueError(
                "prefix_length must be at least 1; use_prefix=False removes the prefix."
            )
        if self.use_prefix and self.use_object_features and self.max_objects > self.prefix_length:
            raise ValueError(
                f"max_objects={self.max_objects} objects do not fit into a prefix of length "
                f"prefix_length={self.prefix_length}; raise prefix_length or lower max_objects."
            )
        slots = self.max_object_slots
        if slots is not None and not 0 <= slots <= self.max_objects:
            raise ValueError(
                f"max_object_slots={slots} is not between 0 and max_objects={self.max_objects}."
            )
        for name in ("image_token_id", "object_token_id"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ValueError(
                    f"{name}={getattr(self, name)} is no token id; the tokenizer gets <image> and "
                    "<object> by add_image_tokens(tokenizer)."
                )
        if self.image_token_id == self.object_token_id:
            raise ValueError("image_token_id and object_token_id must be two different tokens.")

    @property
    def num_object_slots(self) -> int:
        """Most `<object>` tokens of one prompt."""
        if not (self.use_visual_query and self.use_object_features):
            return 0
        if self.max_object_slots is None:
            return self.max_objects
        return min(self.max_objects, self.max_object_slots)

    @classmethod
    def from_preset(
        cls,
        name: str = "paper",
        language_model: str = "llama-7b",
        ablation: str = "Full Model",
        **changes: Any,
    ) -> GeMKRConfig:
        """A configuration of the paper.

        Args:
            name: "paper", or "released-code" for what the authors' code does otherwise.
            language_model: one of Fig. 3: "opt-1.3b", "opt-2.7b", "opt-6.7b", "llama-7b",
                "llama-13b".
            ablation: A row of Table 3, as `ABLATIONS` spells it. Whether the language model gets
                LoRA is not for the configuration to say: see `ABLATIONS[ablation]["lora"]`.
            **changes: fields that differ.

        Raises:
            ValueError: if there is no such preset, language model or row.

        Examples:
            >>> GeMKRConfig.from_preset("paper", language_model="opt-1.3b").text_config.hidden_size
            2048
            >>> GeMKRConfig.from_preset("released-code").num_object_slots
            2
        """
        switches = dict(choose("row of Table 3", ablation, ABLATIONS))
        switches.pop("lora")
        fields = {
            **choose("preset", name, PRESETS).config,
            **choose("language model", language_model, LANGUAGE_MODELS),
            **switches,
        }
        wrong = [field for field in changes if not hasattr(cls, field)]
        if wrong:
            raise ValueError(f"GeMKRConfig has no field {wrong[0]!r}.")
        return cls(**{**copy.deepcopy(fields), **changes})


GeMKRConfig.register_for_auto_class()

__all__ = ["FORMAT_VERSION", "PAPER_DECODING", "GeMKRConfig"]
