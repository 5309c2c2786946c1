"""Small encoders with new weights, where no published ones fit the benchmark."""

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

from gemkr_hf.baselines.query_encoders import ImageEncoder, ObjectsEncoder, WordsEncoder
from gemkr_hf.baselines.two_towers import TwoTowers


def encoder_tokenizer(tokenizer: Any) -> Any:
    """A language model's tokenizer as encoders need it: padded on the right, and a first token that
    stands for the text."""
    changed = copy.deepcopy(tokenizer)
    changed.padding_side = "right"
    if changed.cls_token_id is None:
        last = changed.eos_token
        first = changed.bos_token or last  # Qwen2 has no begin token
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
    """Small encoders with new weights, their word embeddings those of a language model.

    Args:
        kind: ``words``, ``objects`` or ``image``.
        tokenizer: the language model's.
        embeddings: float ``(vocabulary, d)``; d is the encoders' width.
        vision: the CLIP vision tower, for images and for the width of objects.
        layers: of each encoder.
        seed: of the new weights.
        attention: ``eager`` or ``sdpa``; transformers' choice where None.
    """
    torch.manual_seed(seed)
    width = embeddings.shape[1]
    size: dict[str, Any] = {
        "vocab_size": len(embeddings),
        "hidden_size": width,
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": 2 * width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    positions: dict[str, Any] = {
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
    }
    document = DPRContextEncoder(DPRConfig(**size, **positions, num_hidden_layers=layers))
    # transformers' own deviation for embeddings, which the layers behind expect.
    scaled = embeddings.float() * (0.02 / embeddings.float().std())
    query: Any
    if kind == "words":
        query = WordsEncoder(
            DPRQuestionEncoder(DPRConfig(**size, **positions, num_hidden_layers=layers))
        )
        words = query.text.question_encoder.bert_model.embeddings
    elif kind == "objects":
        query = ObjectsEncoder(
            LxmertModel(
                LxmertConfig(
                    **size,
                    **positions,
                    l_layers=layers,
                    r_layers=1,
                    x_layers=layers,
                    visual_feat_dim=vision.config.hidden_size,
                )
            )
        )
        words = query.text.embeddings
    else:
        # A tower of its own, which is trained with it; without prefix, a CLIP as any other.
        tower = CLIPVisionModel(vision.config)
        tower.load_state_dict(vision.state_dict(), strict=False)
        query = ImageEncoder(
            ViltModel(
                ViltConfig(**size, num_hidden_layers=2 * layers, max_position_embeddings=512)
            ),
            tower,
        )
        words = query.text.embeddings.text_embeddings
    with torch.no_grad():
        for table in (words, document.ctx_encoder.bert_model.embeddings):
            table.word_embeddings.weight.copy_(scaled)
    for part in (query, document):
        _begin_with_words(part)
        for module in part.modules():
            if attention is not None and isinstance(module, PreTrainedModel):
                module.set_attn_implementation(attention)
    return TwoTowers(query, document, encoder_tokenizer(tokenizer))


@torch.no_grad()
def _begin_with_words(model: nn.Module) -> None:
    """Start where the first token gathers all others: values and outputs of the attention are the
    identity, its weights nearly even. Queries and documents with the same words lie close from the
    start, as they do for encoders that were pretrained; from weights drawn at random the names in a
    text were not noticed in 900 steps.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features == module.out_features:
            into = name.endswith(".value") or name.endswith("pooler.dense")
            if into or ("att" in name and name.endswith("output.dense")):
                module.weight.copy_(torch.eye(module.in_features))


__all__ = ["encoder_tokenizer", "new_towers"]
