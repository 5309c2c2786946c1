"""Each sentence of docs/decoding.md about what a clue is, against a search through all clues."""

import itertools

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gemkr_hf.decoding import FMIndexConstraint, TreeSearch
from gemkr_hf.index import FMIndex
from gemkr_hf.modeling import diverse_beam_search
from tests.unit.decoding.decoding_reference import legal_clues, score

EOS, PAD, VOCAB = 1, 0, 12
LENGTHS = [(1, 3), (2, 4), (3, 3), (4, 6)]


def random_documents(seed: int) -> list[list[int]]:
    """Few different tokens, so that passages repeat within documents and between them."""
    rng = np.random.default_rng(seed)
    documents = [rng.integers(3, 7, rng.integers(1, 7)).tolist() for _ in range(5)]
    documents += [documents[0][1:] + documents[1], [7, 8, 7, 8], [7, 8, 9], [9], [10, 10, 11, 10]]
    unique = list(dict.fromkeys(map(tuple, documents)))
    return [list(document) for document in unique if document]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, initializer_range=0.7, eos_token_id=EOS, pad_token_id=PAD,
        bos_token_id=2, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().double()


PROMPT = [2, 5, 6]


def inputs(rows: int = 1) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([PROMPT] * rows)}


def make(documents, lengths, **options) -> FMIndexConstraint:
    index = FMIndex.build(documents, vocab_size=VOCAB)
    return FMIndexConstraint(index, EOS, *lengths, pad_token_id=PAD, **options)


def everything(model, constraint, **options) -> list:
    """All clues there are: as many beams as there can be."""
    [found] = TreeSearch(model, constraint, 4000, 1, 0.0, wanted=4000, **options).run(inputs())
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("renormalize", [False, True])
def test_all_clues_and_their_scores(model, seed, lengths, whole, renormalize) -> None:
    documents = random_documents(seed)
    constraint = make(documents, lengths, whole_documents=whole, renormalize=renormalize)
    legal = [clue for clue in legal_clues(documents, *lengths, EOS, whole) if clue.row is not None]
    expected = {(c.token_ids, c.row): score(model, PROMPT, c, EOS, renormalize) for c in legal}
    assert len(expected) == len(legal) > 3
    for documents_wanted in (True, False):
        found = everything(model, constraint, documents=documents_wanted)
        assert len(found) == len(expected)
        for clue in found:
            row = clue.row if documents_wanted else next(
                row for tokens, row in expected if tokens == clue.token_ids
            )  # fmt: skip
            assert clue.score == pytest.approx(expected.pop((clue.token_ids, row)), abs=1e-9)
            expected[clue.token_ids, row] = clue.score
            assert clue.log_prob == clue.score
        assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)


