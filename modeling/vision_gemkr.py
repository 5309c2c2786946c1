"""Object-aware prefix tuning (Eq. 3, 4) of a CLIP or SigLIP; dual-flow attention (Eq. 5, 6)."""

from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.clip.modeling_clip import (
    CLIPAttention,
    CLIPEncoderLayer,
    CLIPPreTrainedModel,
    CLIPVisionEmbeddings,
    eager_attention_forward,
)
from transformers.models.siglip.modeling_siglip import (
    SiglipAttention,
    SiglipEncoderLayer,
    SiglipMultiheadAttentionPoolingHead,
    SiglipPreTrainedModel,
    SiglipVisionEmbeddings,
)

from .configuration_gemkr import GeMKRConfig


class ObjectAwarePrefix(nn.Module):
    """Learnable prefixes and gates of all layers, with the projected objects added (Eq. 4).

    One module, because PEFT's `modules_to_save` ignores raw parameters.
    """

    def __init__(self, config: GeMKRConfig) -> None:
        super().__init__()
        vision = config.vision_config
        layers = config.num_prefix_layers or 0
        # X_Pr of Eq. 4, not shared across layers: (layers, l, d)
        self.embeddings = nn.Parameter(
            torch.empty(layers, config.prefix_length, vision.hidden_size)
        )
        # sigma of Eq. 6, one per head: (layers, heads). Vanilla attention has no gate.
        if config.use_dual_flow_attention:
            self.gates = nn.Parameter(torch.empty(layers, vision.num_attention_heads))
        else:
            self.register_parameter("gates", None)

    def forward(
        self, object_states: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute Eq. 4: `X_P^i = X_Pr^i + H_R`, with H_R zero-padded to the prefix length.

        Args:
            object_states: float tensor (images, objects, d). H_R, zero where an image has fewer
                objects. At most `l` objects.

        Returns:
            prefixes: float tensor (layers, images or 1, l, d), gates: float tensor (layers, heads),
            or None without dual-flow attention.
        """
        prefixes = self.embeddings[:, None]
        if object_states is not None and object_states.shape[1] > 0:
            missing = self.embeddings.shape[1] - object_states.shape[1]
            padded = nn.functional.pad(object_states.to(prefixes.dtype), (0, 0, 0, missing))
            prefixes = prefixes + padded[None]
        return prefixes, self.gates


class DualFlowAttention(nn.Module):
    """Attention to tokens and to a prefix (Eq. 5 and 6): a mixin for CLIP's and SigLIP's.

    Without a prefix this is the tower's own attention. With prefix and gate the two softmaxes are
    separate and the gate weighs the prefix part, so a gate of 0 gives exactly the tower's output.
    With a prefix and no gate it is one softmax over `[prefix; tokens]`.
    """

    # Attributes of the tower's own attention class.
    config: Any
    head_dim: Any
    scale: Any
    dropout: Any
    q_proj: Any
    k_proj: Any
    v_proj: Any
    out_proj: Any

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prefix: torch.Tensor | None = None,
        gate: torch.Tensor | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute the attention of one layer.

        Args:
            hidden_states: float tensor (images, tokens, d), H_I of Eq. 6.
            attention_mask: None; images have no padding.
            prefix: float tensor (images, l, d), X_P of Eq. 4.
            gate: float tensor (heads,), sigma of Eq. 6.

        Returns:
            H_O of Eq. 6 after the output projection (images, tokens, d), and the tokens' attention
            weights where the implementation computes them.
        """
        if prefix is None:
            return super().forward(hidden_states, attention_mask, **kwargs)
        prefix = prefix.to(hidden_states.dtype)
        queries = self._heads(self.q_proj(hidden_states))
        keys = self._heads(self.k_proj(hidden_states))
        values = self._heads(self.v_proj(hidden_states))
        prefix_keys = self._heads(self.k_proj(prefix))
        prefix_values = self._heads(self.v_proj(prefix))
        if gate is None:
            keys = torch.cat([prefix_keys, keys], dim=2)
            values = torch.cat([prefix_values, values], dim=2)
            output, weights = self._attend(queries, keys, values, **kwargs)
        else:
            output, weights = self._attend(queries, keys, values, **kwargs)
            prefix_output, _ = self._attend(queries, prefix_keys, prefix_values, **kwargs)
            # (images, tokens, heads, head_dim) times one sigma per head
            output = output + prefix_output * gate.to(output.dtype)[:, None]
        output = output.reshape(hidden_states.shape).contiguous()
        # Through the module, for LoRA and quantization.
        return self.out_proj(output), weights

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        # (images, length, d) -> (images, heads, length, head_dim)
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def _attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute Eq. 5 per head, by the attention implementation of the configuration."""
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        return attention(
            self,
            queries,
            keys,
            values,
            None,
            is_causal=False,
            scaling=self.scale,
            dropout=self.dropout if self.training else 0.0,
            **kwargs,
        )


class DualFlowLayer(nn.Module):
    """Pass prefix and gate to the attention of a layer, a mixin for both towers' layers.

    They are positional: reentrant gradient checkpointing loses the gradient of keyword arguments.
    """

    attention_class: type[nn.Module]
    self_attn: Any

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.self_attn = self.attention_class(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prefix: torch.Tensor | None = None,
        gate: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Run the tower's own layer, with `DualFlowAttention` as its attention."""
        return super().forward(hidden_states, attention_mask, prefix=prefix, gate=gate, **kwargs)


class CLIPDualFlowAttention(DualFlowAttention, CLIPAttention):
    """CLIP's attention with a second flow from a prefix."""


class SiglipDualFlowAttention(DualFlowAttention, SiglipAttention):
    """SigLIP's attention with a second flow from a prefix."""


class CLIPDualFlowLayer(DualFlowLayer, CLIPEncoderLayer):
    """CLIP's layer with dual-flow attention."""

    attention_class = CLIPDualFlowAttention


class SiglipDualFlowLayer(DualFlowLayer, SiglipEncoderLayer):
    """SigLIP's layer with dual-flow attention."""

    attention_class = SiglipDualFlowAttention


class DualFlowEncoder(nn.Module):
    """The layers of a tower, with the names in checkpoints of CLIP and SigLIP."""

    def __init__(self, config: PreTrainedConfig, layer_class: type[nn.Module]) -> None:
        super().__init__()
        layers = [layer_class(config) for _ in range(config.num_hidden_layers)]
        self.layers = nn.ModuleList(layers)

    def forward(
        self,
        inputs_embeds: torch.Tensor,
        prefixes: torch.Tensor | None = None,
        gates: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """Run all layers; `prefixes` and `gates` belong to the last `len(prefixes)` of them."""
        hidden_states = inputs_embeds
        first = len(self.layers) - (0 if prefixes is None else len(prefixes))
        for index, layer in enumerate(self.layers):
            prefix = gate = None
            if prefixes is not None and index >= first:
                prefix = prefixes[index - first].expand(len(hidden_states), -1, -1)
                gate = None if gates is None else gates[index - first]
            hidden_states = layer(hidden_states, None, prefix, gate, **kwargs)
        return BaseModelOutput(last_hidden_state=hidden_states)


class GeMKRVisionTower(CLIPVisionModel):
    """A `CLIPVisionModel`, with the same weights, whose last layers can take a prefix (Eq. 3).

    `forward(pixel_values, prefixes=..., gates=...)` takes images (images, 3, height, width)
    and, by keyword, prefixes (layers, images or 1, l, d) and gates (layers, heads), as
    `ObjectAwarePrefix` returns them. Without prefixes it is plain CLIP; without gates, prefix and
    tokens share one softmax. In its output, `last_hidden_state` is H_v of Eq. 3 and
    `pooler_output` is h_cls.

    It has no further weights: freezing this module freezes the whole visual backbone.
    """

    _no_split_modules = ["CLIPVisionEmbeddings", "CLIPDualFlowLayer"]  # noqa: RUF012

    def __init__(self, config: CLIPVisionConfig) -> None:
        # Not CLIPVisionModel.__init__, which would initialize layers that are replaced below.
        CLIPPreTrainedModel.__init__(self, config)
        self.embeddings = CLIPVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = DualFlowEncoder(config, CLIPDualFlowLayer)  # type: ignore[assignment]
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()


class GeMKRSiglipVisionTower(SiglipVisionModel):
    """A `SiglipVisionModel` whose last layers can take a prefix; see `GeMKRVisionTower`.

    SigLIP has no class token: h_cls is the output of its attention pooling.
    """

    _no_split_modules = ["SiglipVisionEmbeddings", "SiglipDualFlowLayer"]  # noqa: RUF012

    def __init__(self, config: SiglipVisionConfig) -> None:
        if not getattr(config, "vision_use_head", True):
            raise ValueError(
                "This SigLIP has no pooling head (vision_use_head=False), which GeMKR needs for "
                "h_cls of Eq. 7."
            )
        SiglipPreTrainedModel.__init__(self, config)
        self.embeddings = SiglipVisionEmbeddings(config)
        self.encoder = DualFlowEncoder(config, SiglipDualFlowLayer)  # type: ignore[assignment]
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.use_head = True
        self.head = SiglipMultiheadAttentionPoolingHead(config)
        self.post_init()


VISION_TOWERS: dict[str, type[nn.Module]] = {
    "clip_vision_model": GeMKRVisionTower,
    "siglip_vision_model": GeMKRSiglipVisionTower,
}


def build_vision_tower(config: PreTrainedConfig) -> nn.Module:
    """Create the vision tower of a configuration, with random weights.

    Raises:
        ValueError: if towers of that type are not supported.
    """
    if config.model_type not in VISION_TOWERS:
        raise ValueError(
            f"A vision tower of type {config.model_type!r} is not supported; "
            f"use one of {', '.join(VISION_TOWERS)}."
        )
    return VISION_TOWERS[config.model_type](config)


__all__ = [
    "VISION_TOWERS",
    "DualFlowAttention",
    "GeMKRSiglipVisionTower",
    "GeMKRVisionTower",
    "ObjectAwarePrefix",
    "build_vision_tower",
]
