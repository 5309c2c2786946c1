"""Supervised text sampling against the paper's formula, written out plainly."""

import numpy as np
import pytest

from gemkr_hf.knowledge_base.tokenization import encode_documents
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer
from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.training.clue_sampling import ClueSampler, SamplingConfig, keywords

TEXT = "A ram stands for Aries. The sign begins the year! Old books, it seems, use it for spring."
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CHECKPOINTS / "tokenizer")


@pytest.fixture(scope="module")
def texts():
    return [document["text"] for document in load_documents()[:60]]


@pytest.fixture(scope="module")
def sampler(texts, tokenizer):
    return ClueSampler(texts, tokenizer)


def all_true(runs):
    return np.ones(len(runs), dtype=bool)


def is_run(clue, document):
    clue, document = list(clue), list(document)
    return any(document[at : at + len(clue)] == clue for at in range(len(document)))


def test_tokens_are_those_of_the_knowledge_base(tokenizer, texts) -> None:
    some = [*texts[:20], TEXT, "", " . "]
    sampler = ClueSampler(some, tokenizer)
    for own, tokens in zip(sampler.tokens, encode_documents(some, tokenizer), strict=True):
        assert own.tolist() == list(tokens)


def test_every_clue_is_a_run_of_its_document_and_starts_at_a_word(sampler, texts) -> None:
    config = SamplingConfig(clues=20, length=5)
    rows = RNG(0).integers(len(texts), size=200)
    queries = [keywords([texts[row][10:60]]) for row in rows]
    found = sampler.sample(rows, queries, config, RNG(1))
    assert set(found.pair) == set(range(200))
    for pair, clue in zip(found.pair, found.tokens, strict=True):
        document = sampler.tokens[rows[pair]]
        assert len(clue) == min(5, len(document))
        assert is_run(clue, document)


def test_the_sentence_with_most_hits_is_chosen(tokenizer) -> None:
    sampler = ClueSampler([TEXT], tokenizer)
    for seed in range(10):
        drawn = sampler.distribution(
            0, keywords(["Which books of spring?"]), SamplingConfig(), RNG(seed)
        )
        assert drawn.words[:3] == ["Old", "books", "it"]


def test_among_sentences_of_equal_hits_each_is_drawn(tokenizer) -> None:
    sampler = ClueSampler([TEXT], tokenizer)
    first = {
        sampler.distribution(0, frozenset(), SamplingConfig(), RNG(seed)).words[0]
        for seed in range(40)
    }
    assert first == {"A", "The", "Old"}


def test_probabilities_follow_the_formula_of_the_paper(tokenizer) -> None:
    sampler = ClueSampler(["red sun rises over blue sea and red sand"], tokenizer)
    config = SamplingConfig(span=3, smoothing=0.5)
    drawn = sampler.distribution(0, keywords(["red sea"]), config, RNG(0))
    hits = [word in ("red", "sea") for word in drawn.words]
    counts = np.array([sum(hits[start : start + 3]) for start in range(len(hits))])
    scores = counts / (counts + 0.5)
    np.testing.assert_allclose(drawn.scores, scores)
    np.testing.assert_allclose(drawn.probabilities, np.exp(scores) / np.exp(scores).sum())


def test_starts_are_drawn_as_often_as_their_probabilities_say(tokenizer) -> None:
    text = "red sun rises over blue sea and red sand while one small bird sings for nobody there"
    sampler = ClueSampler([text], tokenizer)
    config = SamplingConfig(clues=1, length=1, span=2, smoothing=0.1)
    query = keywords(["red sea"])
    expected = sampler.distribution(0, query, config, RNG(0))
    pairs = 20_000
    found = sampler.sample(np.zeros(pairs, dtype=int), [query] * pairs, config, RNG(3))
    first = {int(sampler.tokens[0][start]): 0.0 for start in expected.starts}
    for start, probability in zip(expected.starts, expected.probabilities, strict=True):
        first[int(sampler.tokens[0][start])] += probability
    drawn = np.array([int(clue[0]) for clue in found.tokens])
    for token, probability in first.items():
        assert (drawn == token).mean() == pytest.approx(probability, abs=0.015)


def test_two_clues_of_one_pair_differ(sampler, texts) -> None:
    rows = np.arange(len(texts))
    found = sampler.sample(rows, [frozenset()] * len(rows), SamplingConfig(), RNG(0))
    for pair in rows:
        own = [tuple(t) for p, t in zip(found.pair, found.tokens, strict=True) if p == pair]
        assert 1 <= len(own) <= 2
        assert len(set(own)) == len(own)


