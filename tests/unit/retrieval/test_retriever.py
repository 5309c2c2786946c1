import math

import pytest
import torch

from gemkr_hf import GeMKRRetriever, KnowledgeBase
from gemkr_hf.decoding import Clue
from gemkr_hf.utils.text import first_sentence

CLUES = [(0, -1.2), (8, -1.3)]


def clue_of(retriever, row: int, start: int) -> tuple[int, ...]:
    """Twelve tokens of a document that occur in no other document."""
    clue = retriever.knowledge_base.index.extract(row)[start : start + 12].tolist()
    assert retriever.knowledge_base.lookup([clue])[0] == row
    return tuple(clue)


@pytest.mark.parametrize(("aggregate", "first"), [("max", 0), ("logsumexp", 1)])
def test_a_documents_clues_add_up_or_the_best_one_counts(retriever, aggregate, first) -> None:
    other = GeMKRRetriever(
        retriever.model, retriever.processor, retriever.knowledge_base, aggregate=aggregate
    )
    written = [
        Clue((clue_of(retriever, 0, 0),), -1.0, row=0),
        *(Clue((clue_of(retriever, 1, start),), score, row=1) for start, score in CLUES),
    ]
    hits = other._hits(written, k=5)
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


def test_a_clue_of_several_documents_leads_nowhere(retriever, monkeypatch) -> None:
    common = retriever.processor.tokenizer(" is the character", add_special_tokens=False)
    ambiguous = tuple(common["input_ids"])
    assert retriever.knowledge_base.index.count([ambiguous])[0] > 1
    monkeypatch.setattr(
        retriever, "_generate", lambda *args, **settings: [[Clue((ambiguous,), -0.5)]]
    )
    assert retriever.retrieve(None, "What is it?", num_return_sequences=3) == []


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
    """It returns the documents that its beams reach."""
    question = "What does this sign mean?"
    by_rows = retriever.retrieve(None, question, k=5, num_return_sequences=40)
    by_tree = retriever.retrieve(None, question, k=5)
    assert by_rows[0].row == by_tree[0].row
    assert by_rows[0].clues[0].score == pytest.approx(by_tree[0].clues[0].score, abs=1e-3)


QUESTION = "What does this sign mean?"


@pytest.fixture(scope="module")
def image(short_quickstart) -> str:
    return str(short_quickstart / "examples" / "scene-1.png")


@pytest.mark.parametrize("strategy", ["clue", "document", "first_sentence", "free"])
def test_strategies_of_table_4(retriever, image, strategy) -> None:
    kb = retriever.knowledge_base
    hits = retriever.retrieve(image, QUESTION, k=4, strategy=strategy)
    assert hits == retriever.retrieve([image], [QUESTION], k=4, strategy=strategy)[0]
    assert 0 < len(hits) == len({hit.row for hit in hits}) <= 4
    assert len(hits) == 4 or strategy == "free"
    for hit in hits:
        text = " ".join(hit.document["text"].split())
        clue = " ".join(hit.clues[0].text.split())
        if strategy == "document":
            assert hit.clues[0].token_ids == tuple(kb.index.extract(hit.row).tolist())
        elif strategy == "first_sentence":
            assert text.startswith(clue) and clue == first_sentence(text)
        elif strategy == "clue":
            assert clue in text
            assert kb.lookup([hit.clues[0].token_ids])[0] == hit.row
        else:
            row = int(kb.lookup([hit.clues[0].token_ids])[0])
            assert hit.row == (row if row >= 0 else kb.best_match([clue])[0][0])


def test_an_unknown_strategy_is_an_error(retriever) -> None:
    message = "strategy is one of clue, document, first_sentence, free, not 'title'"
    with pytest.raises(ValueError, match=message):
        retriever.retrieve(None, QUESTION, strategy="title")


def test_an_image_alone(retriever, image) -> None:
    """As for the clues of Table 5; a question is not needed, but it changes what is written."""
    alone = retriever.retrieve(image, None, k=5)
    assert len(alone) == 5
    assert alone != retriever.retrieve(image, QUESTION, k=5)
    both = retriever.retrieve([image, None], [None, QUESTION], k=5)
    assert [hit.row for hit in both[0]] == [hit.row for hit in alone]
    with pytest.raises(ValueError, match="Question 0 is a NoneType"):
        retriever.retrieve(None, None)


