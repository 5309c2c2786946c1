"""Configuration of GeMKR: a vision tower, a language model, and what joins them."""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

# Decoding of the paper (Implementation Details): 20 beams in 4 groups, clues of at most 15 tokens
# and their end token; diversity 0.5 is the released code's. The score of Eq. 1 has no length
# penalty. These stay out of generation_config.json: a `num_beam_groups` there makes transformers
# look for a repository on the Hub.
PAPER_DECODING: dict[str, Any] = {
    "num_beams": 20,
    "num_beam_groups": 4,
    "diversity_penalty": 0.5,
    "length_penalty": 0.0,
    "max_new_tokens": 16,
    "aggregate": "max",
}


class GeMKRConfig(PreTrainedConfig):
    """Configuration of `GeMKRForRetrieval`; the defaults are the paper's ViT-L/14 and LLaMA-7B.

    Parameters
    ----------
    vision_config : dict or PreTrainedConfig
        A `CLIPVisionConfig`; its hidden size is the `d` of the paper.
    text_config : dict or PreTrainedConfig
        Configuration of any causal language model that `AutoModelForCausalLM` builds; the width of
        its input embeddings is the `D` of Eq. 7.
    prefix_length : int
        `l`, vectors put before each vision layer (Eq. 3).
    max_objects : int
        Most objects of one picture, at most `prefix_length` when objects go into the prefix.
    num_prefix_layers : int, optional
        How many of the last vision layers have a prefix; all of them by default.
    use_object_features : bool
        Off: Table 3, "w/o Obj. Feature". No object in the prefix and no `<object>` slot.
    use_dual_flow_attention : bool
        Off: Table 3, "w/o Dual-flow Att". One softmax over prefix and tokens, no gate.
    use_prefix : bool
        Off: Table 3, "w/o Obj. Prefix". The vision tower is plain CLIP; objects only go to the
        language model.
    image_token_id, object_token_id : int
        The tokens `<image>` and `<object>`, whose embeddings Eq. 7 replaces.
    decoding : dict
        Defaults of `generate` (num_beams, num_beam_groups, diversity_penalty, length_penalty,
        max_new_tokens) and of `GeMKRRetriever` (aggregate: a document's score from those of its
        clues, "max" or "logsumexp"). Keys that are left out keep the paper's value.
    initializer_range : float
        Standard deviation of the prefix and the projections at the start.

    Raises
    ------
    ValueError
        If the sizes do not fit together; the message names the argument to change.
    """

    model_type = "gemkr"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="clip_vision_model",
            init_kwargs={
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "patch_size": 14,
                "image_size": 224,
                "projection_dim": 768,
            },
        ),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    # Whatever is given (a dict, a configuration, None), the base class makes configurations of it.
    vision_config: Any = None
    text_config: Any = None
    prefix_length: int = 10
    max_objects: int = 5
    num_prefix_layers: int | None = None
    use_object_features: bool = True
    use_dual_flow_attention: bool = True
    use_prefix: bool = True
    image_token_id: int = 32000
    object_token_id: int = 32001
    decoding: Any = None
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.decoding = {**PAPER_DECODING, **(self.decoding or {})}
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
        if self.image_token_id == self.object_token_id:
            raise ValueError("image_token_id and object_token_id must be two different tokens.")


GeMKRConfig.register_for_auto_class()

__all__ = ["PAPER_DECODING", "GeMKRConfig"]
