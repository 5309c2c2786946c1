"""Diverse beam search against core's beam search and against a slow reference."""

import pytest
import torch

from gemkr_hf.modeling import DiverseBeamSearch, diverse_beam_search
from tests.unit.modeling.modeling_beams import (
    EOS,
    ClueConstraint,
    EndTokenBonus,
    diverse_beams,
    found,
    log_probs_of,
    some_clues,
)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("number_of_ends", [1, 2])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_one_group_equals_cores_beam_search(tiny, kind, number_of_ends, length_penalty):
    model = tiny.language_model(kind, scale=3.0)
    inputs = tiny.inputs((None, None))
    inputs["input_ids"][0, 0], inputs["attention_mask"][0, 0] = tiny.pad, 0
    ends = [EOS, 41][:number_of_ends]
    settings = {
        "max_new_tokens": 8,
        "length_penalty": length_penalty,
        "return_dict_in_generate": True,
        "eos_token_id": ends,
        "logits_processor": [EndTokenBonus(ends)],
    }
    core = model.generate(
        **inputs, num_beams=5, num_return_sequences=5, output_scores=True, **settings
    )
    ours = diverse_beam_search(
        model,
        inputs,
        num_beams=5,
        num_beam_groups=1,
        num_return_sequences=5,
        score_eos=True,
        **settings,
    )
    assert torch.equal(ours.sequences, core.sequences)
    torch.testing.assert_close(ours.sequences_scores, core.sequences_scores, rtol=1e-5, atol=1e-5)
    assert torch.isin(core.sequences[:, 4:-1], torch.tensor(ends)).any()


def test_one_group_equals_cores_constrained_beam_search(tiny):
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None, None))
    constraint = ClueConstraint(some_clues(), inputs["input_ids"].shape[1])
    settings = {"max_new_tokens": 6, "length_penalty": 0.0, "return_dict_in_generate": True}
    core = model.generate(
        **inputs,
        num_beams=4,
        num_return_sequences=4,
        output_scores=True,
        logits_processor=[constraint],
        **settings,
    )
    ours = diverse_beam_search(
        model,
        inputs,
        constraint,
        num_beams=4,
        num_beam_groups=1,
        num_return_sequences=4,
        score_eos=True,
        **settings,
    )
    assert torch.equal(ours.sequences, core.sequences)
    torch.testing.assert_close(ours.sequences_scores, core.sequences_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number_of_beams", [2, 5, 20])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("constrained", [False, True])
def test_one_group_equals_cores_beam_search_to_the_last_bit(
    tiny, constrained, padded, number_of_beams
):
    """Where the prompt is computed for each beam, as core computes it."""
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None, None, None))
    assert model.dtype == torch.float32
    if padded:
        inputs["input_ids"][0, :2], inputs["attention_mask"][0, :2] = tiny.pad, 0
    constraint = ClueConstraint(some_clues(), inputs["input_ids"].shape[1])
    settings = {
        "max_new_tokens": 6, "length_penalty": 0.0, "return_dict_in_generate": True,
        "num_beams": number_of_beams, "num_return_sequences": number_of_beams,
        "logits_processor": [constraint if constrained else EndTokenBonus([EOS])],
    }  # fmt: skip
    core = model.generate(**inputs, output_scores=True, **settings)
    ours = diverse_beam_search(
        model, inputs, num_beam_groups=1, diversity_penalty=0.0, score_eos=True,
        shared_prompt=False, **settings,
    )  # fmt: skip
    alive = core.sequences_scores > -1e8
    assert alive.sum() >= 3
    assert torch.equal(ours.sequences_scores[alive], core.sequences_scores[alive])
    assert torch.equal(ours.sequences[alive][:, : core.sequences.shape[1]], core.sequences[alive])


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize(("beams", "groups"), [(6, 3), (4, 4), (6, 1), (4, 2)])
@pytest.mark.parametrize("penalty", [0.0, 0.5, 3.0])
def test_groups_equal_the_slow_reference(tiny, constrained, beams, groups, penalty):
    model, inputs = tiny.language_model(scale=2.0), tiny.inputs((None, None))
    inputs["input_ids"][0, 0], inputs["attention_mask"][0, 0] = tiny.pad, 0
    inputs["input_ids"][0, 2] = 9
    prompt, keep, steps = inputs["input_ids"].shape[1], 8, 5
    constraint = ClueConstraint(some_clues(), prompt) if constrained else None
    output = diverse_beam_search(
        model,
        inputs,
        constraint,
        num_beams=beams,
        num_beam_groups=groups,
        diversity_penalty=penalty,
        num_return_sequences=keep,
        max_new_tokens=steps,
        return_dict_in_generate=True,
    )
    for query in range(2):
        expected = diverse_beams(
            model,
            {name: value[query : query + 1] for name, value in inputs.items()},
            beams,
            groups,
            penalty,
            steps,
            keep,
            EOS,
            constraint.allowed if constrained else None,
        )
        got = found(output, inputs, query, keep)
        assert [clue for _, clue, _ in got] == [clue for _, clue, _ in expected]
        assert [score for score, _, _ in got] == pytest.approx(
            [s for s, _, _ in expected], abs=1e-4
        )
        assert [group for _, _, group in got] == [group for _, _, group in expected]