def test_the_trace_of_a_search(retriever, image) -> None:
    hits, trace = retriever.retrieve(image, QUESTION, k=3, return_trace=True)
    assert {hit.row for hit in hits} <= {trace.nodes[number].row for number in trace.found}
    for hit in hits:
        assert list(hit.clues[0].token_ids) in [trace.clue(number) for number in trace.found]
    both, traces = retriever.retrieve(None, [QUESTION] * 2, k=3, return_trace=True)
    assert len(both) == len(traces) == 2
    with pytest.raises(ValueError, match="leave out do_sample"):
        retriever.retrieve(None, QUESTION, return_trace=True, do_sample=True)
    with pytest.raises(ValueError, match="strategy='free' has none"):
        retriever.retrieve(None, QUESTION, return_trace=True, strategy="free")


def test_settings_of_decoding(retriever) -> None:
    """Each one reaches the search."""
    plain = retriever.retrieve(None, QUESTION, k=5)
    for setting in ({"renormalize": True}, {"ambiguity_penalty": 1.0, "min_length": 2}):
        assert retriever.retrieve(None, QUESTION, k=5, **setting) != plain
    for hit in retriever.retrieve(None, QUESTION, k=5, min_length=4, max_length=4):
        assert {len(clue.token_ids) for clue in hit.clues} == {4}
    assert retriever.retrieve(None, QUESTION, k=5, static_cache=True)[0].row == plain[0].row
    with pytest.raises(ValueError, match="ambiguity_penalty must not be negative, got -1"):
        retriever.retrieve(None, QUESTION, ambiguity_penalty=-1)
    with pytest.raises(ValueError, match="max_pieces must be at least 1, not 0"):
        retriever.retrieve(None, QUESTION, max_pieces=0)


def test_parts_of_different_checkpoints(retriever, monkeypatch) -> None:
    monkeypatch.setattr(retriever.model.config, "image_token_id", 7)
    with pytest.raises(ValueError, match="made with image_token_id=7"):
        GeMKRRetriever(retriever.model, retriever.processor, retriever.knowledge_base)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"do_sample": True}, {"num_beams": 1, "do_sample": False}, {"top_k": 5}]
)
@pytest.mark.parametrize("strategy", ["clue", "document", "free"])
def test_what_generate_writes(retriever, image, strategy, settings) -> None:
    """Sampling and greedy search too; scores are Eq. 1 of what was written."""
    torch.manual_seed(0)
    hits = retriever.retrieve(image, QUESTION, k=5, strategy=strategy, **settings)
    assert 0 < len(hits) <= 5
    assert hits[0].score < 0
    assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
    if settings.get("num_beams") == 1:
        assert len(hits) == len(hits[0].clues) == 1
    if strategy == "clue":
        inputs = retriever._encode(retriever._queries(image, QUESTION, None, None))
        clue = hits[0].clues[0]
        ids = torch.cat([inputs["input_ids"], torch.tensor([clue.token_ids])], dim=1)
        images = {name: value for name, value in inputs.items() if "pixel" in name}
        with torch.no_grad():
            logits = retriever.model(
                input_ids=ids, object_mask=inputs["object_mask"], **images
            ).logits[0, -len(clue.token_ids) - 1 : -1]
        log_probs = logits.log_softmax(-1)[range(len(clue.token_ids)), list(clue.token_ids)]
        assert clue.score == pytest.approx(float(log_probs.sum()), abs=1e-2)


