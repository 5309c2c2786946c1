"""A SigLIP instead of CLIP: the same equations."""

import pytest
import torch
from transformers import AutoModel

from gemkr_hf.modeling import GeMKRForRetrieval


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gate_zero_equals_plain_siglip_exactly(tiny, attention):
    model = tiny.gemkr(tower=tiny.siglip, open_gates=False)
    model.set_attn_implementation(attention)
    siglip = tiny.siglip().vision_model
    siglip.set_attn_implementation(attention)
    inputs = tiny.inputs((3, 1))
    with torch.no_grad():
        objects = model.get_object_features(inputs["object_pixel_values"], inputs["object_mask"])
        prefixes, gates = model.prefix(model.object_projection(objects))
        ours = model.vision_tower(inputs["pixel_values"], prefixes=prefixes, gates=gates)
        theirs = siglip(inputs["pixel_values"])
        crops = siglip(inputs["object_pixel_values"][0]).pooler_output
    assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)
    assert torch.equal(ours.pooler_output, theirs.pooler_output)
    torch.testing.assert_close(objects[0], crops)


def test_eq_6_of_one_layer(tiny):
    """Two softmaxes, the second one weighed by the gate, in float64."""
    model = tiny.gemkr(tower=tiny.siglip).double()
    attention = model.vision_tower.encoder.layers[1].self_attn
    hidden, prefix = torch.randn(1, 4, 16).double(), torch.randn(1, 3, 16).double()
    gate = torch.tensor([0.5, -1.0, 0.0, 2.0]).double()

    def heads(linear, states):
        return (states[0] @ linear.weight.T + linear.bias).view(-1, 4, 4).transpose(0, 1)

    q, k_h, v_h = (heads(getattr(attention, f"{x}_proj"), hidden) for x in "qkv")
    k_p, v_p = (heads(getattr(attention, f"{x}_proj"), prefix) for x in "kv")
    own = torch.softmax(q @ k_h.transpose(1, 2) / 2, dim=-1) @ v_h
    other = torch.softmax(q @ k_p.transpose(1, 2) / 2, dim=-1) @ v_p
    expected = (own + other * gate[:, None, None]).transpose(0, 1).reshape(4, 16)
    expected = expected @ attention.out_proj.weight.T + attention.out_proj.bias
    with torch.no_grad():
        output, _ = attention(hidden, None, prefix, gate)
    torch.testing.assert_close(output[0], expected)


def test_saved_loaded_and_trained(tiny, tmp_path):
    model, inputs = tiny.gemkr(tower=tiny.siglip), tiny.inputs((2, 0, None))
    model.save_pretrained(tmp_path / "checkpoint")
    loaded = AutoModel.from_pretrained(tmp_path / "checkpoint", trust_remote_code=True)
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    tiny.siglip().save_pretrained(tmp_path / "siglip")
    tiny.language_model(scale=3.0).save_pretrained(tmp_path / "text")
    parts = GeMKRForRetrieval.from_pretrained_parts(
        tmp_path / "siglip", tmp_path / "text", image_token_id=60, object_token_id=61
    )
    theirs = tiny.siglip().vision_model.state_dict()
    assert all(torch.equal(parts.vision_tower.state_dict()[name], theirs[name]) for name in theirs)
    model.freeze_backbones()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.prefix.gates.grad.abs().sum() > 0