def test_the_same_seed_draws_the_same(sampler, texts) -> None:
    def draw(seed):
        rows = np.arange(len(texts))
        found = sampler.sample(rows, [frozenset()] * len(rows), SamplingConfig(), RNG(seed))
        return [clue.tolist() for clue in found.tokens]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_pairs_do_not_depend_on_each_other_s_documents(tokenizer, texts) -> None:
    """Sentences, hits and spans of one pair never reach into the next one."""
    sampler = ClueSampler(["red sea", "blue sky over the sea", "red"], tokenizer)
    config = SamplingConfig(clues=9, length=1, span=6, smoothing=0.5)
    queries = [keywords(["sea"]), keywords(["blue"]), keywords(["red"])]
    found = sampler.sample([0, 1, 2], queries, config, RNG(0), all_true)
    assert np.bincount(found.pair).tolist() == [2, 5, 1]
    alone = sampler.distribution(0, queries[0], config, RNG(0))
    np.testing.assert_allclose(alone.scores, [1 / 1.5, 1 / 1.5])


def test_a_clue_that_is_not_distinctive_is_drawn_again(tokenizer) -> None:
    sampler = ClueSampler([TEXT], tokenizer)
    forbidden = sampler.tokens[0][:4].tolist()

    def other(runs):
        return np.array([run.tolist() != forbidden for run in runs])

    config = SamplingConfig(clues=2, length=4, redraws=50)
    for seed in range(30):
        query = keywords(["ram Aries"])
        found = sampler.sample([0], [query], config, RNG(seed), other)
        assert forbidden not in [clue.tolist() for clue in found.tokens]
        assert found.distinctive.all()


def test_what_is_never_distinctive_is_kept_and_told(tokenizer) -> None:
    sampler = ClueSampler([TEXT], tokenizer)
    for ambiguous in ("redraw", "lengthen"):
        config = SamplingConfig(length=4, ambiguous=ambiguous)
        found = sampler.sample(
            [0], [frozenset()], config, RNG(0), lambda runs: np.zeros(len(runs), dtype=bool)
        )
        assert [len(clue) for clue in found.tokens] == [4, 4]
        assert not found.distinctive.any()


def test_a_clue_is_lengthened_to_where_it_is_distinctive(tokenizer) -> None:
    sampler = ClueSampler([TEXT], tokenizer)
    config = SamplingConfig(clues=1, length=3, ambiguous="lengthen", max_length=8)
    for seed in range(20):
        found = sampler.sample(
            [0], [frozenset()], config, RNG(seed), lambda runs: np.array([len(r) > 5 for r in runs])
        )
        [clue] = found.tokens
        assert len(clue) == 6
        assert is_run(clue, sampler.tokens[0])


def test_lengthening_stops_at_the_longest_clue_and_at_the_document_s_end(tokenizer) -> None:
    sampler = ClueSampler([TEXT, "A ram stands"], tokenizer)
    config = SamplingConfig(clues=1, length=3, ambiguous="lengthen", max_length=5)

    def at_least_six(runs):
        assert all(len(run) <= 5 for run in runs)
        return np.array([len(run) >= 6 for run in runs], dtype=bool)

    found = sampler.sample([0, 1], [frozenset()] * 2, config, RNG(0), at_least_six)
    assert not found.distinctive.any()


def test_a_document_shorter_than_a_clue_is_taken_whole(tokenizer) -> None:
    sampler = ClueSampler(["A ram.", ". . .", ""], tokenizer)
    found = sampler.sample([0, 1], [frozenset()] * 2, SamplingConfig(clues=2), RNG(0))
    assert [clue.tolist() for clue in found.tokens] == [
        sampler.tokens[0].tolist(),
        sampler.tokens[1].tolist(),
    ]


def test_no_pair_gives_no_clue(sampler) -> None:
    assert len(sampler.sample([], [], SamplingConfig(), RNG(0), all_true)) == 0


@pytest.mark.parametrize("field", ["clues", "length", "span"])
def test_parameters_are_checked(field) -> None:
    with pytest.raises(ValueError, match=f"{field} must be positive, got 0"):
        SamplingConfig(**{field: 0})


def test_further_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="smoothing must be positive"):
        SamplingConfig(smoothing=0)
    with pytest.raises(ValueError, match="must be redraw or lengthen, got 'drop'"):
        SamplingConfig(ambiguous="drop")
    with pytest.raises(ValueError, match=r"max_length must be at least length \(20\), got 15"):
        SamplingConfig(length=20, ambiguous="lengthen")