def test_free_text_that_matches_nothing(retriever, monkeypatch) -> None:
    assert retriever.knowledge_base.best_match(["zzzz qqqq", "", "alchemy"])[:2] == [[], []]
    assert retriever.knowledge_base.best_match(["alchemy"]) != [[]]
    assert retriever.knowledge_base.best_match([]) == []
    monkeypatch.setattr(retriever, "_generate", lambda *args, **settings: [[]])
    assert retriever.retrieve(None, QUESTION, strategy="free") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "free", "max_pieces": 2}, "max_pieces is for a search over clues alone"),
        ({"strategy": "free", "static_cache": True}, "static_cache is for a search over clues"),
        ({"strategy": "free", "renormalize": True}, "renormalize is for clues"),
        ({"strategy": "document", "keep_ambiguous": True}, "keep_ambiguous is for clues"),
        ({"strategy": "document", "min_length": 3}, "min_length is for clues"),
        ({"do_sample": True, "max_pieces": 2}, "max_pieces is for a search over clues alone"),
    ],
)
def test_settings_that_a_strategy_does_not_have(retriever, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        retriever.retrieve(None, QUESTION, **settings)


@pytest.mark.parametrize("search", [{}, {"output_scores": False}])
def test_ambiguous_clues_that_are_kept(retriever, search) -> None:
    """By the tree and by `generate`: their first document."""
    settings = {"min_length": 2, "max_length": 2, "keep_ambiguous": True, **search}
    hits = retriever.retrieve(None, QUESTION, k=10, **settings)
    index = retriever.knowledge_base.index
    clues = [clue.token_ids for hit in hits for clue in hit.clues]
    assert min(index.lookup_doc(clues)) == -1
    for hit in hits:
        for clue in hit.clues:
            assert index.locate(clue.token_ids)[0, 0] == hit.row


@pytest.mark.slow
def test_documents_that_others_begin_with(retriever) -> None:
    """A whole document is found by `generate` as by the tree, though another begins with it."""
    kb = retriever.knowledge_base
    texts = [kb[0]["text"], kb[1]["text"], kb[1]["text"].rstrip(".") + " and more."]
    texts.append(texts[1][: len(texts[1]) // 2].rsplit(" ", 1)[0])
    small = KnowledgeBase.from_documents(
        [{"id": str(row), "text": text} for row, text in enumerate(texts)], kb.tokenizer
    )
    other = GeMKRRetriever(retriever.model, retriever.processor, small)
    for settings in ({}, {"num_return_sequences": 20}):
        hits = other.retrieve(None, QUESTION, k=4, strategy="document", **settings)
        assert {hit.row for hit in hits} == {0, 1, 2, 3}


def test_a_constraint_serves_its_own_output(retriever, image) -> None:
    """What was written as the next prompt: a new clue, not the end of the old one."""
    inputs = retriever._encode(retriever._queries(image, QUESTION, None, None))
    constraint = retriever.knowledge_base.constraint()
    one = retriever.model.generate(**inputs, logits_processor=constraint, num_beams=1)
    again = {**inputs, "input_ids": one, "attention_mask": torch.ones_like(one)}
    two = retriever.model.generate(**again, logits_processor=constraint, num_beams=1)
    tokenizer = retriever.processor.tokenizer
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    clue = [token for token in two[0, one.shape[1] :].tolist() if token not in ends]
    assert retriever.knowledge_base.lookup([clue])[0] >= 0


def test_old_keyword_names_work_with_a_warning(retriever, image) -> None:
    hits = retriever.retrieve(image, QUESTION, k=2)
    with pytest.warns(FutureWarning, match="'(image|question)' is deprecated"):
        assert retriever.retrieve(image=image, question=QUESTION, k=2) == hits


def test_defaults_of_a_retriever(retriever) -> None:
    """Settings of the constructor are those of each call that does not name its own."""
    parts = (retriever.model, retriever.processor, retriever.knowledge_base)
    short = GeMKRRetriever(*parts, min_length=4, max_length=4)
    expected = retriever.retrieve(None, QUESTION, k=3, min_length=4, max_length=4)
    assert short.retrieve(None, QUESTION, k=3) == expected
    plain = retriever.retrieve(None, QUESTION, k=3, strategy="document")
    assert short.retrieve(None, QUESTION, k=3, strategy="document") == plain
    assert GeMKRRetriever(*parts, strategy="document").retrieve(None, QUESTION, k=3) == plain
    with pytest.raises(ValueError, match="must not be below min_length=9"):
        GeMKRRetriever(*parts, min_length=9, max_length=4)
    with pytest.raises(ValueError, match="strategy is one of"):
        GeMKRRetriever(*parts, strategy="title")


def test_documents_are_indexed_in_memory(retriever) -> None:
    records = [retriever.knowledge_base[row] for row in range(4)]
    other = GeMKRRetriever(retriever.model, retriever.processor)
    with pytest.raises(ValueError, match=r"no documents yet: call index\(documents\) first"):
        other.retrieve(None, [QUESTION])
    other.index(records)
    assert len(other.retrieve(None, [QUESTION], 9)[0]) == 4


def test_captions_are_ignored_or_needed(retriever) -> None:
    parts = (retriever.model, retriever.processor, retriever.knowledge_base)
    plain = retriever.retrieve(None, [QUESTION], 2)
    assert GeMKRRetriever(*parts, captions=False).retrieve(None, [QUESTION], 2, ["a ram"]) == plain
    with pytest.raises(ValueError, match="needs captions: give one for each question"):
        GeMKRRetriever(*parts, captions=True).retrieve(None, [QUESTION], 2)
