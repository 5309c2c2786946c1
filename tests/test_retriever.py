import math

import pytest
import torch

from gemkr_hf import GeMKRRetriever


def clue_of(retriever, row: int, start: int) -> list[int]:
    """Twelve tokens of a document, which no other document holds."""
    clue = retriever.knowledge_base.index.extract(row)[start : start + 12].tolist()
    assert retriever.knowledge_base.lookup([clue])[0] == row
    return clue


@pytest.mark.parametrize(("aggregate", "first"), [("max", 0), ("logsumexp", 1)])
def test_a_documents_clues_add_up_or_the_best_one_counts(retriever, aggregate, first) -> None:
    other = GeMKRRetriever(
        retriever.model, retriever.processor, retriever.knowledge_base, aggregate=aggregate
    )
    written = torch.tensor(
        [clue_of(retriever, 0, 0), clue_of(retriever, 1, 0), clue_of(retriever, 1, 8)]
    )
    hits = other._rank(written, torch.tensor([-1.0, -1.2, -1.3]), k=5)
    assert [hit.row for hit in hits] == [first, 1 - first]
    scores = {hit.row: hit.score for hit in hits}
    assert scores[0] == pytest.approx(-1.0)
    together = math.log(math.exp(-1.2) + math.exp(-1.3))
    assert scores[1] == pytest.approx(-1.2 if aggregate == "max" else together, abs=1e-6)


def test_the_checkpoint_says_how_scores_are_aggregated(retriever) -> None:
    assert retriever.model.config.decoding["aggregate"] == "logsumexp"
    assert retriever.aggregate == "logsumexp"


def test_an_unknown_aggregate_is_an_error(retriever) -> None:
    with pytest.raises(ValueError, match="aggregate is one of max, logsumexp, not 'mean'"):
        GeMKRRetriever(
            retriever.model, retriever.processor, retriever.knowledge_base, aggregate="mean"
        )


def test_a_clue_of_several_documents_leads_nowhere(retriever) -> None:
    common = retriever.processor.tokenizer(" is the character", add_special_tokens=False)
    ambiguous = common["input_ids"]
    assert retriever.knowledge_base.index.count([ambiguous])[0] > 1
    assert retriever._rank(torch.tensor([ambiguous]), torch.tensor([-0.5]), k=5) == []


@pytest.mark.parametrize("aggregate", ["max", "logsumexp"])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_as_many_different_documents_as_are_wanted(retriever, k, aggregate) -> None:
    """Forty from twenty beams too."""
    other = GeMKRRetriever(
        retriever.model, retriever.processor, retriever.knowledge_base, aggregate=aggregate
    )
    for hits in other.retrieve(None, ["What does this sign mean?", "Who uses it?"], k=k):
        assert len(hits) == len({hit.row for hit in hits}) == k
        assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
        for hit in hits:
            assert {retriever.knowledge_base.lookup([c.token_ids])[0] for c in hit.clues} == {
                hit.row
            }


def test_other_settings_go_to_generate(retriever) -> None:
    """Which finds what its beams reach."""
    question = "What does this sign mean?"
    by_rows = retriever.retrieve(None, question, k=5, num_return_sequences=40)
    by_tree = retriever.retrieve(None, question, k=5)
    assert by_rows[0].row == by_tree[0].row
    assert by_rows[0].clues[0].score == pytest.approx(by_tree[0].clues[0].score, abs=1e-3)


def test_parts_of_different_checkpoints(retriever, monkeypatch) -> None:
    monkeypatch.setattr(retriever.model.config, "image_token_id", 7)
    with pytest.raises(ValueError, match="made with image_token_id=7"):
        GeMKRRetriever(retriever.model, retriever.processor, retriever.knowledge_base)
