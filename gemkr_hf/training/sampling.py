"""Supervised text sampling: which snippets of a relevant document a model learns to write.

Paper, section "Supervised Text Sampling". A document is split into sentences; the sentence with
the most keyword hits is kept; its spans of ``n`` words are scored ``pi = c / (c + rho)``, where
``c`` counts the hits in the span; ``m`` spans are drawn from the softmax of the scores, and ``l``
tokens are cut from each start. The cut is made on the document's own tokens, so that every clue is
a subsequence of what the FM-index holds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from gemkr_hf.text import SENTENCE_END, STOP_WORDS, WORD


@dataclass(frozen=True)
class SamplingConfig:
    """Parameters of supervised text sampling.

    Attributes:
        clues: snippets drawn from each relevant document (``m``; paper: 2).
        length: tokens of a clue (``l``; the paper decodes 10 to 15).
        span: words of a scored span (``n``).
        smoothing: ``rho`` of ``c / (c + rho)``.
        redraws: how often a clue that is not distinctive is drawn again.
    """

    clues: int = 2
    length: int = 12
    span: int = 6
    smoothing: float = 1.0
    redraws: int = 8

    def __post_init__(self) -> None:
        for name in ("clues", "length", "span"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.smoothing <= 0:
            raise ValueError(f"smoothing must be positive, got {self.smoothing}")


def _stem(word: str) -> str:
    """Lowercase and without a plural's or a verb's ending, so that "used" hits "uses"."""
    word = word.lower()
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            return word[: -len(ending)]
    return word


def keywords(texts: Iterable[str]) -> frozenset[str]:
    """Stems of the words of a query (and of its answers) that carry meaning.

    >>> sorted(keywords(["What is the red sign used for?"]))
    ['red', 'sign', 'us']
    """
    words = (word.lower() for text in texts for word in WORD.findall(text))
    return frozenset(_stem(word) for word in words if word not in STOP_WORDS)


class SnippetSampler:
    """Draws clues from one document.

    Args:
        text: the document.
        tokens: the document's tokens as the index holds them (int ids).
        offsets: for each token the characters ``(start, end)`` of ``text`` it stands for.
    """

    def __init__(
        self, text: str, tokens: Sequence[int], offsets: Sequence[tuple[int, int]]
    ) -> None:
        self.tokens = list(tokens)
        words = list(WORD.finditer(text))
        self._stems = [_stem(word.group()) for word in words]
        ends = np.array([end for _, end in offsets], dtype=np.int64)
        # The first token that reaches into a word begins it: a leading space may belong to it.
        self._word_tokens = np.searchsorted(
            ends, np.array([word.start() for word in words], dtype=np.int64), side="right"
        )
        breaks = [match.end() for match in SENTENCE_END.finditer(text)]
        positions = np.array([word.start() for word in words], dtype=np.int64)
        self._sentence_of_word = np.searchsorted(
            np.array(breaks, dtype=np.int64), positions, "right"
        )

    @classmethod
    def from_text(cls, text: str, tokenizer: PreTrainedTokenizerBase) -> "SnippetSampler":
        """Tokenize ``text`` as the knowledge base does: with one space before it."""
        encoded = tokenizer(
            " " + text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
        )
        offsets = [(max(0, start - 1), end - 1) for start, end in encoded["offset_mapping"]]
        return cls(text, encoded["input_ids"], offsets)

    def distribution(
        self, query: frozenset[str], config: SamplingConfig, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Start tokens of the chosen sentence's spans and their probabilities.

        Returns:
            ``(starts, probabilities)``, int64 and float64 of shape ``(spans,)``.
        """
        hits = np.array([stem in query for stem in self._stems], dtype=np.int64)
        per_sentence = np.bincount(self._sentence_of_word, weights=hits)
        best = np.flatnonzero(per_sentence == per_sentence.max())
        sentence = best[rng.integers(len(best))]
        rows = np.flatnonzero(self._sentence_of_word == sentence)
        sums = np.concatenate([[0], np.cumsum(hits[rows])])
        ends = np.minimum(np.arange(len(rows)) + config.span, len(rows))
        counts = sums[ends] - sums[:-1]
        scores = counts / (counts + config.smoothing)
        weights = np.exp(scores - scores.max())
        return self._word_tokens[rows], weights / weights.sum()

    def sample(
        self,
        query: frozenset[str],
        config: SamplingConfig,
        rng: np.random.Generator,
        is_distinctive: Callable[[list[int]], bool] | None = None,
    ) -> list[list[int]]:
        """Draw ``config.clues`` clues, each ``config.length`` tokens (fewer in a shorter document).

        A start too near to the document's end is moved back, so that all clues have one length.
        """
        if not self._stems:
            return [self.tokens[: config.length]] * config.clues
        clues = []
        for _ in range(config.clues):
            for _ in range(config.redraws + 1):
                starts, probabilities = self.distribution(query, config, rng)
                start = int(rng.choice(starts, p=probabilities))
                start = max(0, min(start, len(self.tokens) - config.length))
                clue = self.tokens[start : start + config.length]
                if is_distinctive is None or is_distinctive(clue):
                    break
            clues.append(clue)
        return clues
