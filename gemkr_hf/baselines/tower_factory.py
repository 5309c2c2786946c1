"""New small encoders, for benchmarks that no published encoder fits."""

import copy
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    CLIPVisionModel,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    LxmertConfig,
    LxmertModel,
    PreTrainedModel,
    ViltConfig,
    ViltModel,
)

from gemkr_hf.baselines.two_towers import (
    EARLIER_KINDS,
    ImageEncoder,
    ObjectsEncoder,
    TextEncoder,
    TwoTowers,
)
from gemkr_hf.utils.deprecation import warn_renamed


def encoder_tokenizer(tokenizer: Any) -> Any:
    """Return a copy of a language model's tokenizer for encoders: padded on the right, with a first
    token whose state is the vector of the text."""
    changed = copy.deepcopy(tokenizer)
    changed.padding_side = "right"
    if changed.cls_token_id is None:
        last = changed.eos_token
        first = changed.bos_token or last  # Qwen2 has no bos token
        ids = {token: changed.convert_tokens_to_ids(token) for token in (first, last)}
        changed.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{first} $A {last}", special_tokens=list(ids.items())
        )
    return changed


def new_towers(
    kind: str,
    tokenizer: Any,
    embeddings: torch.Tensor,
    vision: Any = None,
    layers: int = 2,
    seed: int = 0,
    attention: str | None = None,
) -> TwoTowers:
    """Return small encoders with new weights and the word embeddings of a language model.

    Args:
        kind: ``text``, ``objects`` or ``image``.
        tokenizer: tokenizer of the language model.
        embeddings: float ``(vocabulary, d)``; d becomes the encoders' width.
        vision: the CLIP vision tower, for images and for the width of object features.
        layers: number of layers of each encoder.
        seed: seed of the new weights.
        attention: ``eager`` or ``sdpa``; None for the default of transformers.
    """
    if kind in EARLIER_KINDS:
        warn_renamed(kind, EARLIER_KINDS[kind])
        kind = EARLIER_KINDS[kind]
    torch.manual_seed(seed)
    width = embeddings.shape[1]
    size: dict[str, Any] = {
        "vocab_size": len(embeddings),
        "hidden_size": width,
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": 2 * width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 512,
    }
    padded: dict[str, Any] = {**size, "pad_token_id": tokenizer.pad_token_id}
    document = DPRContextEncoder(DPRConfig(**padded, num_hidden_layers=layers))
    query: Any
    if kind == "text":
        query = TextEncoder(DPRQuestionEncoder(DPRConfig(**padded, num_hidden_layers=layers)))
        embedding = query.text.question_encoder.bert_model.embeddings
    elif kind == "objects":
        config = LxmertConfig(
            **padded,
            l_layers=layers,
            r_layers=1,
            x_layers=layers,
            visual_feat_dim=vision.config.hidden_size,
        )
        query = ObjectsEncoder(LxmertModel(config))
        embedding = query.text.embeddings
    else:
        # A copy of the tower, which is trained with the encoder. Without its prefix it is a CLIP.
        tower = CLIPVisionModel(vision.config)
        tower.load_state_dict(vision.state_dict(), strict=False)
        query = ImageEncoder(ViltModel(ViltConfig(**size, num_hidden_layers=2 * layers)), tower)
        embedding = query.text.embeddings.text_embeddings
    # The standard deviation of transformers' embeddings, which the layers above expect.
    scaled = embeddings.float() * (0.02 / embeddings.float().std())
    with torch.no_grad():
        for table in (embedding, document.ctx_encoder.bert_model.embeddings):
            table.word_embeddings.weight.copy_(scaled)
    for part in (query, document):
        _initialize_attention(part)
        for module in part.modules():
            if attention is not None and isinstance(module, PreTrainedModel):
                module.set_attn_implementation(attention)
    return TwoTowers(query, document, encoder_tokenizer(tokenizer))


@torch.no_grad()
def _initialize_attention(model: nn.Module) -> None:
    """Set attention values and outputs to the identity, so that the first token averages the text.

    Queries and documents with the same words are then close from the start, as with pretrained
    encoders. With random weights the names in a text had no effect after 900 training steps.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features == module.out_features:
            value = name.endswith((".value", "pooler.dense"))
            if value or ("att" in name and name.endswith("output.dense")):
                module.weight.copy_(torch.eye(module.in_features))


__all__ = ["encoder_tokenizer", "new_towers"]
