"""Labels and their logits."""

import pytest
import torch


def test_labels_need_all_logits(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    labels = inputs["input_ids"].clamp_max(50)
    for kept in (1, 3, torch.tensor([0, 2])):
        with pytest.raises(ValueError, match="leave logits_to_keep out"):
            model(**inputs, labels=labels, logits_to_keep=kept)
    assert model(**inputs, labels=labels, logits_to_keep=0).loss > 0
    assert model(**inputs, logits_to_keep=1).logits.shape[1] == 1


def test_the_head_is_computed_where_the_clues_are_and_the_loss_is_the_same(tiny):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    labels = inputs["input_ids"].clamp_max(50)
    labels[:, :-4] = -100
    whole = model(**inputs, labels=labels)
    cut = model(**inputs, labels=labels[:, -5:], logits_to_keep=5)
    assert cut.logits.shape[1] == 5
    torch.testing.assert_close(cut.loss, whole.loss)
    cut.loss.backward()
