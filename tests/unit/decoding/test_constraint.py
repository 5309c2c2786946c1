"""What the constraint allows, step by step, against a search through all documents."""

import copy
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemkr_hf.decoding import Clue, FMIndexConstraint
from gemkr_hf.index import FMIndex

EOS, PAD, VOCAB = 1, 0, 12
DOCUMENTS = [[3, 4, 5, 6, 7], [3, 4, 8], [9], [3, 4, 8, 5]]


@pytest.fixture(scope="module")
def index() -> FMIndex:
    return FMIndex.build(DOCUMENTS, vocab_size=VOCAB)


def make(index: FMIndex, **kwargs: object) -> FMIndexConstraint:
    settings = {"min_length": 2, "max_length": 4, "pad_token_id": PAD, **kwargs}
    return FMIndexConstraint(index, EOS, **settings)


def step(constraint: FMIndexConstraint, rows: list[list[int]], vocab: int = VOCAB) -> list[list]:
    ids = torch.tensor(rows, dtype=torch.long).reshape(len(rows), -1)
    out = constraint(ids, torch.zeros(len(rows), vocab))
    return [torch.isfinite(row).nonzero().flatten().tolist() for row in out]


def expected(clue: list[int], min_length: int, max_length: int) -> list[int]:
    """The paper's rules, by looking at every place of every document."""
    if EOS in clue:
        return [PAD, EOS]
    places = [
        (row, at)
        for row, document in enumerate(DOCUMENTS)
        for at in range(len(document) - len(clue) + 1)
        if document[at : at + len(clue)] == clue
    ]
    following = {d[at + len(clue)] for r, at in places if at + len(clue) < len(d := DOCUMENTS[r])}
    distinctive = len({row for row, _ in places}) == 1
    if len(clue) >= max_length or (len(clue) >= min_length and distinctive) or not following:
        return [EOS]
    return sorted(following)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_step_of_random_beams(data: st.DataObject) -> None:
    index = FMIndex.build(DOCUMENTS, vocab_size=VOCAB)
    min_length = data.draw(st.integers(1, 4))
    max_length = data.draw(st.integers(min_length, 5))
    constraint = make(index, min_length=min_length, max_length=max_length)
    for _ in range(data.draw(st.integers(1, 3))):  # generate() calls
        count, prompt_length = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 3))
        prompts = [[10 + data.draw(st.integers(0, 1))] * prompt_length for _ in range(count)]
        # Two calls of one generation each are ambiguous where the prompts continue one another.
        constraint.reset()
        rows = prompts
        for _ in range(data.draw(st.integers(1, 6))):
            allowed = step(constraint, rows)
            clues = [row[prompt_length:] for row in rows]
            assert allowed == [expected(clue, min_length, max_length) for clue in clues]
            # As beam search does: any row may continue any other, legally or not.
            parents = data.draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
            rows = [
                rows[parent] + [data.draw(st.sampled_from([*allowed[parent], 11]))]
                for parent in parents
            ]


def test_the_papers_rules(index: FMIndex) -> None:
    constraint = make(index)
    assert step(constraint, [[10]]) == [[3, 4, 5, 6, 7, 8, 9]]
    assert step(constraint, [[10, 3]]) == [[4]]
    # Two tokens, but in three documents: continue.
    assert step(constraint, [[10, 3, 4]]) == [[5, 8]]
    # Distinctive: end.
    assert step(constraint, [[10, 3, 4, 5]]) == [[EOS]]
    # Ended: nothing but the end and padding.
    assert step(constraint, [[10, 3, 4, 5, EOS]]) == [[PAD, EOS]]
    assert step(constraint, [[10, 3, 4, 5, EOS, PAD]]) == [[PAD, EOS]]


def test_too_short_but_the_document_ends(index: FMIndex) -> None:
    constraint = make(index)
    step(constraint, [[10]])
    assert step(constraint, [[10, 9]]) == [[EOS]]


