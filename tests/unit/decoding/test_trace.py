"""What a search says about itself, against the model and the documents."""

import json
import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gemkr_hf.decoding import FMIndexConstraint, TreeSearch, plot_beams
from gemkr_hf.decoding.search_trace import SearchTrace
from gemkr_hf.index import FMIndex

EOS, VOCAB, PROMPT = 2, 30, [1, 5, 6]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, initializer_range=0.5, eos_token_id=EOS, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().double()


@pytest.fixture(scope="module")
def index() -> FMIndex:
    rng = np.random.default_rng(0)
    documents = [rng.integers(4, 12, rng.integers(4, 20)).tolist() for _ in range(40)]
    return FMIndex.build(documents, vocab_size=VOCAB)


def search(model, index, **options) -> TreeSearch:
    constraint = FMIndexConstraint(index, EOS, 3, 5)
    return TreeSearch(model, constraint, 6, 2, 0.5, wanted=4, documents=True, **options)


def traced(model, index, **options) -> tuple[list, SearchTrace]:
    one = search(model, index, **options)
    [found] = one.run({"input_ids": torch.tensor([PROMPT])}, return_trace=True)
    [trace] = one.traces
    return found, trace


def test_the_search_is_the_same_with_a_trace(model, index) -> None:
    found, _ = traced(model, index)
    one = search(model, index)
    assert one.run({"input_ids": torch.tensor([PROMPT])}) == [found]
    assert one.traces == []


def test_every_figure_of_every_node(model, index) -> None:
    found, trace = traced(model, index)
    assert len(trace.nodes) > 15
    assert trace.nodes[0].token == trace.nodes[0].parent == trace.nodes[0].step == -1
    for number, node in enumerate(trace.nodes):
        clue = trace.clue(number)
        assert len(clue) == node.depth
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *clue]])).logits[0, len(PROMPT) - 1 :]
        log_probs = logits.log_softmax(-1)
        assert node.score == pytest.approx(
            sum(float(log_probs[at, token]) for at, token in enumerate(clue)), abs=1e-9
        )
        if node.state in ("found", "dropped"):
            assert node.allowed == 0 and math.isnan(node.entropy)
            assert (node.row >= 0) == (node.state == "found")
            continue
        if math.isnan(node.entropy):
            assert node.state == "left"  # the search was over before it was computed
            continue
        [allowed] = index.get_next([clue])
        assert node.allowed == len(allowed)
        last = log_probs[-1]
        assert node.entropy == pytest.approx(float(-(last.exp() * last).sum()))
        kept = float(last.exp()[torch.from_numpy(allowed).long()].sum())
        assert node.dropped_mass == pytest.approx(1 - kept, abs=1e-9)
    assert [tuple(trace.clue(number)) for number in trace.found] == [c.token_ids for c in found]
    assert [trace.nodes[number].score for number in trace.found] == [c.score for c in found]


def test_steps_lead_from_what_was_seen_to_what_was_chosen(model, index) -> None:
    _, trace = traced(model, index)
    assert trace.steps[0].seen == [0]
    for step in trace.steps:
        assert len(step.chosen) == 2 and all(len(group) <= 3 + 3 for group in step.chosen)
        for group in step.chosen:
            for number in group:
                assert trace.nodes[number].parent in step.seen or not step.seen
        assert step.allowed == [trace.nodes[number].allowed for number in step.seen]
    # All that was chosen is in the tree, and nothing else but the empty clue.
    chosen = {n for step in trace.steps for group in step.chosen for n in group}
    assert chosen | {0} == set(range(len(trace.nodes)))


def test_as_json_and_as_a_table(model, index) -> None:
    _, trace = traced(model, index)
    again = json.loads(json.dumps(trace.to_dict()))
    assert len(again["nodes"]) == len(trace.nodes) and again["found"] == trace.found
    lines = str(trace).splitlines()
    assert len(lines) == len(trace.steps) + 1
    assert lines[1].split()[:3] == ["0", "1", "8"]  # the empty clue: all eight tokens


@pytest.mark.parametrize("max_leaves", [3, 60])
def test_the_image(model, index, max_leaves, tmp_path) -> None:
    found, trace = traced(model, index)
    figure = plot_beams(trace, path=tmp_path / "beams.png", max_leaves=max_leaves, title="Q $x$?")
    assert (tmp_path / "beams.png").stat().st_size > 5000
    texts = [text.get_text() for text in figure.axes[0].texts]
    best = f"1.  {found[0].score:.2f} → document {found[0].row}"
    assert best in texts
    ranked = [text for text in texts if "document" in text]
    assert len(ranked) == min(max_leaves, len(found))
    assert {str(token) for token in found[0].token_ids} <= set(texts)


def test_the_image_of_no_search() -> None:
    with pytest.raises(ValueError, match="its search has not ended"):
        plot_beams(SearchTrace(None))
