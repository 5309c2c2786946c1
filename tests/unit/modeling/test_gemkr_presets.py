"""The paper's settings, those of its released code, Table 3 and Fig. 3."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from gemkr_hf.modeling import ABLATIONS, LANGUAGE_MODELS, PRESETS, GeMKRConfig, GeMKRForRetrieval

# 1 + 1 + ... of the released models, without the two tokens of the images.
SIZES = {
    "opt-1.3b": 1_315_758_080,
    "opt-2.7b": 2_651_596_800,
    "opt-6.7b": 6_658_473_984,
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
}


def on_meta(config: GeMKRConfig) -> GeMKRForRetrieval:
    with torch.device("meta"):
        return GeMKRForRetrieval(config)


def parameters(model, trainable=False):
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def test_trainable_parameters_of_the_paper():
    """ "only 14M parameters of the total 7.3B" (Main Results); docs/model.md has the table."""
    model = on_meta(GeMKRConfig.from_preset("paper"))
    total = parameters(model)
    adapted = get_peft_model(model, LoraConfig(**model.lora_arguments(**PRESETS["paper"].lora)))
    counts = {
        name: parameters(getattr(adapted.base_model.model, name).modules_to_save.default)
        for name in model.modules_to_save
    }
    counts["lora"] = sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    assert counts == {
        "prefix": 24 * 10 * 1024 + 24 * 16,
        "object_projection": 1024 * 1024 + 1024,
        "alignment": 1024 * 4096 + 4096,
        "lora": 32 * 2 * 2 * 16 * 4096,
    }
    assert sum(counts.values()) == parameters(adapted, trainable=True) == 13_882_752
    assert total == 7_047_105_920
    assert not any(p.requires_grad for n, p in adapted.named_parameters() if "vision_tower" in n)


def test_the_released_code():
    model = on_meta(GeMKRConfig.from_preset("released-code"))
    assert model.config.decoding["num_beam_groups"] == model.config.decoding["num_beams"] == 10
    assert model.config.decoding["min_length"] == model.config.decoding["max_length"] == 9
    assert model.prefix.embeddings.shape == (20, 10, 1408)
    assert model.modules_to_save == ["prefix", "alignment"]  # raw object features
    assert model.config.num_object_slots == PRESETS["released-code"].processor["max_object_slots"]
    assert model.lora_arguments(**PRESETS["released-code"].lora)["r"] == 8


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models_of_fig_3(name):
    model = on_meta(GeMKRConfig.from_preset(language_model=name))
    added = 2 if name.startswith("llama") else 0
    width = model.config.text_config.hidden_size
    assert parameters(model.language_model) == SIZES[name] + 2 * added * width
    slots = {model.config.image_token_id, model.config.object_token_id}
    assert max(slots) < model.config.text_config.vocab_size


@pytest.mark.parametrize("row", ABLATIONS)
def test_rows_of_table_3(tiny, row):
    switches = {name: value for name, value in ABLATIONS[row].items() if name != "lora"}
    config = GeMKRConfig.from_preset(ablation=row)
    assert {name: getattr(config, name) for name in switches} == switches
    model = tiny.gemkr(**switches)
    objects = model.config.num_object_slots
    numbers = (None,) if not model.config.use_visual_query else (objects and 2,)
    inputs = tiny.inputs(numbers)
    inputs["labels"] = inputs["input_ids"].clone()
    if ABLATIONS[row]["lora"]:
        model = get_peft_model(model, LoraConfig(**model.lora_arguments()))
    else:
        model.freeze_backbones()
    model(**inputs).loss.backward()
    gradients = [p.grad is not None for p in model.parameters() if p.requires_grad]
    assert gradients and all(gradients)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_raw_object_features_in_prefix_and_slots(tiny):
    model = tiny.gemkr(project_objects=False, max_object_slots=1)
    inputs = tiny.inputs((3, 2))
    objects = model.get_object_features(inputs["object_pixel_values"], inputs["object_mask"])
    with torch.no_grad():
        features = model.get_image_features(
            inputs["pixel_values"], inputs["object_pixel_values"], inputs["object_mask"]
        ).pooler_output
        prefixes, gates = model.prefix(objects)
        h_cls = model.vision_tower(
            inputs["pixel_values"], prefixes=prefixes, gates=gates
        ).pooler_output
        expected = model.alignment(torch.stack([h_cls, objects[:, 0]], dim=1))
    torch.testing.assert_close(features, expected)
    # One slot an image, whatever the number of objects.
    one = tiny.inputs((1, 1))
    inputs |= {name: one[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        first = model(**inputs).logits
        # The second object is still seen, through the prefix.
        inputs["object_pixel_values"] = inputs["object_pixel_values"].clone()
        inputs["object_pixel_values"][:, 1] += 1
        assert (model(**inputs).logits - first).abs().max() > 1e-4


def test_text_only_model(tiny):
    model = tiny.gemkr(use_visual_query=False)
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"language_model"}
    words, images = tiny.inputs((None, None)), tiny.inputs((0,))
    assert model.generate(**words, num_beams=2, max_new_tokens=3).shape[0] == 2
    for call in (model, model.generate):
        with pytest.raises(ValueError, match="use_visual_query=False and takes no images"):
            call(**images)
    with pytest.raises(ValueError, match="vision=None is for a model with"):
        GeMKRForRetrieval.from_pretrained_parts(
            vision=None, text=tiny.language_model(), image_token_id=60, object_token_id=61
        )
