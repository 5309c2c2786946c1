"""What a user of `GeMKRForRetrieval` relies on: batches, padding, switches, training, errors."""

import pytest
import torch

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval
from gemkr_hf.modeling.generation_gemkr import CACHE, CACHE_NAMES

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def row_of(inputs, row, numbers):
    """One row of a batch alone, without its padding."""
    kept = inputs["attention_mask"][row].bool()
    single = {name: inputs[name][row : row + 1, kept] for name in ("input_ids", "attention_mask")}
    if numbers[row] is not None:
        image = sum(number is not None for number in numbers[:row])
        for name in ("pixel_values", "object_pixel_values", "object_mask"):
            single[name] = inputs[name][image : image + 1]
    return single


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2", "opt"])
def test_a_batch_equals_its_rows(tiny, kind):
    numbers = (2, 0, None, 3)
    model, inputs = tiny.gemkr(kind), tiny.inputs(numbers)
    with torch.no_grad():
        batch = model(**inputs)
        for row in range(len(numbers)):
            single = model(**row_of(inputs, row, numbers))
            length = single.logits.shape[1]
            torch.testing.assert_close(batch.logits[row, -length:], single.logits[0], **CLOSE)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2", "opt"])
def test_more_left_padding_changes_nothing(tiny, kind):
    model, inputs = tiny.gemkr(kind), tiny.inputs((2, 1))
    padded = dict(inputs)
    for name, value in (("input_ids", tiny.pad), ("attention_mask", 0)):
        padded[name] = torch.nn.functional.pad(inputs[name], (5, 0), value=value)
    with torch.no_grad():
        short, long = model(**inputs).logits, model(**padded).logits
    for row in range(2):
        kept = inputs["attention_mask"][row].bool()
        torch.testing.assert_close(long[row, 5:][kept], short[row][kept], **CLOSE)


def test_text_only_equals_the_language_model(tiny):
    model, language_model = tiny.gemkr(), tiny.language_model(scale=3.0)
    ids = torch.tensor([[tiny.bos, 9, 8, 7]])
    with torch.no_grad():
        ours, theirs = model(input_ids=ids), language_model(input_ids=ids)
    assert torch.equal(ours.logits[..., : tiny.vocab], theirs.logits)
    assert ours.image_hidden_states is None


def test_cached_features_replace_images(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0, 1))
    with torch.no_grad():
        whole = model(**inputs)
        objects = model.get_object_features(inputs["object_pixel_values"], inputs["object_mask"])
        crops = inputs.pop("object_pixel_values")
        from_objects = model(**inputs, object_features=objects)
        features = model.get_image_features(
            inputs.pop("pixel_values"), crops, inputs["object_mask"]
        ).pooler_output
        from_features = model(**inputs, image_features=features)
    assert torch.equal(whole.logits, from_objects.logits)
    assert torch.equal(whole.logits, from_features.logits)
    assert whole.image_hidden_states.shape == (3, 4, 24)


def test_images_and_objects_matter(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2,))
    changed_image = {**inputs, "pixel_values": -inputs["pixel_values"]}
    changed_object = {**inputs, "object_pixel_values": inputs["object_pixel_values"].flip(1)}
    with torch.no_grad():
        logits = model(**inputs).logits[:, -1]
        for changed in (changed_image, changed_object):
            assert (model(**changed).logits[:, -1] - logits).abs().max() > 1e-3


@pytest.mark.parametrize("name", CACHE_NAMES)  # before and since transformers 5.24
def test_the_cache_continues_a_prompt(tiny, name):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    clue = torch.tensor([[11, 12], [13, 14]])
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(clue)], dim=1)
    with torch.no_grad():
        whole = model(
            **{
                **inputs,
                "input_ids": torch.cat([inputs["input_ids"], clue], dim=1),
                "attention_mask": mask,
            }
        )
        cache = model(**inputs, use_cache=True)[CACHE]
        rest = model(input_ids=clue, attention_mask=mask, **{name: cache})
    torch.testing.assert_close(rest.logits, whole.logits[:, -2:], **CLOSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pixel_values": None, "object_pixel_values": None, "object_mask": None},
            "<image> tokens",
        ),
        ({"object_mask": torch.tensor([[True, False, False]])}, "2 <object> tokens for 1 objects"),
        ({"object_pixel_values": None, "object_mask": None}, "2 <object> tokens for 0 objects"),
        ({"object_mask": torch.tensor([[True, True]])}, "object_mask"),
        ({"image_features": torch.zeros(1, 3, 24)}, "not both"),
    ],
)
def test_mismatched_slots_raise_a_clear_error(tiny, change, message):
    model, inputs = tiny.gemkr(), tiny.inputs((2,))
    with pytest.raises(ValueError, match=message):
        model(**{**inputs, **change})


