"""Generated text has no slots: images belong to prompts."""

import pytest
import torch
from transformers import GenerationConfig


@pytest.fixture
def eager(tiny):
    """A model that would write nothing but slots, then the token 9."""
    model = tiny.gemkr()
    head = model.language_model.lm_head
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    with torch.no_grad():
        head.bias[[tiny.image, tiny.object]] = 100.0
        head.bias[9] = 50.0
    return model


SETTINGS = {
    "greedy": {"num_beams": 1},
    "sampling": {"do_sample": True, "num_beams": 1},
    "diverse beams": {"num_beams": 4},
    "a configuration": {"generation_config": GenerationConfig(num_beams=2)},
}


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_slots_are_never_generated(tiny, eager, settings, use_cache):
    inputs = tiny.inputs((2, 0, None))
    prompt = inputs["input_ids"].shape[1]
    clues = eager.generate(**inputs, **settings, max_new_tokens=4, use_cache=use_cache)[:, prompt:]
    assert not torch.isin(clues, torch.tensor([tiny.image, tiny.object])).any()
    assert (clues == 9).any(1).all()


def test_other_suppressed_tokens_stay_suppressed(tiny, eager):
    inputs = tiny.inputs((2, 0))
    prompt = inputs["input_ids"].shape[1]
    for where in ("argument", "given configuration", "own configuration"):
        settings = {"num_beams": 1, "max_new_tokens": 4}
        if where == "argument":
            settings["suppress_tokens"] = [9]
        elif where == "given configuration":
            settings["generation_config"] = GenerationConfig(suppress_tokens=[9])
        else:
            eager.generation_config.suppress_tokens = [9]
        clues = eager.generate(**inputs, **settings)[:, prompt:]
        assert not torch.isin(clues, torch.tensor([9, tiny.image, tiny.object])).any(), where
