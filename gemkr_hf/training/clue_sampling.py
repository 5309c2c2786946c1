"""Clue sampling: draw the clues of a relevant document that a model learns to write.

Paper, section "Supervised Text Sampling". A document is split into sentences, and the sentence with
the most keyword hits is kept. Its spans of ``n`` words are scored ``pi = c / (c + rho)``, where
``c`` is the number of hits in the span. ``m`` starts are drawn from the softmax of the scores, and
``l`` tokens are cut from each. Clues are cut from the document's own tokens, so that every clue
occurs in the FM-index.

Sentence and scores are the strategy ``supervised``; `gemkr_hf.training.sampling_strategies` has
others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from gemkr_hf.training.sampling_strategies import SAMPLING_STRATEGIES, Words
from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.text import SENTENCE_END, STOP_WORDS, WORD

PAIRS_AT_ONCE = 20_000
"""Pairs of a document and a query that are sampled together: a bound on memory."""

AreDistinctive = Callable[[list[np.ndarray]], np.ndarray]
"""n token sequences -> bool ``(n,)``: ``FMIndex.valid_distinct``."""


@dataclass(frozen=True)
class SamplingConfig(Settings):
    """Parameters of clue sampling.

    Attributes:
        strategy: Name in ``SAMPLING_STRATEGIES``: ``supervised`` (paper), ``uniform`` (any word of
            the document), or one that a plug-in registers.
        clues: Clues per relevant document (``m``; paper: "sample two knowledge clues for each
            positive document").
        length: Tokens per clue (``l``; not in the paper, which decodes 10 to 15).
        span: Words per scored span (``n``; not in the paper).
        smoothing: ``rho`` of ``c / (c + rho)`` (not in the paper).
        ambiguous: What to do with a clue that occurs in several documents: ``redraw`` takes the
            next start, ``lengthen`` adds tokens until the clue is distinctive. If neither helps,
            the first draw is kept.
        redraws: Maximum number of further starts.
        max_length: Maximum number of tokens of a lengthened clue (l_max of decoding).
    """

    strategy: str = "supervised"
    clues: int = 2
    length: int = 12
    span: int = 6
    smoothing: float = 1.0
    ambiguous: Literal["redraw", "lengthen"] = "redraw"
    redraws: int = 8
    max_length: int = 15

    def __post_init__(self) -> None:
        SAMPLING_STRATEGIES.get(self.strategy)  # an unknown name is an error
        self.check_positive("clues", "length", "span", "smoothing")
        self.check_not_negative("redraws")
        if self.ambiguous not in ("redraw", "lengthen"):
            raise ValueError(f"ambiguous must be redraw or lengthen, got '{self.ambiguous}'")
        if self.ambiguous == "lengthen" and self.max_length < self.length:
            raise ValueError(
                f"max_length must be at least length ({self.length}), got {self.max_length}"
            )


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """Lowercase a word and remove a common ending, so that "used" hits "uses"."""
    word = word.lower()
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            return word[: -len(ending)]
    return word


def keywords(texts: Iterable[str]) -> frozenset[str]:
    """Return the stems of a query's words, and of its answers', without stop words.

    >>> sorted(keywords(["What is the red sign used for?"]))
    ['red', 'sign', 'us']
    """
    words = (word.lower() for text in texts for word in WORD.findall(text))
    return frozenset(_stem(word) for word in words if word not in STOP_WORDS)


@dataclass(frozen=True)
class SampledClues:
    """Clues of several pairs of a document and a query, in the order of the pairs.

    Attributes:
        pair: int64 ``(N,)``, the pair of each clue.
        tokens: N int32 arrays, each a contiguous part of its document's tokens.
        distinctive: bool ``(N,)``; all True if distinctiveness was not tested.
    """

    pair: np.ndarray
    tokens: list[np.ndarray]
    distinctive: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class SpanDistribution:
    """The distribution over the starts in one document.

    Attributes:
        words: The ``W`` words at which a clue may start; with the strategy ``supervised``, those of
            the sentence with the most hits.
        hits: bool ``(W,)``, whether a word is a keyword of the query.
        scores: float64 ``(W,)``, the strategy's; with ``supervised``, ``c / (c + rho)`` of the span
            that starts at the word.
        probabilities: float64 ``(W,)``, softmax of the scores.
        starts: int64 ``(W,)``, first token of the word in the document.
    """

    words: list[str]
    hits: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    starts: np.ndarray


class ClueSampler:
    """Draws clues from documents for many queries at once; all words and tokens are flat arrays.

    Args:
        texts: The documents' texts.
        tokenizer: The knowledge base's tokenizer, a fast one. Tokens are those of the index: one
            space before the text, no special tokens.
    """

    def __init__(self, texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> None:
        self._stem_ids: dict[str, int] = {}
        tokens, stems, starts, sentences, self._words = [], [], [], [], []
        for text, ids, ends in _encoded(texts, tokenizer):
            matches = list(WORD.finditer(text))
            words = [match.group() for match in matches]
            positions = np.array([match.start() for match in matches], dtype=np.int64)
            breaks = [match.end() for match in SENTENCE_END.finditer(text)]
            known = self._stem_ids
            tokens.append(ids)
            self._words.append(words)
            numbers = [known.setdefault(_stem(word), len(known)) for word in words]
            stems.append(np.array(numbers, dtype=np.int64))
            # A word starts with the first token that overlaps it; a leading space may belong to it.
            starts.append(np.searchsorted(ends, positions, side="right"))
            sentences.append(np.searchsorted(np.array(breaks, dtype=np.int64), positions, "right"))
        self.tokens: list[np.ndarray] = tokens
        self._num_tokens = np.array([len(ids) for ids in tokens], dtype=np.int64)
        self._words_of = np.cumsum([0, *map(len, stems)], dtype=np.int64)
        self._stems, self._starts = _joined(stems), _joined(starts)
        self._sentences = _joined(sentences)

    def __len__(self) -> int:
        return len(self.tokens)

    def sample(
        self,
        documents: Sequence[int] | np.ndarray,
        queries: Sequence[frozenset[str]],
        config: SamplingConfig,
        rng: np.random.Generator,
        are_distinctive: AreDistinctive | None = None,
    ) -> SampledClues:
        """Draw ``config.clues`` clues for each pair of a document and a query.

        Starts are drawn without replacement: the clues of a pair differ, and a sentence with fewer
        starts gives fewer clues. A start too close to the document's end is moved back, so that all
        clues have the same length; a shorter document is one clue.

        Each pair has up to ``clues + redraws`` candidates, ranked in the order of their draw.
        Without a test the first ``clues`` are taken. With one, they are tested rank by rank, for
        all pairs at once, until each pair has enough distinctive clues.

        Args:
            documents: int ``(P,)``, positions of the documents in ``texts``.
            queries: P sets of ``keywords``.
            config: Parameters.
            rng: Random generator.
            are_distinctive: Tests which sequences occur in one document only; None for no test.
        """
        rows = np.asarray(documents, dtype=np.int64)
        parts = [
            self._candidates(rows[first : first + PAIRS_AT_ONCE], queries, first, config, rng)
            for first in range(0, len(rows), PAIRS_AT_ONCE)
        ] or [(np.empty(0, dtype=np.int64),) * 3]
        pair, rank, start = (np.concatenate(column) for column in zip(*parts, strict=True))
        document = rows[pair]
        lengths = np.minimum(config.length, self._num_tokens[document])
        chosen, distinctive = rank < config.clues, np.ones(len(pair), dtype=bool)
        if are_distinctive is not None:
            chosen = np.zeros(len(pair), dtype=bool)
            distinctive = chosen.copy()
            missing = np.full(len(rows), config.clues, dtype=np.int64)
            longest = config.max_length if config.ambiguous == "lengthen" else config.length
            for turn in range(int(rank.max(initial=-1)) + 1):
                # A pair has one candidate of each rank.
                open_rows = np.flatnonzero((rank == turn) & (missing[pair] > 0))
                # As drawn, then one token longer each time (``ambiguous: lengthen``).
                for more in range(longest - config.length + 1):
                    longer = lengths[open_rows] + more
                    fits = start[open_rows] + longer <= self._num_tokens[document[open_rows]]
                    open_rows, longer = open_rows[fits], longer[fits]
                    if not len(open_rows):
                        break
                    tokens = self._cut(document[open_rows], start[open_rows], longer)
                    passed = np.asarray(are_distinctive(tokens), dtype=bool)
                    hits, open_rows = open_rows[passed], open_rows[~passed]
                    lengths[hits] = longer[passed]
                    chosen[hits] = distinctive[hits] = True
                    missing[pair[hits]] -= 1
            # Pairs with too few distinctive clues: keep their first ambiguous ones.
            for turn in range(int(rank.max(initial=-1)) + 1):
                others = np.flatnonzero((rank == turn) & ~chosen & (missing[pair] > 0))
                chosen[others] = True
                missing[pair[others]] -= 1
        tokens = self._cut(document[chosen], start[chosen], lengths[chosen])
        return SampledClues(pair[chosen], tokens, distinctive[chosen])

    def distribution(
        self,
        document: int,
        query: frozenset[str],
        config: SamplingConfig,
        rng: np.random.Generator,
    ) -> SpanDistribution:
        """Return the distribution over the starts in a document."""
        flat, words = self._words_of_pairs(np.array([document]), [query])
        scores = _logits(words, config, rng)
        allowed = np.flatnonzero(scores > -np.inf)
        weights = np.exp(scores[allowed] - scores.max(initial=-np.inf))
        first = self._words_of[document]
        return SpanDistribution(
            [self._words[document][row - first] for row in flat[allowed]],
            words.hits[allowed],
            scores[allowed],
            weights / weights.sum(),
            self._starts[flat[allowed]],
        )

    def _words_of_pairs(
        self, documents: np.ndarray, queries: Sequence[frozenset[str]]
    ) -> tuple[np.ndarray, Words]:
        """Return the words of the pairs' documents, and their positions among all words first."""
        counts = np.diff(self._words_of)[documents]
        pair = np.repeat(np.arange(len(documents)), counts)
        flat = _ranges(self._words_of[documents], counts)
        known, stems = self._stem_ids, max(1, len(self._stem_ids))
        wanted = [
            number * stems + known[word]
            for number, query in enumerate(queries)
            for word in query
            if word in known
        ]
        hits = np.isin(pair * stems + self._stems[flat], np.array(wanted, dtype=np.int64))
        # Sentences are numbered per document; number them over all pairs.
        new = np.ones(len(flat), dtype=bool)
        new[1:] = (np.diff(pair) != 0) | (np.diff(self._sentences[flat]) != 0)
        return flat, Words(pair, np.cumsum(new) - 1, hits, len(documents))

    def _candidates(
        self,
        documents: np.ndarray,
        queries: Sequence[frozenset[str]],
        first: int,
        config: SamplingConfig,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw candidates: pair, rank in the order of the draw, and start token of each."""
        flat, words = self._words_of_pairs(documents, queries[first : first + len(documents)])
        logits = _logits(words, config, rng)
        allowed = np.flatnonzero(logits > -np.inf)
        pair = words.pair[allowed]
        # Sorting by logits with Gumbel noise draws from the softmax without replacement.
        noisy = logits[allowed] + rng.gumbel(size=len(allowed))
        # A document without words, or without an allowed one, has one candidate: its beginning.
        wordless = np.setdiff1d(np.arange(len(documents)), pair)
        pair = np.concatenate([pair, wordless])
        start = np.concatenate([self._starts[flat[allowed]], np.zeros(len(wordless), np.int64)])
        noisy = np.concatenate([noisy, np.zeros(len(wordless))])
        start = np.minimum(start, np.maximum(0, self._num_tokens[documents[pair]] - config.length))
        order = np.lexsort((-noisy, pair))
        pair, start = pair[order], start[order]
        # Starts that were moved back to the same token count once, at their first rank.
        key = pair * (int(start.max(initial=0)) + 1) + start
        once = np.sort(np.unique(key, return_index=True)[1])
        pair, start = pair[once], start[once]
        rank = np.arange(len(pair)) - np.searchsorted(pair, pair)
        kept = rank < config.clues + config.redraws
        return pair[kept] + first, rank[kept], start[kept]

    def _cut(
        self, documents: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> list[np.ndarray]:
        return [
            self.tokens[document][start : start + length]
            for document, start, length in zip(documents, starts, lengths, strict=True)
        ]


def _encoded(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each text, its tokens as in the knowledge base, and the position in it after each."""
    remaining = iter(texts)
    while some := list(islice(remaining, 1000)):
        encoded: Mapping[str, Any] = tokenizer(
            [" " + text for text in some],
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
        )
        for text, ids, offsets in zip(
            some, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            ends = np.array(offsets, dtype=np.int64).reshape(-1, 2)[:, 1] - 1
            yield text, np.array(ids, dtype=np.int32), ends


def _logits(words: Words, config: SamplingConfig, rng: np.random.Generator) -> np.ndarray:
    logits = np.asarray(SAMPLING_STRATEGIES.get(config.strategy)(words, config, rng))
    if logits.shape != (len(words),) or not (logits < np.inf).all():
        raise ValueError(
            f"The clue sampling strategy '{config.strategy}' must return a number below infinity "
            f"for each of {len(words)} words"
        )
    return logits


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.empty(0, dtype=np.int64)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenate the ranges ``starts[i], ..., starts[i] + counts[i] - 1``."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)


__all__ = [
    "SAMPLING_STRATEGIES",
    "ClueSampler",
    "SampledClues",
    "SamplingConfig",
    "SpanDistribution",
    "keywords",
]
