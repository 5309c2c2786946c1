"""Preference tuning: which clues are preferred, and that they become more probable."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gemkr_hf import GeMKRRetriever
from gemkr_hf.index import FMIndex
from gemkr_hf.toy.stand_ins.assemble import load_untuned_model
from gemkr_hf.training.arguments import PreferenceConfig, TuningConfig
from gemkr_hf.training.preferences import (
    PreferenceCollator,
    almost_distinctive,
    collect_preferences,
    tune_preferences,
)

pytest.importorskip("trl", reason="preference tuning needs TRL, which needs Python 3.11")


def common(one, other):
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def test_almost_distinctive_clues_share_the_longest_beginning(data) -> None:
    index, rng = data.knowledge_base.index, np.random.default_rng(0)
    made = 0
    for clue in data.train["clue"]:
        other = almost_distinctive(index, clue, rng)
        if other is None:
            continue
        made += 1
        assert index.count([other])[0] > 0
        rows = index.lookup_doc([clue, other])
        assert rows[0] != rows[1] or rows[0] < 0
        shared = common(clue, other.tolist())
        assert shared >= 1
        # No longer common beginning leads to another document.
        for longer in range(shared + 1, len(clue)):
            [following] = index.get_next([clue[:longer]])
            for token in following[following != clue[longer]]:
                assert index.lookup_doc([[*clue[:longer], int(token)]])[0] == rows[0]
    assert made > 0.9 * len(data.train)


def test_no_hard_negative_without_a_common_beginning() -> None:
    index = FMIndex.build([[1, 2, 3], [4, 5, 6]], vocab_size=8)
    assert almost_distinctive(index, [1, 2, 3], np.random.default_rng(0)) is None
    index = FMIndex.build([[1, 2, 3], [1, 2, 6]], vocab_size=8)
    assert almost_distinctive(index, [1, 2, 3], np.random.default_rng(0)).tolist() == [1, 2, 6]


@pytest.fixture(scope="module")
def model(data):
    return load_untuned_model(data.processor)


def collect(data, model, **options):
    return collect_preferences(
        GeMKRRetriever(model, data.processor, data.knowledge_base),
        list(data.benchmark.questions["train"])[:6],
        data.benchmark.images,
        data.train,
        PreferenceConfig(**options),
        data.prepared,
    )


def test_clues_that_led_to_relevant_documents_are_preferred(data, model) -> None:
    pairs = collect(data, model)
    relevant = {
        record["question_id"]: record["relevant_ids"]
        for record in data.benchmark.questions["train"]
    }
    assert 6 <= len(pairs) <= 12
    for pair in pairs:
        chosen, rejected = data.knowledge_base.lookup([pair["chosen"], pair["rejected"]])
        assert data.knowledge_base[int(chosen)]["id"] in relevant[pair["question_id"]]
        assert data.knowledge_base[int(rejected)]["id"] not in relevant[pair["question_id"]]
        assert not pair["hard"]


def test_hard_negatives_are_almost_distinctive(data, model) -> None:
    pairs = collect(data, model, pairs=3, hard_negatives=2)
    assert {False, True} == set(pairs["hard"])
    for pair in pairs:
        if pair["hard"]:
            assert common(pair["chosen"], pair["rejected"]) >= 1


def test_a_number_of_questions_is_drawn(data, model) -> None:
    pairs = collect(data, model, questions=2)
    assert len(set(pairs["question_id"])) == 2


def log_probs(model, data, pairs):
    batch = PreferenceCollator(data.processor, data.prepared)(list(pairs))
    counted = batch.pop("completion_mask")[:, 1:].bool()
    model.eval()
    with torch.no_grad():
        logits = model(**batch).logits[:, :-1].float().log_softmax(-1)
    own = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (own * counted).sum(1).chunk(2)


def test_compared_clues_have_no_end_token(data, model) -> None:
    pairs = collect(data, model).select(range(3))
    batch = PreferenceCollator(data.processor, data.prepared)(list(pairs))
    counted = [
        row[mask.bool()].tolist()
        for row, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert counted == [*pairs["chosen"], *pairs["rejected"]]
    assert len(batch["pixel_values"]) == 6


def test_preferred_clues_become_more_probable_than_others(data, tmp_path) -> None:
    model = load_untuned_model(data.processor)
    pairs = collect(data, model, pairs=2, hard_negatives=1)
    chosen, rejected = log_probs(model, data, pairs)
    tuning = TuningConfig(lora_dropout=0.0, logging_steps=1)
    config = PreferenceConfig(
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        num_train_epochs=4,
        warmup_steps=0,
        beta=0.5,
        sft_weight=0.1,
    )
    tuned, history = tune_preferences(
        model, data.processor, pairs, data.prepared, tmp_path, tuning, config
    )
    better, worse = log_probs(tuned, data, pairs)
    assert ((better - worse) > (chosen - rejected)).float().mean() > 0.9
    margins = [entry["rewards/margins"] for entry in history if "rewards/margins" in entry]
    assert margins[0] == pytest.approx(0.0, abs=1e-3)  # it starts where the reference is
    assert margins[-1] > 0
    # The model is unchanged.
    assert "forward" not in tuned.__dict__
    assert not [name for name, _ in tuned.named_parameters() if "lora" in name]


def test_log_probabilities_are_those_of_the_model(data, tmp_path) -> None:
    """What TRL computes from the model is what Eq. 1 gives."""
    model = load_untuned_model(data.processor)
    pairs = collect(data, model).select(range(4))
    chosen, rejected = log_probs(model, data, pairs)
    _, history = tune_preferences(
        model,
        data.processor,
        pairs,
        data.prepared,
        tmp_path,
        TuningConfig(lora_dropout=0.0, logging_steps=1),
        PreferenceConfig(learning_rate=1e-9, per_device_train_batch_size=4, warmup_steps=0),
    )
    assert history[0]["logps/chosen"] == pytest.approx(float(chosen.mean()), rel=1e-4)
    assert history[0]["logps/rejected"] == pytest.approx(float(rejected.mean()), rel=1e-4)
    assert history[0]["loss"] == pytest.approx(np.log(2), rel=1e-4)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="beta must be positive"):
        PreferenceConfig(beta=0)
    with pytest.raises(ValueError, match=r"hard_negatives must be in 0\.\.2 \(pairs\), got 3"):
        replace(PreferenceConfig(), hard_negatives=3)


def test_only_mistakes_leaves_out_right_answers(data, model) -> None:
    pairs = collect(data, model, only_mistakes=True)
    retriever = GeMKRRetriever(model, data.processor, data.knowledge_base)
    asked = {record["question_id"]: record for record in data.benchmark.questions["train"]}
    first = {}
    for name in {*collect(data, model)["question_id"]}:
        record = asked[name]
        hits = retriever.retrieve(
            data.benchmark.images[record["image_id"]], record["question"], k=10
        )
        first[name] = hits[0].document["id"] in record["relevant_ids"]
    assert {name for name, right in first.items() if not right} == {*pairs["question_id"]}