@pytest.mark.parametrize("seed", range(12))
def test_shards_removed_documents_small_vocabularies_kept_clues(model, seed) -> None:
    """The rules hold wherever the documents are, and for ends that are words of documents."""
    rng = np.random.default_rng(seed)
    documents = [*random_documents(seed), [4, EOS, 5, 6], [3, 11, 4], [8, EOS]]
    gone = sorted(rng.choice(len(documents), 2, replace=False).tolist())
    index = FMIndex.build(documents, vocab_size=VOCAB, shard_tokens=12).remove(gone)
    assert index.num_shards > 2
    live = [[] if row in gone else document for row, document in enumerate(documents)]
    lengths = LENGTHS[seed % 4]
    keep, ends = bool(seed % 2), ((EOS,), (EOS, 2))[seed // 6]
    constraint = FMIndexConstraint(index, ends, *lengths, keep_ambiguous=keep)
    legal = legal_clues(live, *lengths, ends, vocab_size=VOCAB, keep_ambiguous=keep)
    expected = {clue.token_ids: clue.row for clue in legal if clue.row is not None}
    found = everything(model, constraint, documents=True)
    assert {clue.token_ids: clue.row for clue in found} == expected
    assert len(found) == len(expected)  # however a clue may end, it is found once
    assert constraint.rules.lookup(list(expected)).tolist() == list(expected.values())


def test_a_head_that_lacks_tokens(model) -> None:
    documents = [[3, 4, 15, 5], [3, 4, 6], [15, 3], [15, 16]]
    index = FMIndex.build(documents, vocab_size=20)
    found = everything(model, FMIndexConstraint(index, EOS, 1, 4), documents=True)
    legal = legal_clues(documents, 1, 4, EOS, vocab_size=VOCAB)
    assert {clue.token_ids: clue.row for clue in found} == {
        clue.token_ids: clue.row for clue in legal if clue.row is not None
    }


@pytest.mark.parametrize("documents", [[], [[15, 16]]])
def test_no_clue_is_no_answer(model, documents) -> None:
    """An empty knowledge base, and one of which the model can write nothing."""
    constraint = FMIndexConstraint(FMIndex.build(documents, vocab_size=20), EOS, 1, 4)
    assert everything(model, constraint, documents=True) == []
    output = diverse_beam_search(
        model, inputs(), constraint, num_beams=4, num_return_sequences=2, max_new_tokens=5,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert torch.isneginf(output.sequences_scores).all()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("wanted", [1, 3])
def test_the_best_documents_by_their_best_clues(model, seed, wanted) -> None:
    """A search that stops early finds the documents, and of each its best clue (paper)."""
    documents = random_documents(seed)
    constraint = make(documents, (2, 4))
    best: dict[int, float] = {}
    for clue in legal_clues(documents, 2, 4, EOS):
        if clue.row is not None:
            value = score(model, PROMPT, clue, EOS)
            best[clue.row] = max(value, best.get(clue.row, -np.inf))
    expected = sorted(best.items(), key=lambda entry: -entry[1])[:wanted]
    search = TreeSearch(
        model, constraint, 500, 1, 0.0, wanted, documents=True, merge_clues=False
    )  # fmt: skip
    [found] = search.run(inputs())
    rows: dict[int, float] = {}
    for clue in found:
        rows.setdefault(clue.row, clue.score)
    assert list(rows) == [row for row, _ in expected]
    assert list(rows.values()) == pytest.approx([value for _, value in expected], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [False, True])
def test_generate_finds_the_same_row_by_row(model, seed, whole) -> None:
    """The search of `modeling/`, which travels with checkpoints, with the constraint as a mask."""
    documents = random_documents(seed)
    for lengths, renormalize in itertools.product(LENGTHS, (False, True)):
        constraint = make(documents, lengths, whole_documents=whole, renormalize=renormalize)
        output = diverse_beam_search(
            model, inputs(), constraint, num_beams=300, num_beam_groups=1, diversity_penalty=0.0,
            num_return_sequences=400, return_dict_in_generate=True,
            max_new_tokens=lengths[1] + 1,
        )  # fmt: skip
        found = {
            tuple(token for token in row if token not in (PAD, EOS)): value
            for row, value in zip(
                output.sequences[:, len(PROMPT) :].tolist(),
                output.sequences_scores.tolist(),
                strict=True,
            )
            if value > -torch.inf
        }
        ours = everything(model, constraint)
        assert found == pytest.approx({clue.token_ids: clue.score for clue in ours}, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", [0.3, 2.0])
def test_penalty_of_what_was_ambiguous(model, seed, penalty) -> None:
    """score = log_prob - penalty * (tokens beyond min_length), and clues come back by it."""
    documents = random_documents(seed)
    plain = {c.token_ids: c.score for c in everything(model, make(documents, (1, 5)))}
    found = everything(model, make(documents, (1, 5), ambiguity_penalty=penalty))
    assert {clue.token_ids for clue in found} == set(plain)
    assert any(len(clue.token_ids) > 2 for clue in found)
    for clue in found:
        assert clue.log_prob == pytest.approx(plain[clue.token_ids], abs=1e-9)
        assert clue.score == pytest.approx(clue.log_prob - penalty * (len(clue.token_ids) - 1))
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    # As a mask it lowers the next tokens of an ambiguous clue by as much.
    output = diverse_beam_search(
        model, inputs(), make(documents, (1, 5), ambiguity_penalty=penalty), num_beams=300,
        num_beam_groups=1, diversity_penalty=0.0, num_return_sequences=400,
        return_dict_in_generate=True, max_new_tokens=6,
    )  # fmt: skip
    scores = output.sequences_scores[output.sequences_scores > -torch.inf].tolist()
    assert scores == pytest.approx([clue.score for clue in found], abs=1e-4)


@pytest.mark.parametrize("mode", ["greedy", "sample"])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_search_and_sampling_write_legal_clues(model, seed, mode) -> None:
    documents = random_documents(seed)
    for lengths in LENGTHS:
        legal = {clue.token_ids: clue for clue in legal_clues(documents, *lengths, EOS)}
        torch.manual_seed(seed)
        rows = model.generate(
            **inputs(8), logits_processor=make(documents, lengths), do_sample=mode == "sample",
            max_new_tokens=lengths[1] + 1,
        )[:, len(PROMPT) :].tolist()  # fmt: skip
        written = [tuple(token for token in row if token not in (PAD, EOS)) for row in rows]
        assert set(written) <= set(legal)
        if mode == "sample":
            assert len(set(written)) > 1
            continue
        # Greedy: the best token of those that are allowed, one after the other.
        assert len(set(written)) == 1
        clue, place = legal[written[0]], 0
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *clue.token_ids]])).logits[0, len(PROMPT) - 1 :]
        for place, allowed in enumerate(clue.steps):
            token = [*clue.token_ids, EOS][place]
            assert logits[place, token] == logits[place, list(allowed)].max()


