"""Tiny random models: a CLIP of width 16, language models of width 24, a GeMKR of both."""

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    SiglipConfig,
    SiglipModel,
)

from gemkr_hf.modeling import GeMKRForRetrieval

VOCAB, PAD, BOS, EOS = 60, 3, 1, 2
IMAGE, OBJECT = 60, 61  # beyond the vocabulary, as tokens are that a processor adds

_SPECIAL = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
LANGUAGE_MODELS = {
    "llama": {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "qwen2": {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "qwen3": {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
    },
    "gpt2": {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {
        "hidden_size": 24,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 16,
    },
}


def make_language_model(kind="llama", seed=1, scale=1.0):
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, vocab_size=VOCAB, **LANGUAGE_MODELS[kind], **_SPECIAL)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # larger than the initial 0.02, which avoids ties
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    return model


def make_clip(seed=2):
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
        projection_dim=8,
    )
    text = CLIPTextConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        vocab_size=30,
        max_position_embeddings=10,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    return CLIPModel(config).eval()


def make_siglip(seed=2):
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    config = SiglipConfig(
        text_config={**sizes, "vocab_size": 30, "max_position_embeddings": 10},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
    )
    return SiglipModel(config).eval()


def make_gemkr(kind="llama", seed=3, open_gates=True, tower=make_clip, **config):
    """A GeMKR whose gates are open (random), so that the prefix takes part."""
    language_model = make_language_model(kind, scale=3.0)
    vision = tower() if config.get("use_visual_query", True) else None
    torch.manual_seed(seed)
    config = {"prefix_length": 4, "max_objects": 3, **config}
    model = GeMKRForRetrieval.from_pretrained_parts(
        vision=vision,
        text=language_model,
        image_token_id=IMAGE,
        object_token_id=OBJECT,
        **config,
    )
    with torch.no_grad():
        if model.alignment is not None:
            model.alignment.weight.mul_(20)
        if model.prefix is not None:
            model.prefix.embeddings.mul_(20)
            if open_gates and model.prefix.gates is not None:
                model.prefix.gates.uniform_(-1, 1)
    return model


def make_inputs(numbers=(2, 0, 3), question=(5, 6, 7), seed=4):
    """Left-padded prompts `bos <image> <object>* question`, one per number of objects.

    A number of None is a row without an image.
    """
    torch.manual_seed(seed)
    prompts = [
        [BOS, *([] if number is None else [IMAGE] + [OBJECT] * number), *question]
        for number in numbers
    ]
    longest = max(map(len, prompts))
    input_ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    attention_mask = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    )
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    with_image = [number for number in numbers if number is not None]
    if with_image:
        inputs["pixel_values"] = torch.randn(len(with_image), 3, 16, 16)
        inputs["object_pixel_values"] = torch.randn(len(with_image), 3, 3, 16, 16)
        inputs["object_mask"] = torch.tensor(
            [[place < number for place in range(3)] for number in with_image]
        )
    return inputs


@pytest.fixture(scope="session")
def tiny():
    """The makers of this file, for tests that cannot import it."""
    from types import SimpleNamespace

    return SimpleNamespace(
        gemkr=make_gemkr,
        clip=make_clip,
        siglip=make_siglip,
        language_model=make_language_model,
        inputs=make_inputs,
        vocab=VOCAB,
        pad=PAD,
        bos=BOS,
        eos=EOS,
        image=IMAGE,
        object=OBJECT,
    )
