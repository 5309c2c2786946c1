"""Mistakes of a user raise a clear error before long work."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import MambaConfig, MambaForCausalLM, T5Config, T5ForConditionalGeneration

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval

TOKENS = {"image_token_id": 60, "object_token_id": 61, "prefix_length": 4, "max_objects": 3}


def test_unsupported_language_models(tiny) -> None:
    text = tiny.language_model()
    adapted = get_peft_model(text, LoraConfig(r=2, target_modules=["q_proj"]))
    t5 = T5ForConditionalGeneration(
        T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=60)
    )
    mamba = MambaForCausalLM(
        MambaConfig(hidden_size=16, state_size=4, num_hidden_layers=1, vocab_size=60)
    )
    for model, message in (
        (adapted, "wrapped by PEFT"),
        (t5, "not a causal language model"),
        (mamba, "caches no keys and values"),
        (type(text), "LlamaForCausalLM is not a causal language model"),
    ):
        with pytest.raises(ValueError, match=message):
            GeMKRForRetrieval.from_pretrained_parts(tiny.clip(), model, **TOKENS)


def test_invalid_names_and_numbers(tiny, tmp_path) -> None:
    parts = GeMKRForRetrieval.from_pretrained_parts
    text = tiny.language_model()
    with pytest.raises(ValueError, match="no field 'foo'"):
        parts(tiny.clip(), text, **TOKENS, foo=1)
    with pytest.raises(ValueError, match="no field 'foo'"):
        GeMKRConfig.from_preset("paper", foo=3)
    with pytest.raises(ValueError, match="Unknown key 'num_beam' in decoding"):
        GeMKRConfig(decoding={"num_beam": 2})
    with pytest.raises(ValueError, match="num_beams=5 is not a multiple of num_beam_groups=2"):
        GeMKRConfig(decoding={"num_beams": 5, "num_beam_groups": 2})
    with pytest.raises(ValueError, match="not between 0 and max_objects=3"):
        parts(tiny.clip(), text, **TOKENS, max_object_slots=7)
    with pytest.raises(ValueError, match="object_token_id=None is not a valid token id"):
        parts(tiny.clip(), text, image_token_id=5, object_token_id=None)
    with pytest.raises(ValueError, match="vision=None"):
        parts(tiny.clip(), text, **TOKENS, use_visual_query=False)
    for vision, language_model in ((tmp_path / "none", text), (tiny.clip(), tmp_path / "none")):
        with pytest.raises(FileNotFoundError, match="Folder not found"):
            parts(vision, language_model, **TOKENS)
    with pytest.raises(ValueError, match="CLIPModel is not a vision tower"):
        parts(type(tiny.clip()), text, **TOKENS)


def test_mismatched_tensors(tiny) -> None:
    model, inputs = tiny.gemkr(), tiny.inputs((2, 1))
    with pytest.raises(ValueError, match="object_pixel_values has 2 images"):
        model(**{**inputs, "pixel_values": inputs["pixel_values"][:1]})
    narrow = {**inputs, "object_features": torch.zeros(2, 3, 8)}
    narrow.pop("object_pixel_values")
    with pytest.raises(ValueError, match="object_features have width 8"):
        model(**narrow)

    class Base:
        def constraint(self):
            """As a knowledge base has it."""

    with pytest.raises(TypeError, match=r"Base is not a logits processor: pass its constraint\(\)"):
        model.generate(**inputs, logits_processor=Base())