def test_what_ends_ambiguous_never_comes_back(model) -> None:
    """Two documents that share all that a clue can say."""
    documents = [[3, 4, 5, 6], [3, 4, 5, 6, 7], [8, 9]]
    constraint = make(documents, (2, 3))
    ambiguous = {c.token_ids for c in legal_clues(documents, 2, 3, EOS) if c.row is None}
    assert ambiguous == {(3, 4, 5), (4, 5, 6)}
    for found in (everything(model, constraint), everything(model, constraint, documents=True)):
        assert not {clue.token_ids for clue in found} & ambiguous
        assert {clue.token_ids for clue in found} == {(5, 6, 7), (6, 7), (8, 9), (7,), (9,)}
    output = diverse_beam_search(
        model, inputs(), constraint, num_beams=20, num_beam_groups=1, diversity_penalty=0.0,
        num_return_sequences=20, max_new_tokens=4, return_dict_in_generate=True,
    )  # fmt: skip
    alive = output.sequences[output.sequences_scores > -torch.inf, len(PROMPT) :].tolist()
    assert len(alive) == 5
    assert not {tuple(t for t in row if t > 1) for row in alive} & ambiguous
    # transformers' beam search puts them last, at a score that no other has.
    output = model.generate(
        **inputs(), logits_processor=constraint, num_beams=7, num_return_sequences=7,
        max_new_tokens=4, return_dict_in_generate=True, output_scores=True, length_penalty=0.0,
    )  # fmt: skip
    # So it does with beams that it has no continuation for.
    alive = output.sequences[output.sequences_scores > -1e8, len(PROMPT) :].tolist()
    assert {tuple(t for t in row if t > 1) for row in alive} == {
        (5, 6, 7), (6, 7), (8, 9), (7,), (9,)
    }  # fmt: skip


def test_it_is_deterministic(model) -> None:
    constraint = make(random_documents(3), (2, 4))
    runs = [
        TreeSearch(model, constraint, 8, 4, 0.5, wanted=6, documents=True).run(inputs(2))
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert runs[0][0] == runs[0][1]