def test_not_distinctive_at_max_length() -> None:
    constraint = make(FMIndex.build([[3, 4, 5, 6]] * 2, vocab_size=VOCAB), max_length=3)
    step(constraint, [[10]])
    assert step(constraint, [[10, 3]]) == [[4]]
    assert step(constraint, [[10, 3, 4]]) == [[5]]
    assert step(constraint, [[10, 3, 4, 5]]) == [[EOS]]


def test_scores_are_kept_and_not_changed_in_place(index: FMIndex) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = torch.randn(2, VOCAB, dtype=dtype)
        before = scores.clone()
        out = make(index)(torch.tensor([[10], [11]]), scores)
        assert out.dtype == dtype
        assert torch.equal(scores, before)
        assert torch.equal(out[:, 3:10], scores[:, 3:10])
        assert torch.isneginf(out[:, [0, 1, 2, 10, 11]]).all()


def test_the_next_generate_call_starts_a_new_clue(index: FMIndex) -> None:
    constraint = make(index)
    for prompt in ([10, 11], [10, 11], [10], [11, 10, 3, 4]):
        assert step(constraint, [prompt]) == [[3, 4, 5, 6, 7, 8, 9]]
        assert step(constraint, [[*prompt, 3]]) == [[4]]


def test_as_many_rows_of_the_next_length_are_no_continuation(index: FMIndex) -> None:
    constraint = make(index)
    step(constraint, [[10, 11], [10, 10]])
    # One of the rows could continue the call before, the other could not.
    assert step(constraint, [[10, 11, 3], [11, 11, 3]]) == [[3, 4, 5, 6, 7, 8, 9]] * 2


def test_rows_that_start_empty(index: FMIndex) -> None:
    """`inputs_embeds` alone: the first call has no ids at all."""
    constraint = make(index)
    for _ in range(2):
        assert step(constraint, [[], []]) == [[3, 4, 5, 6, 7, 8, 9]] * 2
        assert step(constraint, [[3], [9]]) == [[4], [EOS]]
    step(constraint, [[], []])
    # Three prompts of one token cannot come from two empty rows.
    assert step(constraint, [[3], [9], [9]]) == [[3, 4, 5, 6, 7, 8, 9]] * 3


def test_explicit_prompt_length(index: FMIndex) -> None:
    constraint = make(index, prompt_length=2)
    # In any order, and with a clue that already has tokens.
    assert step(constraint, [[10, 11, 3, 4]]) == [[5, 8]]
    assert step(constraint, [[10, 11]]) == [[3, 4, 5, 6, 7, 8, 9]]
    assert step(constraint, [[10, 11, 3, EOS]]) == [[PAD, EOS]]
    with pytest.raises(ValueError, match="prompt_length=2 is beyond"):
        step(constraint, [[10]])


def test_reset(index: FMIndex) -> None:
    constraint = make(index)
    step(constraint, [[10]])
    constraint.reset()
    assert step(constraint, [[10, 3]]) == [[3, 4, 5, 6, 7, 8, 9]]


def test_model_with_another_vocabulary_size(index: FMIndex) -> None:
    """Heads are padded, or lack tokens that were added later."""
    assert step(make(index), [[10]], vocab=30) == [[3, 4, 5, 6, 7, 8, 9]]
    small = make(index)
    assert step(small, [[2]], vocab=6) == [[3, 4, 5]]
    step(small, [[2, 3]], vocab=6)
    # Only 5 of the successors 5 and 8 exists here.
    assert step(small, [[2, 3, 4]], vocab=6) == [[5]]
    narrow = make(FMIndex.build([[3, 8, 9, 9]], vocab_size=VOCAB))
    step(narrow, [[2]], vocab=5)
    assert step(narrow, [[2, 3]], vocab=5) == [[EOS]]
    with pytest.raises(ValueError, match="end token 1 is not in the model's vocabulary of 1"):
        step(make(index), [[0]], vocab=1)