def test_scores_are_eq_1_over_the_clue(tiny):
    """Sums of unconstrained log-probabilities; the forced end token counts on request only."""
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None,))
    constraint = ClueConstraint(some_clues(), inputs["input_ids"].shape[1])
    settings = {
        "num_beams": 6,
        "num_beam_groups": 2,
        "max_new_tokens": 6,
        "num_return_sequences": 5,
        "return_dict_in_generate": True,
    }
    for score_eos in (False, True):
        output = diverse_beam_search(model, inputs, constraint, score_eos=score_eos, **settings)
        for score, clue, _ in found(output, inputs, 0, 5):
            counted = clue if score_eos else clue[:-1]
            expected = sum(
                log_probs_of(model, inputs, list(clue[:place]))[token]
                for place, token in enumerate(counted)
            )
            assert score == pytest.approx(expected, abs=1e-4)


def test_a_wide_beam_finds_every_clue_in_order(tiny):
    """With a beam for everything the search is exhaustive, beyond num_beams results too."""
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None,))
    clues = some_clues(number=20)
    constraint = ClueConstraint(clues, inputs["input_ids"].shape[1])
    output = diverse_beam_search(
        model,
        inputs,
        constraint,
        num_beams=len(clues),
        num_beam_groups=1,
        num_return_sequences=len(clues) + 3,
        max_new_tokens=6,
        return_dict_in_generate=True,
    )
    got = found(output, inputs, 0, len(clues) + 3)
    expected = {
        (*clue, EOS): sum(
            log_probs_of(model, inputs, list(clue[:place]))[token]
            for place, token in enumerate(clue)
        )
        for clue in clues
    }
    assert [clue for _, clue, _ in got] == sorted(expected, key=expected.get, reverse=True)
    empty = output.sequences[len(clues) :]
    assert torch.isneginf(output.sequences_scores[len(clues) :]).all()
    assert (output.beam_groups[len(clues) :] == -1).all()
    prompt = inputs["input_ids"].shape[1]
    assert torch.equal(empty[:, :prompt], inputs["input_ids"].expand(3, -1))
    assert (empty[:, prompt:] == tiny.pad).all()


def test_results_may_outnumber_beams(tiny):
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None,))
    clues = some_clues(number=80, longest=5, highest=8)
    constraint = ClueConstraint(clues, inputs["input_ids"].shape[1])
    output = diverse_beam_search(
        model,
        inputs,
        constraint,
        num_beams=4,
        num_beam_groups=2,
        num_return_sequences=6,
        max_new_tokens=6,
        return_dict_in_generate=True,
    )
    got = found(output, inputs, 0, 6)
    assert len(got) > 4
    assert len({clue for _, clue, _ in got}) == len(got)
    assert [score for score, _, _ in got] == sorted((s for s, _, _ in got), reverse=True)


