"""Quantized language models: saved and loaded exactly."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from gemkr_hf.modeling import GeMKRForRetrieval

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


def few_bits(bits: int) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)


def text_checkpoint(tiny, folder, **changes):
    config = AutoConfig.for_model(
        "llama", vocab_size=tiny.vocab, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4, pad_token_id=tiny.pad, eos_token_id=tiny.eos,
        **changes,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def of_parts(tiny, text, **text_options):
    return GeMKRForRetrieval.from_pretrained_parts(
        tiny.clip(),
        text,
        text_options=text_options,
        image_token_id=tiny.image,
        object_token_id=tiny.object,
        prefix_length=4,
        max_objects=3,
    )


def quantized_layers(model) -> set[str]:
    kinds = ("Linear4bit", "Linear8bitLt")
    return {name for name, module in model.named_modules() if type(module).__name__ in kinds}


@pytest.mark.parametrize("tied", [False, True], ids=["head", "tied head"])
@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_model_of_parts_round_trip(tiny, tmp_path, bits, tied):
    text = text_checkpoint(tiny, tmp_path / "text", tie_word_embeddings=tied)
    model, inputs = of_parts(tiny, text, quantization_config=few_bits(bits)), tiny.inputs((2, 0))
    for name in ("once", "twice"):
        model.save_pretrained(tmp_path / name)
        loaded, report = GeMKRForRetrieval.from_pretrained(
            tmp_path / name, output_loading_info=True
        )
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys"))
        assert {layer.partition(".")[0] for layer in quantized_layers(loaded)} == {"language_model"}
        # After saving: on some CPUs bitsandbytes repacks weights at the first step, and back.
        with torch.no_grad():
            assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
        model = loaded
    saved = json.loads((tmp_path / "twice" / "config.json").read_text())
    assert saved["quantization_config"][f"load_in_{bits}bit"] is True


def test_skipped_layers_stay_unquantized(tiny, tmp_path):
    text = text_checkpoint(tiny, tmp_path / "text")
    options = BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=["lm_head", "o_proj"])
    model, inputs = of_parts(tiny, text, quantization_config=options), tiny.inputs((2, 0))
    model.save_pretrained(tmp_path / "model")
    loaded = GeMKRForRetrieval.from_pretrained(tmp_path / "model")
    assert quantized_layers(loaded) == quantized_layers(model)
    assert not any(name.endswith("o_proj") for name in quantized_layers(loaded))
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_adapters_of_a_quantized_model(tiny, tmp_path):
    peft = pytest.importorskip("peft")
    text = text_checkpoint(tiny, tmp_path / "text")
    model = of_parts(tiny, text, quantization_config=few_bits(4))
    assert model.is_loaded_in_4bit
    adapted = peft.get_peft_model(model, peft.LoraConfig(**model.lora_arguments(r=2)))
    layers = [module for _, module in adapted.named_modules() if hasattr(module, "lora_A")]
    assert {type(layer).__name__ for layer in layers} == {"Linear4bit"}


def test_other_quantization_is_rejected_before_writing(tiny, tmp_path):
    model = tiny.gemkr()
    model.language_model.hf_quantizer = object()
    with pytest.raises(ValueError, match="cannot be saved: its language model was quantized"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
