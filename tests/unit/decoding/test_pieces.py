"""Clues of several pieces, against a search through all of them."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gemkr_hf.decoding import FMIndexConstraint, TreeSearch
from gemkr_hf.index import FMIndex

EOS, VOCAB, PROMPT = 2, 20, [1, 5, 6]
LENGTHS = (2, 3)
SAME = [4, 5, 6, 7]  # what a clue of three tokens can say of these it can say of all
DOCUMENTS = [
    [*SAME, 8, 9, *SAME],
    [*SAME, 8, 10, *SAME],
    [10, *SAME, 11, 12, 9],
    [13, 14],
    [*SAME],  # within the others: no pieces tell it from them
]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, initializer_range=0.5, eos_token_id=EOS, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().double()


def holding(rows, piece) -> list[int]:
    return [
        row
        for row in rows
        if any(DOCUMENTS[row][at : at + len(piece)] == piece for at in range(len(DOCUMENTS[row])))
    ]


def pieces_of(rows) -> list[tuple[list[int], list[int]]]:
    """Every piece that may be written of these documents, with those that hold it."""
    finished, waiting = [], [[]]
    while waiting:
        piece = waiting.pop()
        held = holding(rows, piece) if piece else list(rows)
        following = {
            DOCUMENTS[row][at + len(piece)]
            for row in held
            for at in range(len(DOCUMENTS[row]) - len(piece))
            if DOCUMENTS[row][at : at + len(piece)] == piece
        }
        ended = len(piece) >= LENGTHS[1] or (len(piece) >= LENGTHS[0] and len(held) == 1)
        if piece and (ended or not following):
            finished.append((piece, held))
            continue
        waiting += [[*piece, token] for token in following]
    return finished


def all_clues(most: int) -> dict[tuple, int]:
    """Pieces -> row, of all clues of at most so many pieces."""
    clues, waiting = {}, [((), list(range(len(DOCUMENTS))))]
    while waiting:
        pieces, rows = waiting.pop()
        for piece, held in pieces_of(rows):
            longer = (*pieces, tuple(piece))
            if len(held) == 1:
                clues[longer] = held[0]
            elif len(longer) < most:
                waiting.append((longer, held))
    return clues


def score(model, clue) -> float:
    """Each piece stands behind the prompt alone."""
    total = 0.0
    for piece in clue:
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *piece]])).logits[0, len(PROMPT) - 1 : -1]
        total += float(logits.log_softmax(-1)[range(len(piece)), list(piece)].sum())
    return total


@pytest.mark.parametrize("most", [1, 2, 3])
def test_all_clues_and_their_scores(model, most) -> None:
    constraint = FMIndexConstraint(FMIndex.build(DOCUMENTS, vocab_size=VOCAB), EOS, *LENGTHS)
    expected = all_clues(most)
    # The first three documents only by the few tokens that they do not share, or by two pieces.
    assert any(len(clue) == most for clue in expected)
    search = TreeSearch(
        model, constraint, 20_000, 1, 0.0, wanted=10, documents=True, max_pieces=most
    )
    [found] = search.run({"input_ids": torch.tensor([PROMPT])})
    assert {clue.pieces: clue.row for clue in found} == expected
    for clue in found:
        assert clue.token_ids == tuple(token for piece in clue.pieces for token in piece)
        assert clue.score == clue.log_prob == pytest.approx(score(model, clue.pieces), abs=1e-9)
        assert set(holding(range(5), list(clue.pieces[0]))) >= {clue.row}


def test_pieces_lead_where_one_does_not(model) -> None:
    """Documents of the same passages in different combinations."""
    a, b, c = [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]
    documents = [[*a, 16, *b], [*b, 17, *c], [*c, 18, *a]]
    index = FMIndex.build(documents, vocab_size=VOCAB)
    constraint = FMIndexConstraint(index, EOS, 3, 3)
    # Only clues across the middle are distinctive: three tokens with 16, 17 or 18 in them.
    for most in (1, 2):
        search = TreeSearch(
            model, constraint, 500, 1, 0.0, wanted=3, documents=True, max_pieces=most
        )
        [found] = search.run({"input_ids": torch.tensor([PROMPT])})
        across = [clue for clue in found if {16, 17, 18} & set(clue.token_ids)]
        assert (len(across) == len(found)) == (most == 1)
        assert {clue.row for clue in found} == {0, 1, 2}


def test_pieces_follow_the_rules_of_clues(model) -> None:
    """No piece holds an end token, and one of a document's end may end below `min_length`."""
    documents = [[4, 5, 6, 7, EOS, 9], [4, 5, 6, 7, 8, 8], [4, 5, 6, 7, 10]]
    index = FMIndex.build(documents, vocab_size=VOCAB)
    constraint = FMIndexConstraint(index, EOS, 3, 3)
    search = TreeSearch(model, constraint, 500, 1, 0.0, wanted=9, documents=True, max_pieces=2)
    [found] = search.run({"input_ids": torch.tensor([PROMPT])})
    second = {clue.pieces[1]: clue for clue in found if len(clue.pieces) == 2}
    assert not any(EOS in piece for piece in second)
    assert {(9,), (10,), (8,), (8, 8)} <= set(second)
    for piece, clue in second.items():
        chosen = [EOS] if piece == (8,) else []  # here the end is one of two choices
        ended = (clue.pieces[0], (*piece, *chosen))
        assert clue.score == pytest.approx(score(model, ended), abs=1e-9)