def test_two_images_in_one_prompt_are_rejected(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((0,))
    inputs["input_ids"] = torch.tensor([[tiny.bos, tiny.image, tiny.image, 5, 6]])
    inputs["attention_mask"] = torch.ones(1, 5, dtype=torch.long)
    with pytest.raises(ValueError, match="at most one image"):
        model(**inputs)


def test_more_objects_than_prefix_vectors(tiny):
    model = tiny.gemkr()
    with pytest.raises(ValueError, match="5 objects do not fit into a prefix of length 4"):
        model.get_image_features(
            torch.randn(1, 3, 16, 16), object_pixel_values=torch.randn(1, 5, 3, 16, 16)
        )


def test_invalid_configurations(tiny):
    with pytest.raises(ValueError, match="max_objects=11"):
        GeMKRConfig(max_objects=11)
    with pytest.raises(ValueError, match="num_prefix_layers=25"):
        GeMKRConfig(num_prefix_layers=25)
    with pytest.raises(ValueError, match="two different tokens"):
        GeMKRConfig(image_token_id=5, object_token_id=5)
    with pytest.raises(ValueError, match="'dinov2' is not supported"):
        GeMKRForRetrieval(GeMKRConfig(vision_config={"model_type": "dinov2"}))
    with pytest.raises(ValueError, match="vision_use_head=False"):
        headless = {"model_type": "siglip_vision_model", "vision_use_head": False}
        GeMKRForRetrieval(GeMKRConfig(vision_config=headless))
    with pytest.raises(ValueError, match="choose among paper, released-code"):
        GeMKRConfig.from_preset("published")
    with pytest.raises(ValueError, match="choose among opt-"):
        GeMKRConfig.from_preset(language_model="llama-3")
    with pytest.raises(ValueError, match="choose among Full Model"):
        GeMKRConfig.from_preset(ablation="no prefix")


def test_only_prefix_gates_and_projections_train(tiny):
    model = tiny.gemkr()
    model.freeze_backbones()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {
        "prefix.embeddings",
        "prefix.gates",
        "object_projection.weight",
        "object_projection.bias",
        "alignment.weight",
        "alignment.bias",
    }


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(tiny, reentrant):
    gradients = []
    for checkpointing in (False, True):
        model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
        model.freeze_backbones()
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model(**inputs, labels=inputs["input_ids"].clamp_max(50)).loss.backward()
        gradients.append(
            {name: p.grad for name, p in model.named_parameters() if name.startswith("prefix")}
        )
    plain, checkpointed = gradients
    assert set(plain) == {"prefix.embeddings", "prefix.gates"}
    for name, gradient in plain.items():
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(checkpointed[name], gradient)


def test_gate_zero_gets_gradients_first(tiny):
    model, inputs = tiny.gemkr(open_gates=False), tiny.inputs((2, 1))
    model.freeze_backbones()
    model(**inputs, labels=inputs["input_ids"].clamp_max(50)).loss.backward()
    assert model.prefix.gates.grad.abs().sum() > 0
    assert (model.prefix.embeddings.grad == 0).all()


def test_bfloat16(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    with torch.no_grad():
        expected = model(**inputs).logits
        logits = model.to(torch.bfloat16)(**inputs).logits
    assert logits.dtype == torch.bfloat16
    assert (
        torch.nn.functional.cosine_similarity(logits.float().flatten(), expected.flatten(), dim=0)
        > 0.99
    )


def test_tuple_output(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((1,))
    with torch.no_grad():
        as_tuple = model(**inputs, labels=inputs["input_ids"].clamp_max(50), return_dict=False)
    assert isinstance(as_tuple, tuple) and as_tuple[0].dim() == 0


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_the_vision_tower_compiles_without_graph_breaks(tiny, tower):
    model, inputs = tiny.gemkr(tower=getattr(tiny, tower)), tiny.inputs((2, 0))
    with torch.no_grad():
        objects = model._project_objects(inputs["object_pixel_values"], inputs["object_mask"], None)
        prefixes, gates = model.prefix(objects)
        expected = model.vision_tower(inputs["pixel_values"], prefixes=prefixes, gates=gates)
        compiled = torch.compile(model.vision_tower, fullgraph=True, backend="aot_eager")
        found = compiled(inputs["pixel_values"], prefixes=prefixes, gates=gates)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output)


def test_images_with_inputs_embeds(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    with torch.no_grad():
        expected = model(**inputs).logits
        embedded = model.get_input_embeddings()(inputs.pop("input_ids"))
        assert torch.equal(model(inputs_embeds=embedded, **inputs).logits, expected)


def test_objects_at_any_position_of_the_mask(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2,))
    moved = {**inputs, "object_mask": inputs["object_mask"].flip(1)}
    moved["object_pixel_values"] = inputs["object_pixel_values"][:, [2, 0, 1]]
    model.prefix.gates.data.zero_()  # in the prefix places differ
    with torch.no_grad():
        torch.testing.assert_close(model(**moved).logits, model(**inputs).logits, **CLOSE)
