"""The search over the tree of clues has the results of diverse beam search over rows."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gemkr_hf.decoding import (
    FMIndexConstraint,
    TreeScorer,
    TreeSearch,
    supports_tree_attention,
)
from gemkr_hf.decoding import (
    tree_attention as engines,
)
from gemkr_hf.decoding.tree_attention import RowByRow
from gemkr_hf.index import FMIndex
from gemkr_hf.modeling import diverse_beam_search
from tests.unit.decoding.decoding_reference import legal_clues

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
        assert [clue.token_ids for clue in ours] == [tokens for tokens, _ in theirs]
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
    longest = max(len(clue.token_ids) for clues in found for clue in clues)
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
        assert [clue.token_ids for clue in single] == [clue.token_ids for clue in batch[row]]


def test_models_that_take_no_tree() -> None:
    assert all(supports_tree_attention(make_model(kind)) for kind in KINDS)
    assert not any(supports_tree_attention(make_other(kind)) for kind in OTHERS)
    with pytest.raises(ValueError, match="MistralForCausalLM does not support a static cache here"):
        TreeSearch(make_other("mistral"), None, static_cache=True)


OTHERS: dict[str, dict] = {
    "mistral": {**KINDS["llama"], "sliding_window": 4},
    "bloom": {"hidden_size": 24, "n_layer": 2, "n_head": 4},  # ALiBi, no position ids
    "mamba": {"hidden_size": 24, "num_hidden_layers": 2, "state_size": 4},  # no attention
    "jamba": {  # attention in every second layer, and a state in the others
        **KINDS["llama"],
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "mamba_d_state": 4,
        "num_experts": 1,
        "num_experts_per_tok": 1,
    },
    "gemma3_text": {**KINDS["llama"], "head_dim": 6, "sliding_window": 4},
    "gpt_neo": {
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 4,
        "window_size": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 64,
    },
    "openai-gpt": {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64},  # no cache
}


def make_other(kind: str):
    torch.manual_seed(1)
    special = {"pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS}
    config = AutoConfig.for_model(kind, vocab_size=VOCAB, **OTHERS[kind], **special)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("kind", ["llama", *OTHERS])
def test_any_causal_language_model_finds_documents(index, kind) -> None:
    """Without tree attention too: each clue's score is that of the whole sequence."""
    model = make_model("llama") if kind == "llama" else make_other(kind)
    constraint = FMIndexConstraint(index, EOS, 3, 6)
    search = TreeSearch(model, constraint, 8, 4, 0.5, wanted=5, documents=True)
    if kind == "llama":
        expected = search.run(prompts())
        search.scorer.engine = RowByRow(model)
        found = search.run(prompts())
        for theirs, ours in zip(expected, found, strict=True):
            assert [clue.token_ids for clue in ours] == [clue.token_ids for clue in theirs]
    for row, ids in enumerate([[1, 5, 6, 7, 8], [1, 9], [1, 20, 21, 22]]):
        inputs = {"input_ids": torch.tensor([ids])}
        [found] = search.run(inputs)
        assert len({clue.row for clue in found}) >= 5
        for clue in found[:3]:
            with torch.no_grad():
                logits = model(torch.tensor([[*ids, *clue.token_ids]])).logits[0, len(ids) - 1 : -1]
            log_probs = logits.log_softmax(-1)[range(len(clue.token_ids)), list(clue.token_ids)]
            assert clue.score == pytest.approx(float(log_probs.sum()), abs=1e-4), row


@pytest.mark.slow
@pytest.mark.parametrize("compile", [False, {"backend": "eager"}])
@pytest.mark.parametrize("room", [8, 256])
def test_a_static_cache_finds_the_same(index, compile, room, monkeypatch) -> None:
    monkeypatch.setattr(engines, "_ROOM", room)  # that grows, and that suffices
    model, constraint = make_model("llama"), FMIndexConstraint(index, EOS, 3, 9)
    expected = TreeSearch(model, constraint, 8, 4, 0.5).run(prompts())
    search = TreeSearch(model, constraint, 8, 4, 0.5, static_cache=True, compile=compile)
    for _ in range(2):
        for theirs, ours in zip(expected, search.run(prompts()), strict=True):
            assert [clue.token_ids for clue in ours] == [clue.token_ids for clue in theirs]
            assert [clue.score for clue in ours] == pytest.approx(
                [clue.score for clue in theirs], abs=1e-4
            )