def test_a_passage_of_too_many_documents_is_given_up(model) -> None:
    documents = [[4, 5, 6, 7, 8 + row % 10, 8 + row // 10] for row in range(90)]
    index = FMIndex.build(documents, vocab_size=VOCAB)
    constraint = FMIndexConstraint(index, EOS, 3, 3)
    search = TreeSearch(model, constraint, 500, 1, 0.0, wanted=5, documents=True, max_pieces=2)
    [found] = search.run({"input_ids": torch.tensor([PROMPT])})
    assert found and not any((4, 5, 6) in clue.pieces for clue in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_pieces": 0}, "max_pieces must be at least 1, not 0"),
        ({"max_pieces": 2, "documents": False}, "max_pieces above 1 needs documents=True"),
        ({"num_beams": 6, "num_beam_groups": 4}, "num_beams=6 must be a multiple"),
        ({"diversity_penalty": -1}, "diversity_penalty must not be negative"),
        ({"wanted": 0}, "wanted must be at least 1"),
    ],
)
def test_settings_out_of_range(model, options, message) -> None:
    constraint = FMIndexConstraint(FMIndex.build(DOCUMENTS, vocab_size=VOCAB), EOS)
    with pytest.raises(ValueError, match=message):
        TreeSearch(model, constraint, **{"documents": True, **options})
    whole = FMIndexConstraint(FMIndex.build(DOCUMENTS, vocab_size=VOCAB), EOS, whole_documents=True)
    with pytest.raises(ValueError, match="A whole document has one piece"):
        TreeSearch(model, whole, documents=True, max_pieces=2)


def test_ambiguous_clues_can_be_kept(model) -> None:
    """As the paper's released code does: a fixed length, and the first document wins."""
    index = FMIndex.build(DOCUMENTS, vocab_size=VOCAB)
    constraint = FMIndexConstraint(index, EOS, 3, 3, keep_ambiguous=True)
    search = TreeSearch(model, constraint, 500, 1, 0.0, wanted=5, documents=True)
    [found] = search.run({"input_ids": torch.tensor([PROMPT])})
    rows = {clue.token_ids: clue.row for clue in found}
    assert (rows[4, 5, 6] == 0 and rows[10, 4, 5] == 1) or rows[10, 4, 5] == 2
    for clue in found:
        assert clue.row == holding(range(5), list(clue.token_ids))[0]
    with pytest.raises(ValueError, match="keep_ambiguous is for clues"):
        FMIndexConstraint(index, EOS, whole_documents=True, keep_ambiguous=True)
