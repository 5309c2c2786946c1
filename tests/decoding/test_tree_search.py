"""The search over the tree of clues finds what diverse beam search over rows finds."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gemkr_hf.decoding import FMIndexConstraint, TreeSearch, supports_tree_search
from gemkr_hf.index import FMIndex
from gemkr_hf.modeling import diverse_beam_search

VOCAB, PAD, EOS = 60, 3, 2
SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
KINDS = {
    "llama": {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2},
    "qwen2": {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2},
    "qwen3": {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 6},
    "gpt2": {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 16},
}


def make_model(kind: str, **changes):
    torch.manual_seed(1)
    special = {"pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS}
    config = AutoConfig.for_model(kind, vocab_size=VOCAB, **KINDS[kind], **special, **changes)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model


@pytest.fixture(scope="module")
def index() -> FMIndex:
    rng = np.random.default_rng(0)
    documents = [rng.integers(4, VOCAB, rng.integers(3, 30)).tolist() for _ in range(300)]
    documents += [[*document[2:], 7, 8] for document in documents[:60]]  # shared passages
    documents += [[5, EOS, 6, 9, 10], [9, 9, 9, 9]]
    return FMIndex.build(documents, vocab_size=VOCAB)


def prompts() -> dict[str, torch.Tensor]:
    rows = [[1, 5, 6, 7, 8], [1, 9], [1, 20, 21, 22]]
    length = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[PAD] * (length - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor(
            [[0] * (length - len(row)) + [1] * len(row) for row in rows]
        ),
    }


def by_rows(model, constraint, inputs, beams, groups, penalty, wanted):
    output = diverse_beam_search(
        model, inputs, constraint, num_beams=beams, num_beam_groups=groups,
        diversity_penalty=penalty, num_return_sequences=wanted, return_dict_in_generate=True,
        max_new_tokens=constraint.max_length + 1,
    )  # fmt: skip
    clues = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    found = [
        (tuple(clue[: clue.index(EOS)]), score)
        for clue, score in zip(clues, output.sequences_scores.tolist(), strict=True)
        if score > -torch.inf
    ]
    numbers = (output.sequences_scores.view(-1, wanted) > -torch.inf).sum(1).tolist()
    starts = np.cumsum([0, *numbers])
    return [found[starts[row] : starts[row + 1]] for row in range(len(numbers))]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("groups", "penalty", "lengths"),
    [(1, 0.0, (3, 6)), (4, 0.5, (3, 6)), (2, 1.0, (1, 9)), (4, 0.5, (10, 15)), (8, 0.0, (2, 2))],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_clues_and_scores(index, kind, groups, penalty, lengths, attention) -> None:
    model, inputs = make_model(kind), prompts()
    model.set_attn_implementation(attention)
    constraint = FMIndexConstraint(index, EOS, *lengths)
    expected = by_rows(model, constraint, inputs, 8, groups, penalty, wanted=12)
    found = TreeSearch(model, constraint, 8, groups, penalty, wanted=12).run(inputs)
    for theirs, ours in zip(expected, found, strict=True):
        assert [clue.tokens for clue in ours] == [tokens for tokens, _ in theirs]
        assert [clue.score for clue in ours] == pytest.approx(
            [score for _, score in theirs], abs=1e-4
        )


def test_tokens_are_computed_once_and_forced_ones_together(index) -> None:
    model, inputs = make_model("llama"), prompts()
    passes = []
    model.register_forward_hook(
        lambda module, args, kwargs, output: passes.append(kwargs["input_ids"].shape[1]),
        with_kwargs=True,
    )
    constraint = FMIndexConstraint(index, EOS, 10, 15)
    found = TreeSearch(model, constraint, 8, 4, 0.5, wanted=12).run(inputs)
    longest = max(len(clue.tokens) for clues in found for clue in clues)
    # The prompt, and far fewer passes than tokens: most continuations are the only ones.
    assert passes[0] == inputs["input_ids"].shape[1]
    assert len(passes) < longest - 3
    assert sum(passes[1:]) < 8 * longest


def test_one_query_finds_what_it_finds_in_a_batch(index) -> None:
    model, inputs = make_model("llama"), prompts()
    search = TreeSearch(model, FMIndexConstraint(index, EOS, 3, 6), 8, 4, 0.5, wanted=12)
    batch = search.run(inputs)
    for row in range(3):
        kept = inputs["attention_mask"][row].bool()
        [single] = search.run({name: value[row : row + 1, kept] for name, value in inputs.items()})
        assert [clue.tokens for clue in single] == [clue.tokens for clue in batch[row]]


def test_models_that_cannot() -> None:
    assert all(supports_tree_search(make_model(kind)) for kind in KINDS)
    windowed = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("mistral", **KINDS["llama"], vocab_size=VOCAB, sliding_window=8)
    )
    assert not supports_tree_search(windowed)
    with pytest.raises(ValueError, match="MistralForCausalLM cannot search a tree"):
        TreeSearch(windowed, None)


# -- searching for documents -----------------------------------------------------------------------

SMALL = [
    [10, 11, 12, 13, 14],
    [10, 11, 12, 15],
    [16, 17, 18, 10, 11, 12, 13],
    [19, 20],  # within another
    [21],
    [19, 20, 22, 23, 24, 25],
    [11, 12],  # within others: no clue tells it from them
    [26, 26, 26, 26],
]


def occurs(clue, document) -> bool:
    return any(document[at : at + len(clue)] == clue for at in range(len(document)))


def legal_clues(documents, shortest, longest):
    """Every clue that may be written, with the row of its document, token by token."""
    finished, waiting = {}, [[]]
    while waiting:
        clue = waiting.pop()
        rows = [row for row, document in enumerate(documents) if occurs(clue, document)]
        following = {
            document[at + len(clue)]
            for document in documents
            for at in range(len(document) - len(clue))
            if document[at : at + len(clue)] == clue
        }
        alone = len(rows) == 1 and len(clue) >= shortest
        if clue and (alone or len(clue) >= longest or not following):
            if len(rows) == 1:
                finished[tuple(clue)] = rows[0]
            continue
        waiting += [[*clue, token] for token in following]
    return finished


def score_of(model, prompt, clue) -> float:
    """Eq. 1 by the whole sequence at once."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *clue]])).logits[0].double()
    log_probs = logits.log_softmax(-1)
    return sum(float(log_probs[len(prompt) + at - 1, token]) for at, token in enumerate(clue))


