"""Eq. 3 to 8 against slow references written from the equations, in float64."""

import math

import pytest
import torch
from torch.nn.functional import layer_norm
from transformers import CLIPVisionModel


def attend(queries, keys, values):
    """Eq. 5 for one head: one query, one key at a time."""
    rows = []
    for query in queries:
        exponents = [math.exp(float(query @ key) / math.sqrt(len(query))) for key in keys]
        weights = [exponent / sum(exponents) for exponent in exponents]
        rows.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
    return torch.stack(rows)


def reference_tower(tower, pixels, prefixes=None, gates=None):
    """H_v of one image (tokens, d), layer by layer from Eq. 3 to 6; `prefixes` is a list."""
    config = tower.config
    heads, eps = config.num_attention_heads, config.layer_norm_eps
    size = config.hidden_size // heads

    def norm(module, states):
        return layer_norm(states, states.shape[-1:], module.weight, module.bias, eps)

    hidden = norm(tower.pre_layrnorm, tower.embeddings(pixels[None])[0])
    for index, layer in enumerate(tower.encoder.layers):
        attention = layer.self_attn
        normed = norm(layer.layer_norm1, hidden)
        output = torch.zeros_like(hidden)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)

            def project(linear, states, part=part):
                return states @ linear.weight[part].T + linear.bias[part]

            q = project(attention.q_proj, normed)
            k_h, v_h = project(attention.k_proj, normed), project(attention.v_proj, normed)
            if prefixes is None:
                output[:, part] = attend(q, k_h, v_h)
                continue
            prefix = prefixes[index]
            k_p, v_p = project(attention.k_proj, prefix), project(attention.v_proj, prefix)
            if gates is None:  # vanilla attention over [X_P; H_I]
                output[:, part] = attend(q, torch.cat([k_p, k_h]), torch.cat([v_p, v_h]))
            else:  # Eq. 6
                output[:, part] = attend(q, k_p, v_p) * gates[index][head] + attend(q, k_h, v_h)
        hidden = hidden + output @ attention.out_proj.weight.T + attention.out_proj.bias
        normed = norm(layer.layer_norm2, hidden)
        inner = normed @ layer.mlp.fc1.weight.T + layer.mlp.fc1.bias
        inner = inner * torch.sigmoid(1.702 * inner)
        hidden = hidden + inner @ layer.mlp.fc2.weight.T + layer.mlp.fc2.bias
    return hidden, norm(tower.post_layernorm, hidden[0])


@torch.no_grad()
def reference_features(model, pixels, crops):
    """H'_v (1 + objects, D) of one image and its crops, Eq. 3 to 7."""
    config = model.config
    projected = []
    for crop in crops if config.use_object_features else []:
        _, pooled = reference_tower(model.vision_tower, crop)
        projected.append(model.object_projection.weight @ pooled + model.object_projection.bias)
    prefixes = gates = None
    if config.use_prefix:
        prefixes = []
        for learned in model.prefix.embeddings:
            prefix = learned.clone()
            for place, h_r in enumerate(projected):  # Eq. 4, zeros beyond the objects
                prefix[place] += h_r
            prefixes.append(prefix)
        gates = model.prefix.gates
    _, h_cls = reference_tower(model.vision_tower, pixels, prefixes, gates)
    rows = [h_cls, *projected]
    return torch.stack([model.alignment.weight @ row + model.alignment.bias for row in rows])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"use_dual_flow_attention": False},
        {"use_object_features": False},
        {"use_prefix": False},
    ],
    ids=["full", "vanilla", "no-objects", "no-prefix"],
)
def test_image_features_follow_eq_3_to_7(tiny, switches, attention):
    model = tiny.gemkr(**switches).double()
    model.set_attn_implementation(attention)
    inputs = tiny.inputs(numbers=(2, 0, 3))
    pixels, crops = inputs["pixel_values"].double(), inputs["object_pixel_values"].double()
    with torch.no_grad():
        features = model.get_image_features(pixels, crops, inputs["object_mask"]).pooler_output
    close = 1e-10 if attention == "sdpa" else 1e-6  # CLIP's eager softmax is float32
    for image, number in enumerate((2, 0, 3)):
        expected = reference_features(model, pixels[image], crops[image][:number])
        torch.testing.assert_close(
            features[image][: len(expected)], expected, rtol=close, atol=close
        )


