"""Strategies of clue sampling: how probable it is that a clue starts at a word of a document.

A strategy is a function ``(words, config, rng) -> logits`` that is registered under a name in
`SAMPLING_STRATEGIES`; ``sampling.strategy`` of a configuration chooses it. `ClueSampler` does the
rest: it draws the starts, cuts the tokens, and tests whether the clues are distinctive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.utils.registry import Registry

if TYPE_CHECKING:
    from gemkr_hf.training.clue_sampling import SamplingConfig


@dataclass(frozen=True)
class Words:
    """The words of the documents of P pairs of a document and a query, as flat arrays.

    The W words are in the order of the pairs, and within a pair in the order of the text.

    Attributes:
        pair: int64 ``(W,)``, ascending, the pair that a word belongs to.
        sentence: int64 ``(W,)``, ascending, the word's sentence, numbered over all pairs from 0.
        hits: bool ``(W,)``, whether a word is a keyword of the pair's query.
        pairs: P; a pair whose document has no words has no rows.
    """

    pair: NDArray[np.int64]
    sentence: NDArray[np.int64]
    hits: NDArray[np.bool_]
    pairs: int

    def __len__(self) -> int:
        return len(self.pair)


SamplingStrategy = Callable[[Words, "SamplingConfig", np.random.Generator], NDArray[np.float64]]
"""Returns float64 ``(W,)``: for each word the logit of a clue's start there. Starts are drawn from
the softmax over the words of a pair; -inf where no clue starts."""

SAMPLING_STRATEGIES: Registry[SamplingStrategy] = Registry("clue sampling strategy")
"""Name -> strategy; the values of ``sampling.strategy``."""


def supervised(
    words: Words, config: "SamplingConfig", rng: np.random.Generator
) -> NDArray[np.float64]:
    """Score the spans of the sentence with the most keywords (paper, "Supervised Text Sampling").

    The span of ``config.span`` words that starts at a word scores ``c / (c + rho)``, where ``c`` is
    its number of keywords and ``rho`` is ``config.smoothing``; a span ends with its sentence. Of
    sentences with equally many keywords a random one is taken.
    """
    if not len(words):
        return np.empty(0)
    first = np.flatnonzero(np.diff(words.sentence, prepend=-1))
    hits_of = np.bincount(words.sentence, weights=words.hits) + rng.random(len(first))
    most = np.full(words.pairs, -1.0)
    np.maximum.at(most, words.pair[first], hits_of)
    in_best = hits_of[words.sentence] == most[words.pair]
    sums = np.concatenate([[0], np.cumsum(words.hits)])
    sentence_ends = np.searchsorted(words.sentence, words.sentence, side="right")
    ends = np.minimum(np.arange(len(words)) + config.span, sentence_ends)
    counts = sums[ends] - sums[:-1]
    return np.where(in_best, counts / (counts + config.smoothing), -np.inf)


def uniform(
    words: Words, config: "SamplingConfig", rng: np.random.Generator
) -> NDArray[np.float64]:
    """Start at any word of the document: what is learned without the query's keywords."""
    return np.zeros(len(words))


SAMPLING_STRATEGIES.register("supervised", supervised)
SAMPLING_STRATEGIES.register("uniform", uniform)

__all__ = ["SAMPLING_STRATEGIES", "SamplingStrategy", "Words", "supervised", "uniform"]