@pytest.mark.parametrize(("shortest", "longest"), [(1, 4), (2, 3), (3, 6)])
def test_a_wide_search_for_documents_is_exhaustive(shortest, longest) -> None:
    model, prompt = make_model("llama"), [1, 5, 6]
    constraint = FMIndexConstraint(FMIndex.build(SMALL, vocab_size=VOCAB), EOS, shortest, longest)
    legal = legal_clues(SMALL, shortest, longest)
    search = TreeSearch(model, constraint, 500, 1, 0.0, wanted=len(SMALL), documents=True)
    [found] = search.run({"input_ids": torch.tensor([prompt])})
    assert {clue.tokens: clue.row for clue in found} == legal
    for clue in found:
        assert clue.score == pytest.approx(score_of(model, prompt, clue.tokens), abs=1e-4)
    assert [clue.score for clue in found] == sorted((c.score for c in found), reverse=True)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(("beams", "groups"), [(1, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("wanted", [1, 3, 6])
def test_few_beams_find_as_many_documents_as_are_wanted(beams, groups, wanted, merge) -> None:
    model = make_model("llama")
    constraint = FMIndexConstraint(FMIndex.build(SMALL, vocab_size=VOCAB), EOS, 2, 4)
    legal = legal_clues(SMALL, 2, 4)
    assert len(set(legal.values())) == 6  # all but the two within others
    search = TreeSearch(
        model, constraint, beams, groups, 0.5, wanted, documents=True, merge_clues=merge
    )
    for found in search.run(prompts()):
        rows = {clue.row for clue in found}
        assert len(rows) >= wanted if merge else len(rows) == wanted
        assert all(legal[clue.tokens] == clue.row for clue in found)


def test_more_documents_are_wanted_than_clues_can_tell() -> None:
    constraint = FMIndexConstraint(FMIndex.build(SMALL, vocab_size=VOCAB), EOS, 2, 4)
    search = TreeSearch(make_model("llama"), constraint, 2, 1, wanted=100, documents=True)
    assert all(len({clue.row for clue in found}) == 6 for found in search.run(prompts()))


def test_the_best_documents_of_many(index) -> None:
    """Of the same beams, documents instead of clues: all different, and none is ambiguous."""
    model, inputs = make_model("llama"), prompts()
    constraint = FMIndexConstraint(index, EOS, 3, 6)
    clues = TreeSearch(model, constraint, 8, 4, 0.5, wanted=20).run(inputs)
    search = TreeSearch(model, constraint, 8, 4, 0.5, wanted=20, documents=True, merge_clues=False)
    documents = search.run(inputs)
    for before, after in zip(clues, documents, strict=True):
        rows = index.lookup_doc([clue.tokens for clue in before])
        assert len(set(rows[rows >= 0].tolist())) < 20 == len({clue.row for clue in after})
        assert index.lookup_doc([clue.tokens for clue in after]).tolist() == [
            clue.row for clue in after
        ]
        # A document that was found before is there, or others have taken its place.
        scores: dict[int, float] = {}
        for clue in after:
            scores.setdefault(clue.row, clue.score)
        for clue, row in zip(before, rows.tolist(), strict=True):
            assert row in scores or row < 0 or clue.score <= min(scores.values())