def test_dead_ends_never_come_back(tiny):
    """A dead row is all -inf, or an end token at a very low score, as core can bear it."""

    class DeadEnds(ClueConstraint):
        def __call__(self, input_ids, scores):
            masked = super().__call__(input_ids, scores)
            dead = (masked == -torch.inf).all(-1)
            masked[dead, EOS] = -1e9
            return masked

    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None,))
    for kind in (ClueConstraint, DeadEnds):
        constraint = kind([(5, 6, 7), (8, 9)], inputs["input_ids"].shape[1])
        constraint.next[(5, 6, 7)] = set()  # ambiguous to the end
        output = diverse_beam_search(
            model,
            inputs,
            constraint,
            num_beams=4,
            num_beam_groups=2,
            num_return_sequences=3,
            max_new_tokens=8,
            return_dict_in_generate=True,
        )
        assert [clue for _, clue, _ in found(output, inputs, 0, 3)] == [(8, 9, EOS)]


def test_the_prompt_is_computed_once_and_the_constraint_once_a_step(tiny):
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None, None))
    prompt = inputs["input_ids"].shape[1]
    constraint = ClueConstraint(some_clues(shortest=4, longest=4), prompt)
    shapes = []
    model.model.embed_tokens.register_forward_hook(
        lambda module, arguments, output: shapes.append(tuple(arguments[0].shape))
    )
    diverse_beam_search(
        model,
        inputs,
        constraint,
        num_beams=6,
        num_beam_groups=3,
        max_new_tokens=8,
        num_return_sequences=50,
    )
    assert shapes == [(2, prompt)] + [(12, 1)] * 4
    assert constraint.calls == [(12, prompt + step) for step in range(5)]


def test_stops_early_when_nothing_better_can_come(tiny):
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None,))
    # The short clue is found in the second step; the long one falls behind it soon.
    constraint = ClueConstraint([(5,), (6, 7, 8, 9, 10, 11)], inputs["input_ids"].shape[1])
    diverse_beam_search(
        model,
        inputs,
        constraint,
        num_beams=2,
        num_beam_groups=1,
        max_new_tokens=10,
    )
    assert len(constraint.calls) < 7


def test_prefix_allowed_tokens_fn(tiny):
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None, None))
    prompt = inputs["input_ids"].shape[1]
    constraint = ClueConstraint(some_clues(), prompt)
    queries = set()

    def allowed(query, tokens):
        queries.add(query)
        return list(constraint.allowed(tokens[prompt:].tolist())) or [EOS]

    settings = {
        "num_beams": 4,
        "num_beam_groups": 2,
        "max_new_tokens": 6,
        "num_return_sequences": 3,
    }
    by_function = diverse_beam_search(model, inputs, prefix_allowed_tokens_fn=allowed, **settings)
    assert torch.equal(by_function, diverse_beam_search(model, inputs, constraint, **settings))
    assert queries == {0, 1}


def test_a_static_cache_is_an_error(tiny):
    with pytest.raises(ValueError, match="leave cache_implementation out"):
        diverse_beam_search(
            tiny.language_model(),
            torch.tensor([[1, 5, 6]]),
            num_beams=2,
            num_beam_groups=1,
            max_new_tokens=3,
            cache_implementation="static",
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 5, "num_beam_groups": 2}, "must be a multiple"),
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"num_return_sequences": 0}, "num_return_sequences must be at least 1"),
        ({"diversity_penalty": -1.0}, "must not be negative"),
    ],
)
def test_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        DiverseBeamSearch(**settings)


def test_the_old_switch_between_searches_has_no_effect(tiny):
    model, inputs = tiny.language_model(scale=3.0), tiny.inputs((None,))
    settings = {"num_beams": 4, "num_beam_groups": 2, "max_new_tokens": 3}
    plain = diverse_beam_search(model, inputs, **settings)
    with pytest.warns(FutureWarning, match="'tree_search' is deprecated"):
        old = diverse_beam_search(model, inputs, **settings, tree_search=False)
    assert torch.equal(old, plain)