def test_prefix_only_on_the_last_layers(tiny):
    model = tiny.gemkr(num_prefix_layers=1).double()
    pixels = tiny.inputs(numbers=(0,))["pixel_values"].double()
    assert model.prefix.embeddings.shape == (1, 4, 16)
    with torch.no_grad():
        hidden = with_prefix(model, pixels).last_hidden_state
        layers = model.vision_tower.encoder.layers
        plain = layers[1](layers[0](first_hidden(model.vision_tower, pixels)))
        expected = layers[2](plain, None, model.prefix.embeddings[0][None], model.prefix.gates[0])
    torch.testing.assert_close(hidden, expected)


def with_prefix(model, pixels, objects=None):
    prefixes, gates = model.prefix(objects)
    return model.vision_tower(pixels, prefixes=prefixes, gates=gates)


def first_hidden(tower, pixels):
    return tower.pre_layrnorm(tower.embeddings(pixels))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gate_zero_equals_plain_clip_exactly(tiny, attention):
    model = tiny.gemkr(open_gates=False)
    model.set_attn_implementation(attention)
    assert (model.prefix.gates == 0).all()
    clip = tiny.clip().vision_model
    assert type(clip) is CLIPVisionModel
    clip.set_attn_implementation(attention)
    inputs = tiny.inputs(numbers=(3, 1))
    with torch.no_grad():
        objects = model._project_objects(inputs["object_pixel_values"], inputs["object_mask"], None)
        assert objects.abs().sum() > 0
        ours = with_prefix(model, inputs["pixel_values"], objects)
        theirs = clip(inputs["pixel_values"])
    assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)
    assert torch.equal(ours.pooler_output, theirs.pooler_output)


def test_object_features_equal_clips_pooled_output(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs(numbers=(2, 0))
    features = model.get_object_features(inputs["object_pixel_values"], inputs["object_mask"])
    with torch.no_grad():
        expected = tiny.clip().vision_model(inputs["object_pixel_values"][0][:2]).pooler_output
    torch.testing.assert_close(features[0, :2], expected)
    assert (features[0, 2:] == 0).all() and (features[1] == 0).all()
    assert not features.requires_grad


def test_loss_is_eq_8_on_the_clue_only(tiny):
    model = tiny.gemkr().double()
    inputs = tiny.inputs(numbers=(2, None))
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    clue = torch.tensor([[11, 12, 13], [14, 15, 16]])
    prompt = inputs["input_ids"]
    inputs["input_ids"] = torch.cat([prompt, clue], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(clue)], dim=1)
    labels = torch.cat([torch.full_like(prompt, -100), clue], dim=1)
    with torch.no_grad():
        output = model(**inputs, labels=labels)
        under_accumulation = model(**inputs, labels=labels, num_items_in_batch=torch.tensor(24))
    expected = 0.0
    for row in range(2):
        for place in range(prompt.shape[1], inputs["input_ids"].shape[1]):
            logits = output.logits[row, place - 1]
            token = int(inputs["input_ids"][row, place])
            expected -= math.log(float(logits[token].exp() / logits.exp().sum()))
    assert float(output.loss) * 6 == pytest.approx(expected, rel=1e-6)
    assert float(under_accumulation.loss) * 24 == pytest.approx(expected, rel=1e-6)


def test_slots_are_filled_with_the_rows_of_eq_7_only(tiny):
    from gemkr_hf.modeling.modeling_gemkr import fill_slots, find_slots

    model, inputs = tiny.gemkr(), tiny.inputs(numbers=(2, None, 0))
    ids, mask = inputs["input_ids"], inputs["object_mask"]
    features = torch.randn(2, 4, 24)
    embeddings = model.get_input_embeddings()
    slots = find_slots(ids, None, embeddings, model.config)
    embedded = fill_slots(embeddings(ids), slots, features, mask)
    for row, rows in enumerate([features[0, :3], features[0, :0], features[1, :1]]):
        slots = (ids[row] == tiny.image) | (ids[row] == tiny.object)
        assert torch.equal(embedded[row][slots], rows)
        assert torch.equal(embedded[row][~slots], model.get_input_embeddings()(ids[row][~slots]))