def test_compilation_needs_a_static_cache(index) -> None:
    with pytest.raises(ValueError, match="compile=True needs static_cache=True"):
        TreeSearch(make_model("llama"), FMIndexConstraint(index, EOS), compile=True)


@pytest.mark.parametrize("beams", [1, 4, 10])
@pytest.mark.parametrize("lengths", [(2, 3), (3, 6), (1, 9)])
def test_equal_to_transformers_beam_search(beams, lengths) -> None:
    """One group, no penalty, the end token scored: what `generate` finds by a plain function."""
    model = make_model("llama").double()
    rng = np.random.default_rng(4)
    # Few passages are shared, so that none is ambiguous at the end: those are dropped here only.
    documents = [rng.integers(4, VOCAB, 20).tolist() for _ in range(200)]
    index = FMIndex.build(documents, vocab_size=VOCAB)
    prompt = torch.tensor([[1, 5, 6, 7, 8]])

    def allowed(_, ids):
        clue = ids[5:].tolist()
        if EOS in clue or len(clue) >= lengths[1]:
            return [EOS]
        if len(clue) >= lengths[0] and index.valid_distinct([clue])[0]:
            return [EOS]
        return index.get_next([clue])[0].tolist() or [EOS]

    output = model.generate(
        prompt, prefix_allowed_tokens_fn=allowed, num_beams=beams, num_return_sequences=beams,
        length_penalty=0.0, max_new_tokens=lengths[1] + 1, return_dict_in_generate=True,
        output_scores=True, do_sample=False, early_stopping=False,
    )  # fmt: skip
    constraint = FMIndexConstraint(index, EOS, *lengths)
    search = TreeSearch(model, constraint, beams, 1, 0.0, wanted=beams, score_eos=True)
    [found] = search.run({"input_ids": prompt})
    clues = [
        tuple(t for t in row if t not in (PAD, EOS)) for row in output.sequences[:, 5:].tolist()
    ]
    if beams == 1:  # greedy search gives no scores of sequences
        assert [clue.token_ids for clue in found] == clues
        return
    scores = output.sequences_scores.tolist()
    kept = [
        (clue, score)
        for clue, score in zip(clues, scores, strict=True)
        if index.valid_distinct([clue])[0]
    ]
    assert len(kept) >= beams - 1
    assert [clue.token_ids for clue in found][: len(kept)] == [clue for clue, _ in kept]
    # Core keeps scores of single precision.
    assert [clue.score for clue in found][: len(kept)] == pytest.approx(
        [score for _, score in kept], abs=1e-5
    )


@pytest.mark.parametrize("groups", [1, 4])
def test_generate_with_a_tree_scorer(index, groups) -> None:
    model, constraint = make_model("llama"), FMIndexConstraint(index, EOS, 3, 6)
    options = {
        "num_beams": 8, "num_beam_groups": groups, "num_return_sequences": 5, "max_new_tokens": 7,
        "return_dict_in_generate": True,
    }  # fmt: skip
    rows = diverse_beam_search(model, prompts(), constraint, **options)
    passes = []
    model.register_forward_hook(lambda module, *_: passes.append(module))
    tree = diverse_beam_search(model, prompts(), scorer=TreeScorer(constraint), **options)
    assert torch.equal(tree.sequences, rows.sequences)
    assert torch.equal(tree.beam_groups, rows.beam_groups)
    assert torch.allclose(tree.sequences_scores, rows.sequences_scores, atol=1e-4)
    assert 0 < len(passes) < 7
    settings = {**options, "score_eos": True, "length_penalty": 1.0}
    rows = diverse_beam_search(model, prompts(), constraint, **settings)
    tree = diverse_beam_search(model, prompts(), scorer=TreeScorer(constraint), **settings)
    assert torch.equal(tree.sequences, rows.sequences)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"output_scores": True}, "does not support output_scores"),
        ({"max_new_tokens": 6}, "does not support clues shorter than max_length=6"),
        ({"use_cache": False}, "does not support use_cache=False"),
        ({"no_repeat_ngram_size": 3}, "does not support logits processors"),
        ({"max_time": 1e3}, "does not support stopping criteria"),
    ],
)
def test_what_only_rows_support(index, option, message) -> None:
    constraint = FMIndexConstraint(index, EOS, 3, 6)
    options = {"num_beams": 4, "max_new_tokens": 7, "return_dict_in_generate": True, **option}
    with pytest.raises(ValueError, match=message):
        diverse_beam_search(
            make_model("llama"), prompts(), scorer=TreeScorer(constraint), **options
        )
    assert len(diverse_beam_search(make_model("llama"), prompts(), constraint, **options)) > 0


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


