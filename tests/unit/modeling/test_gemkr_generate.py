"""`GeMKRForRetrieval.generate`, as a user calls it."""

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList

from tests.unit.modeling.modeling_beams import EOS, ClueConstraint, found, some_clues


@pytest.fixture
def model(tiny):
    return tiny.gemkr()


def constraint_for(inputs):
    return ClueConstraint(some_clues(), inputs["input_ids"].shape[1])


def test_a_bare_constraint_works(tiny, model):
    inputs = tiny.inputs((2, 0))
    clues = model.generate(**inputs, logits_processor=constraint_for(inputs))
    assert clues.shape[0] == 2
    prompt = inputs["input_ids"].shape[1]
    for clue in clues[:, prompt:].tolist():
        assert tuple(clue[: clue.index(EOS)]) in some_clues()
    for processors in ([constraint_for(inputs)], LogitsProcessorList([constraint_for(inputs)])):
        assert torch.equal(model.generate(**inputs, logits_processor=processors), clues)


def test_defaults_are_the_configurations(tiny, model):
    inputs = tiny.inputs((2,))
    constraint = constraint_for(inputs)
    model.generate(**inputs, logits_processor=constraint)
    assert constraint.calls[0][0] == 20
    constraint = constraint_for(inputs)
    model.generate(**inputs, logits_processor=constraint, num_beams=6)
    assert constraint.calls[0][0] == 6
    constraint = constraint_for(inputs)
    model.generate(
        **inputs,
        logits_processor=constraint,
        generation_config=GenerationConfig(num_beams=8, eos_token_id=EOS, pad_token_id=0),
    )
    assert constraint.calls[0][0] == 8


def test_the_constraints_length_leaves_room_for_the_end(tiny, model):
    inputs = tiny.inputs((2,))
    prompt = inputs["input_ids"].shape[1]
    assert model.generate(**inputs).shape[1] <= prompt + 16
    constraint = ClueConstraint([tuple(range(4, 24))], prompt)
    constraint.max_length = 20
    clue = model.generate(**inputs, logits_processor=constraint)
    assert clue[0, prompt:].tolist() == [*range(4, 24), EOS]


def test_images_are_encoded_once_per_query(tiny, model):
    inputs = tiny.inputs((2, 0))
    seen = []
    model.vision_tower.register_forward_hook(
        lambda module, arguments, output: seen.append(len(arguments[0]))
    )
    for settings in ({}, {"num_beams": 1}, {"do_sample": True, "num_return_sequences": 3}):
        seen.clear()
        model.generate(**inputs, max_new_tokens=4, **settings)
        assert seen == [2, 2]  # two crops, two images


def test_a_batch_equals_single_queries(tiny, model):
    numbers = (2, None, 0, 3)
    inputs = tiny.inputs(numbers)
    prompt = inputs["input_ids"].shape[1]
    settings = {
        "num_beams": 6,
        "num_beam_groups": 3,
        "num_return_sequences": 4,
        "max_new_tokens": 6,
        "return_dict_in_generate": True,
    }
    batch = model.generate(**inputs, logits_processor=constraint_for(inputs), **settings)
    assert batch.sequences.shape[0] == batch.sequences_scores.shape[0] == 16
    images = 0
    for row, number in enumerate(numbers):
        kept = inputs["attention_mask"][row].bool()
        single = {n: inputs[n][row : row + 1, kept] for n in ("input_ids", "attention_mask")}
        if number is not None:
            for name in ("pixel_values", "object_pixel_values", "object_mask"):
                single[name] = inputs[name][images : images + 1]
            images += 1
        alone = model.generate(**single, logits_processor=constraint_for(single), **settings)
        expected, got = found(alone, single, 0, 4), found(batch, inputs, row, 4)
        assert [clue for _, clue, _ in got] == [clue for _, clue, _ in expected]
        assert [s for s, _, _ in got] == pytest.approx([s for s, _, _ in expected], abs=1e-4)
    assert prompt < batch.sequences.shape[1]


def test_greedy_and_sampling_equal_transformers(tiny, model):
    inputs = tiny.inputs((2, 0))
    prompt = inputs["input_ids"].shape[1]
    greedy = model.generate(**inputs, num_beams=1, max_new_tokens=4)
    with torch.no_grad():
        first = model(**inputs).logits[:, -1].argmax(-1)
    assert torch.equal(greedy[:, prompt], first)
    sampled = model.generate(
        **inputs,
        do_sample=True,
        num_return_sequences=3,
        max_new_tokens=6,
        logits_processor=constraint_for(inputs),
    )
    assert sampled.shape[0] == 6
    for clue in sampled[:, prompt:].tolist():
        assert tuple(clue[: clue.index(EOS)]) in some_clues()


def test_one_group_equals_cores_beam_search_with_images(tiny, model):
    """Core expands the images' features with the rows; the same clues come out."""
    from transformers.generation import GenerationMixin

    inputs = tiny.inputs((2, None, 1))
    settings = {
        "num_beams": 4,
        "num_return_sequences": 4,
        "max_new_tokens": 5,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    core = GenerationMixin.generate(model, **inputs, length_penalty=0.0, **settings)
    ours = model.generate(
        **inputs, num_beam_groups=1, score_eos=True, length_penalty=0.0, **settings
    )
    assert torch.equal(ours.sequences, core.sequences)
    torch.testing.assert_close(ours.sequences_scores, core.sequences_scores, rtol=1e-5, atol=1e-5)
