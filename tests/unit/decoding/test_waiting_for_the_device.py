"""A step reads from the device once: no other operation needs a value on the host."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from gemkr_hf.decoding import FMIndexConstraint, TreeSearch
from gemkr_hf.decoding import tree_attention as engines
from gemkr_hf.index import FMIndex

EOS, VOCAB = 2, 40

# What makes the host wait for the device: values as Python numbers, and shapes that depend on them.
WAITING = {
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique_consecutive",
    "aten._unique2", "aten.equal", "aten.is_nonzero",
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).rsplit(".", 1)[0]
        by_mask = name.startswith("aten.index") and any(
            isinstance(at, torch.Tensor) and at.dtype == torch.bool
            for at in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        self.names["aten.nonzero" if by_mask else name] += 1
        return function(*args, **(kwargs or {}))

    def waiting(self) -> set[str]:
        return set(self.names) & WAITING


@pytest.fixture(scope="module")
def index() -> FMIndex:
    rng = np.random.default_rng(0)
    documents = [rng.integers(4, 14, rng.integers(3, 30)).tolist() for _ in range(60)]
    return FMIndex.build(documents, vocab_size=VOCAB)


def test_the_test_sees_what_waits() -> None:
    with Operations() as seen:
        values = torch.arange(3)
        values[values > 0].sum().item()
    assert {"aten._local_scalar_dense", "aten.nonzero"} <= seen.waiting()


@pytest.mark.parametrize("options", [{}, {"renormalize": True}, {"ambiguity_penalty": 0.5}])
def test_a_mask(index, options) -> None:
    constraint = FMIndexConstraint(index, EOS, 2, 4, **options)
    ids = torch.full((6, 3), 5)
    for step in range(5):
        with Operations() as seen:
            allowed = constraint(ids, torch.randn(6, VOCAB))
        assert not seen.waiting(), step
        # Beams change places, and one of them ends.
        ids = torch.cat([ids.flip(0), allowed.flip(0).argmax(-1, keepdim=True)], dim=1)


@pytest.mark.parametrize("static", [False, True])
def test_a_step_of_the_tree(index, static, monkeypatch) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, eos_token_id=EOS, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    passes: list[Operations] = []
    compute = engines.TreeAttention.compute

    def watched(self, nodes):
        passes.append(Operations())
        with passes[-1]:
            return compute(self, nodes)

    monkeypatch.setattr(engines.TreeAttention, "compute", watched)
    constraint = FMIndexConstraint(index, EOS, 4, 8)
    search = TreeSearch(model, constraint, 6, 2, 0.5, documents=True, static_cache=static)
    search.run({"input_ids": torch.tensor([[1, 5, 6], [1, 7, 8]])})
    assert len(passes) >= 2
    for seen in passes:
        assert seen.names["aten.mm"] + seen.names["aten.addmm"] > 0
        assert not seen.waiting()