def rows_of_clues(shortest: int, longest: int) -> dict[tuple[int, ...], int]:
    """Every clue that may be written, with the row of its document."""
    legal = legal_clues(SMALL, shortest, longest, EOS)
    return {clue.token_ids: clue.row for clue in legal if clue.row is not None}


@pytest.mark.parametrize(("shortest", "longest"), [(1, 4), (2, 3), (3, 6)])
def test_a_wide_search_for_documents_is_exhaustive(shortest, longest) -> None:
    model, prompt = make_model("llama"), [1, 5, 6]
    constraint = FMIndexConstraint(FMIndex.build(SMALL, vocab_size=VOCAB), EOS, shortest, longest)
    search = TreeSearch(model, constraint, 500, 1, 0.0, wanted=len(SMALL), documents=True)
    [found] = search.run({"input_ids": torch.tensor([prompt])})
    assert {clue.token_ids: clue.row for clue in found} == rows_of_clues(shortest, longest)
    assert [clue.score for clue in found] == sorted((c.score for c in found), reverse=True)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(("beams", "groups"), [(1, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("wanted", [1, 3, 6])
def test_few_beams_find_as_many_documents_as_are_wanted(beams, groups, wanted, merge) -> None:
    model = make_model("llama")
    constraint = FMIndexConstraint(FMIndex.build(SMALL, vocab_size=VOCAB), EOS, 2, 4)
    legal = rows_of_clues(2, 4)
    assert len(set(legal.values())) == 6  # all but the two within others
    search = TreeSearch(
        model, constraint, beams, groups, 0.5, wanted, documents=True, merge_clues=merge
    )
    for found in search.run(prompts()):
        rows = {clue.row for clue in found}
        assert len(rows) >= wanted if merge else len(rows) == wanted
        assert all(legal[clue.token_ids] == clue.row for clue in found)


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
        rows = index.lookup_doc([clue.token_ids for clue in before])
        assert len(set(rows[rows >= 0].tolist())) < 20 == len({clue.row for clue in after})
        assert index.lookup_doc([clue.token_ids for clue in after]).tolist() == [
            clue.row for clue in after
        ]
        # A document that was found before is there, or others have taken its place.
        scores: dict[int, float] = {}
        for clue in after:
            scores.setdefault(clue.row, clue.score)
        for clue, row in zip(before, rows.tolist(), strict=True):
            assert row in scores or row < 0 or clue.score <= min(scores.values())


@pytest.mark.slow
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("beams", [1, 4])
def test_many_documents_by_few_beams(beams, merge) -> None:
    """All that exist, however often the beams must restart."""
    rng = np.random.default_rng(2)
    documents = [rng.integers(4, 30, 12).tolist() for _ in range(150)]
    documents += [
        documents[0][:8],
        [5, 6],
        [5, 6, 7],
    ]  # contained in others, or hard to distinguish
    index = FMIndex.build(documents, vocab_size=VOCAB)
    constraint = FMIndexConstraint(index, EOS, 3, 6)
    search = TreeSearch(
        make_model("llama"), constraint, beams, 1, wanted=150, documents=True, merge_clues=merge
    )
    [found] = search.run({"input_ids": torch.tensor([[1, 5, 6]])})
    assert len({clue.row for clue in found}) >= 150
    impatient = TreeSearch(
        make_model("llama"), constraint, 1, 1, wanted=153, documents=True, patience=3
    )
    [found] = impatient.run({"input_ids": torch.tensor([[1, 5, 6]])})
    assert len({clue.row for clue in found}) < 153
