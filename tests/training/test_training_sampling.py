import numpy as np
import pytest

from gemkr_hf.knowledge_base.tokens import encode_documents
from gemkr_hf.small_world.build import CHECKPOINTS
from gemkr_hf.small_world.tokenizer import load_tokenizer
from gemkr_hf.symbols.knowledge import load_documents
from gemkr_hf.training.sampling import SamplingConfig, SnippetSampler, keywords

TEXT = "A ram stands for Aries. The sign begins the year! Old books, it seems, use it for spring."


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CHECKPOINTS / "tokenizer")


def test_tokens_are_those_of_the_knowledge_base(tokenizer) -> None:
    texts = [document["text"] for document in load_documents()[:20]] + [TEXT]
    for text, tokens in zip(texts, encode_documents(texts, tokenizer), strict=True):
        assert SnippetSampler.from_text(text, tokenizer).tokens == list(tokens)


def test_every_clue_is_a_run_of_the_document_and_starts_at_a_word(tokenizer) -> None:
    rng = np.random.default_rng(0)
    config = SamplingConfig(clues=20, length=5)
    for document in load_documents()[:30]:
        sampler = SnippetSampler.from_text(document["text"], tokenizer)
        for clue in sampler.sample(keywords(["the ram"]), config, rng):
            assert len(clue) == 5
            runs = [sampler.tokens[start : start + 5] for start in range(len(sampler.tokens) - 4)]
            assert clue in runs


def test_the_sentence_with_most_hits_is_chosen(tokenizer) -> None:
    sampler = SnippetSampler.from_text(TEXT, tokenizer)
    rng = np.random.default_rng(0)
    for _ in range(10):
        starts, _ = sampler.distribution(
            keywords(["Which books of spring?"]), SamplingConfig(), rng
        )
        assert tokenizer.decode(sampler.tokens[starts[0] :]).strip().startswith("Old books")


def test_probabilities_follow_the_formula_of_the_paper(tokenizer) -> None:
    sampler = SnippetSampler.from_text("red sun rises over blue sea and red sand", tokenizer)
    config = SamplingConfig(span=3, smoothing=0.5)
    _, probabilities = sampler.distribution(keywords(["red sea"]), config, np.random.default_rng(0))
    words = ["red", "sun", "rises", "over", "blue", "sea", "and", "red", "sand"]
    hits = [word in ("red", "sea") for word in words]
    counts = np.array([sum(hits[start : start + 3]) for start in range(len(words))])
    scores = counts / (counts + 0.5)
    np.testing.assert_allclose(probabilities, np.exp(scores) / np.exp(scores).sum())


def test_a_clue_that_is_not_distinctive_is_drawn_again(tokenizer) -> None:
    sampler = SnippetSampler.from_text(TEXT, tokenizer)
    forbidden = sampler.tokens[:4]
    config = SamplingConfig(clues=30, length=4, redraws=50)
    clues = sampler.sample(
        keywords(["ram Aries"]), config, np.random.default_rng(0), lambda clue: clue != forbidden
    )
    assert forbidden not in clues


def test_a_document_shorter_than_a_clue_is_taken_whole(tokenizer) -> None:
    sampler = SnippetSampler.from_text("A ram.", tokenizer)
    [clue] = sampler.sample(frozenset(), SamplingConfig(clues=1), np.random.default_rng(0))
    assert clue == sampler.tokens


@pytest.mark.parametrize("field", ["clues", "length", "span"])
def test_parameters_are_checked(field) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        SamplingConfig(**{field: 0})
