"""Labels and the logits that they need."""

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
