"""Strategies of clue sampling: where in a document a clue may start. Copy a test for a new one."""

import os

import numpy as np
import pytest

from gemkr_hf.data import DataConfig
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer
from gemkr_hf.training.arguments import TrainConfig
from gemkr_hf.training.clue_sampling import ClueSampler, SamplingConfig, keywords
from gemkr_hf.training.sampling_strategies import SAMPLING_STRATEGIES, Words
from gemkr_hf.utils.config import as_plain, parse, upgrade_settings
from gemkr_hf.utils.registry import PLUGINS_VARIABLE, enable_plugin

TEXT = "A ram stands for Aries. The sign begins the year! Old books, it seems, use it for spring."
DRAWS = 300


@pytest.fixture(scope="module")
def sampler() -> ClueSampler:
    return ClueSampler([TEXT, "Red sand. Blue sea."], load_tokenizer(CHECKPOINTS / "tokenizer"))


def starts(sampler: ClueSampler, strategy: str, query: str, document: int = 0) -> set[str]:
    """The words at which clues start, of many draws of one token each."""
    config = SamplingConfig(strategy=strategy, clues=1, length=1)
    rows, queries = [document] * DRAWS, [keywords([query])] * DRAWS
    found = sampler.sample(rows, queries, config, np.random.default_rng(0))
    distribution = sampler.distribution(document, queries[0], config, np.random.default_rng(0))
    assert distribution.probabilities.sum() == pytest.approx(1)
    word_of = {
        int(sampler.tokens[document][start]): word
        for start, word in zip(distribution.starts, distribution.words, strict=True)
    }
    return {word_of[int(clue[0])] for clue in found.tokens}


@pytest.fixture
def registered(monkeypatch):
    """Registers a strategy for the duration of a test."""

    def register(name, strategy):
        monkeypatch.setitem(SAMPLING_STRATEGIES._providers, name, strategy)

    return register


def test_supervised_starts_in_the_sentence_with_most_keywords(sampler) -> None:
    words = starts(sampler, "supervised", "Which books of spring?")
    assert words == {"Old", "books", "it", "seems", "use", "for", "spring"}


def test_uniform_starts_at_every_word(sampler) -> None:
    words = starts(sampler, "uniform", "Which books of spring?")
    assert {"ram", "Aries", "year", "Old", "spring"} <= words


def test_a_strategy_sees_words_sentences_and_keywords_of_all_pairs(sampler, registered) -> None:
    seen: list[Words] = []

    def spy(words, config, rng):
        seen.append(words)
        return np.zeros(len(words))

    registered("spy", spy)
    queries = [keywords(["blue"]), keywords(["Aries"]), keywords(["red"])]
    config = SamplingConfig(strategy="spy")
    sampler.sample([1, 0, 1], queries, config, np.random.default_rng(0))
    [words] = seen
    assert words.pairs == 3
    assert np.bincount(words.pair).tolist() == [4, 18, 4]
    assert words.sentence[:5].tolist() == [0, 0, 1, 1, 2]
    assert words.sentence[-4:].tolist() == [5, 5, 6, 6]
    assert words.hits[:4].tolist() == [False, False, True, False]
    assert words.hits[-4:].tolist() == [True, False, False, False]


def test_a_clue_starts_only_where_the_strategy_allows(sampler, registered) -> None:
    def keywords_only(words, config, rng):
        return np.where(words.hits, 0.0, -np.inf)

    registered("keywords-only", keywords_only)
    assert starts(sampler, "keywords-only", "the ram of spring") == {"ram", "spring"}
    # No keyword: the only clue is the beginning of the document.
    config = SamplingConfig(strategy="keywords-only", length=3)
    found = sampler.sample([0], [keywords(["sea"])], config, np.random.default_rng(0))
    assert [clue.tolist() for clue in found.tokens] == [sampler.tokens[0][:3].tolist()]


def test_higher_logits_start_more_clues(sampler, registered) -> None:
    def mostly_first(words, config, rng):
        return np.where(np.diff(words.pair, prepend=-1) > 0, np.log(3 * (len(words) - 1)), 0.0)

    registered("mostly-first", mostly_first)
    config = SamplingConfig(strategy="mostly-first")
    drawn = sampler.distribution(1, frozenset(), config, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.probabilities, [3 / 4, 1 / 12, 1 / 12, 1 / 12])


@pytest.mark.parametrize(
    "wrong", [np.zeros(3), np.full(18, np.nan), np.full(18, np.inf)], ids=["few", "nan", "inf"]
)
def test_an_invalid_answer_of_a_strategy_is_an_error(sampler, registered, wrong) -> None:
    registered("wrong", lambda words, config, rng: wrong)
    config = SamplingConfig(strategy="wrong")
    with pytest.raises(ValueError, match="'wrong' must return a number below infinity"):
        sampler.sample([0], [frozenset()], config, np.random.default_rng(0))


def test_an_unknown_strategy_is_one_sentence_with_the_known_names() -> None:
    message = "Unknown clue sampling strategy 'random': choose supervised, uniform"
    with pytest.raises(ValueError, match=message):
        SamplingConfig(strategy="random")
    with pytest.raises(ValueError, match=message):  # as from a configuration file
        parse(SamplingConfig, {"strategy": "random"})


def test_a_run_recorded_before_there_were_strategies_goes_on() -> None:
    now = as_plain(TrainConfig(data=DataConfig(format="symbols"), output="runs/x"))
    before = {**now, "sampling": {k: v for k, v in now["sampling"].items() if k != "strategy"}}
    assert upgrade_settings(TrainConfig, before)["sampling"] == now["sampling"]


def test_another_package_adds_a_strategy(sampler, tmp_path, monkeypatch) -> None:
    (tmp_path / "own_strategies.py").write_text(
        "import numpy as np\n"
        "from gemkr_hf.utils.registry import register\n"
        "def last(words, config, rng):\n"
        "    return np.where(np.diff(words.pair, append=-1) != 0, 0.0, -np.inf)\n"
        "register('clue sampling strategy', 'last-word', 'own_strategies:last')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS_VARIABLE, os.environ.get(PLUGINS_VARIABLE, ""))
    enable_plugin("own_strategies")
    assert starts(sampler, "last-word", "ram") == {"spring"}