def test_end_token_within_a_document_is_not_allowed_as_a_word() -> None:
    constraint = make(FMIndex.build([[3, EOS, 4, 5], [3, 4, 4]], vocab_size=VOCAB))
    assert step(constraint, [[10]]) == [[3, 4, 5]]
    assert step(constraint, [[10, 3]]) == [[4]]
    only = make(FMIndex.build([[3, EOS, 4]], vocab_size=VOCAB))
    step(only, [[10]])
    assert step(only, [[10, 3]]) == [[EOS]]


def test_several_end_tokens(index: FMIndex) -> None:
    constraint = FMIndexConstraint(index, [EOS, 2], min_length=1, max_length=3)
    step(constraint, [[10]])
    assert step(constraint, [[10, 9]]) == [[EOS, 2]]
    assert step(constraint, [[10, 9, 2]]) == [[EOS, 2]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"min_length": 0}, "min_length must be at least 1, got 0"),
        ({"min_length": 5, "max_length": 4}, "max_length=4 must not be below min_length=5"),
        ({"prompt_length": -1}, "prompt_length must not be negative"),
    ],
)
def test_lengths_are_checked(index: FMIndex, kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(index, **kwargs)


@pytest.mark.parametrize("eos", [-1, []])
def test_end_tokens_are_checked(index: FMIndex, eos: object) -> None:
    with pytest.raises(ValueError, match="eos_token_id"):
        FMIndexConstraint(index, eos)


def test_empty_index_lets_every_row_end() -> None:
    assert step(make(FMIndex.build([], vocab_size=VOCAB)), [[10], [11]]) == [[EOS], [EOS]]


def test_threads_do_not_disturb_each_other(index: FMIndex) -> None:
    constraint = make(index)
    step(constraint, [[10]])
    other = threading.Thread(target=step, args=(constraint, [[11, 11, 11]]))
    other.start()
    other.join()
    assert step(constraint, [[10, 3]]) == [[4]]


def test_copy(index: FMIndex) -> None:
    constraint = make(index)
    step(constraint, [[10]])
    assert step(copy.deepcopy(constraint), [[10, 3]]) == [[3, 4, 5, 6, 7, 8, 9]]
    assert step(constraint, [[10, 3]]) == [[4]]


def test_large_vocabulary_step() -> None:
    """A batch of beams over a vocabulary of a real size gives what GetNext gives."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(2, 32_000, size=40) for _ in range(200)]
    index = FMIndex.build(documents, vocab_size=32_000)
    constraint = FMIndexConstraint(index, EOS)
    rows = [[5, int(documents[row][3])] for row in range(20)]
    constraint(torch.full((20, 1), 5), torch.zeros(20, 32_000))
    out = constraint(torch.tensor(rows), torch.zeros(20, 32_000))
    for row, tokens in zip(out, index.get_next([[row[1]] for row in rows]), strict=True):
        assert torch.isfinite(row).nonzero().flatten().tolist() == tokens.tolist()


def test_old_names_work_with_a_warning() -> None:
    index = FMIndex.build([[3, 4, 5], [3, 6]])
    with pytest.warns(FutureWarning, match="'whole' is deprecated .* use 'whole_documents'"):
        constraint = FMIndexConstraint(index, 1, whole=True)
    assert constraint.rules.whole_documents
    with pytest.warns(FutureWarning, match=r"use .*whole_documents"):
        assert constraint.rules.whole
    with pytest.raises(TypeError, match="unexpected keyword argument 'entire'"):
        FMIndexConstraint(index, 1, entire=True)
    with pytest.warns(FutureWarning, match="FoundClue' is deprecated"):
        from gemkr_hf.decoding import FoundClue
    clue = FoundClue(((3, 4), (5,)), -1.0)
    assert isinstance(clue, Clue)
    with pytest.warns(FutureWarning, match="'tokens' is deprecated .* use 'token_ids'"):
        assert clue.tokens == clue.token_ids == (3, 4, 5)
