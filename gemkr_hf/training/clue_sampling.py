"""Supervised text sampling: which snippets of a relevant document a model learns to write.

Paper, section "Supervised Text Sampling". A document is split into sentences; the sentence with
the most keyword hits is kept; its spans of ``n`` words are scored ``pi = c / (c + rho)``, where
``c`` counts the hits in the span; ``m`` starts are drawn from the softmax of the scores, and ``l``
tokens are cut from each. The cut is made on the document's own tokens, so that every clue is a
subsequence of what the FM-index holds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.text import SENTENCE_END, STOP_WORDS, WORD

PAIRS_AT_ONCE = 20_000

AreDistinctive = Callable[[list[np.ndarray]], np.ndarray]
"""Token sequences -> bool of the same number: ``FMIndex.valid_distinct``."""


@dataclass(frozen=True)
class SamplingConfig(Settings):
    """Parameters of supervised text sampling.

    Attributes:
        clues: starts drawn for each relevant document (``m``; paper: "sample two knowledge clues
            for each positive document").
        length: tokens of a clue (``l``; the paper gives none and decodes 10 to 15).
        span: words of a scored span (``n``; the paper gives none).
        smoothing: ``rho`` of ``c / (c + rho)`` (the paper gives none).
        ambiguous: what becomes of a clue that several documents hold: ``"redraw"`` takes the next
            start drawn, ``"lengthen"`` goes on in the document until the clue is distinctive.
            Where neither helps, the clue stays as it was drawn first.
        redraws: how many more starts are looked at, at most.
        max_length: tokens of a lengthened clue at most (l_max of decoding).
    """

    clues: int = 2
    length: int = 12
    span: int = 6
    smoothing: float = 1.0
    ambiguous: Literal["redraw", "lengthen"] = "redraw"
    redraws: int = 8
    max_length: int = 15

    def __post_init__(self) -> None:
        for name in ("clues", "length", "span"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.smoothing <= 0:
            raise ValueError(f"smoothing must be positive, got {self.smoothing}")
        if self.redraws < 0:
            raise ValueError(f"redraws must not be negative, got {self.redraws}")
        if self.ambiguous not in ("redraw", "lengthen"):
            raise ValueError(f"ambiguous is redraw or lengthen, not '{self.ambiguous}'")
        if self.ambiguous == "lengthen" and self.max_length < self.length:
            raise ValueError(
                f"max_length must be at least length ({self.length}), got {self.max_length}"
            )


@lru_cache(maxsize=200_000)
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


@dataclass(frozen=True)
class SampledClues:
    """Clues of several pairs of a document and a query, in the order of the pairs.

    Attributes:
        pair: int64 ``(N,)``, the pair that each clue belongs to.
        tokens: int32 arrays, each a run of its document's tokens.
        distinctive: bool ``(N,)``; True throughout where it was not asked.
    """

    pair: np.ndarray
    tokens: list[np.ndarray]
    distinctive: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class SpanDistribution:
    """The distribution over the starts of one sentence.

    Attributes:
        words: the sentence's words.
        hits: bool ``(words,)``, which of them the query holds.
        scores: float64 ``(words,)``, ``c / (c + rho)`` of the span that starts there.
        probabilities: float64 ``(words,)``, their softmax.
        starts: int64 ``(words,)``, each word's first token in the document.
    """

    words: list[str]
    hits: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    starts: np.ndarray


class ClueSampler:
    """Documents as arrays of words and tokens, from which clues are drawn for many queries at once.

    Args:
        texts: the documents.
        tokenizer: a fast tokenizer, that of the knowledge base. Tokens are those of the index:
            one space before the text, no special tokens.
    """

    def __init__(self, texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> None:
        self._stem_ids: dict[str, int] = {}
        tokens, stems, starts, sentences, self._words = [], [], [], [], []
        for text, ids, ends in _encoded(texts, tokenizer):
            words = list(WORD.finditer(text))
            positions = np.array([word.start() for word in words], dtype=np.int64)
            breaks = [match.end() for match in SENTENCE_END.finditer(text)]
            known = self._stem_ids
            tokens.append(ids)
            self._words.append([word.group() for word in words])
            stems.append(
                np.array(
                    [known.setdefault(_stem(word.group()), len(known)) for word in words],
                    dtype=np.int64,
                )
            )
            # The first token that reaches into a word begins it: a leading space may belong to it.
            starts.append(np.searchsorted(ends, positions, side="right"))
            sentences.append(np.searchsorted(np.array(breaks, dtype=np.int64), positions, "right"))
        self.tokens: list[np.ndarray] = tokens
        self._num_tokens = np.array([len(ids) for ids in tokens], dtype=np.int64)
        self._words_of = _offsets(stems)
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

        Starts are drawn one after the other without putting back: no clue of a pair is drawn
        twice, and a sentence of fewer starts gives fewer. A start too near to the document's end
        is moved back, so that clues have one length; a shorter document is taken whole.

        Args:
            documents: int ``(P,)``, the documents' numbers.
            queries: ``P`` sets of ``keywords``.
            config: the parameters.
            rng: makes the draw reproducible.
            are_distinctive: tells which sequences one document alone holds.
        """
        rows = np.asarray(documents, dtype=np.int64)
        parts = [
            self._sample(rows[first : first + PAIRS_AT_ONCE], queries, first, config, rng)
            for first in range(0, len(rows), PAIRS_AT_ONCE)
        ]
        pair, rank, start = (
            (np.concatenate(column) for column in zip(*parts, strict=True))
            if (parts)
            else (np.empty(0, dtype=np.int64),) * 3
        )
        if are_distinctive is None:
            taken = rank < config.clues
            return self._cut(rows, pair[taken], start[taken], config, None)
        return self._choose(rows, pair, rank, start, config, are_distinctive)

    def distribution(
        self,
        document: int,
        query: frozenset[str],
        config: SamplingConfig,
        rng: np.random.Generator,
    ) -> SpanDistribution:
        """What the starts of one clue are drawn from, in the sentence of the most hits."""
        flat, hits, _ = self._best_sentence(np.array([document]), [query], rng)
        scores = _scores(np.zeros(len(flat), dtype=np.int64), hits, config)
        weights = np.exp(scores)
        first = self._words_of[document]
        return SpanDistribution(
            [self._words[document][row - first] for row in flat],
            hits,
            scores,
            weights / weights.sum(),
            self._starts[flat],
        )

    def _best_sentence(
        self, documents: np.ndarray, queries: Sequence[frozenset[str]], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The words of each pair's sentence with the most hits, drawn among equals.

        Returns:
            Of each such word its place, whether it is a hit, and its pair.
        """
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
        # Sentences are numbered within their document: number them through all pairs.
        new = np.ones(len(flat), dtype=bool)
        new[1:] = (np.diff(pair) != 0) | (np.diff(self._sentences[flat]) != 0)
        sentence = np.cumsum(new) - 1
        score = np.bincount(sentence, weights=hits) + rng.random(int(new.sum()))
        best = np.full(len(documents), -1.0)
        np.maximum.at(best, pair[new], score)
        kept = score[sentence] == best[pair]
        return flat[kept], hits[kept], pair[kept]

    def _sample(
        self,
        documents: np.ndarray,
        queries: Sequence[frozenset[str]],
        first: int,
        config: SamplingConfig,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pair, rank and start token of all candidates, in the order in which they are drawn."""
        own = queries[first : first + len(documents)]
        flat, hits, pair = self._best_sentence(documents, own, rng)
        # Adding Gumbel noise and sorting draws from the softmax without putting back.
        noisy = _scores(pair, hits, config) + rng.gumbel(size=len(flat))
        wordless = np.setdiff1d(np.arange(len(documents)), pair)
        pair = np.concatenate([pair, wordless])
        start = np.concatenate([self._starts[flat], np.zeros(len(wordless), dtype=np.int64)])
        noisy = np.concatenate([noisy, np.zeros(len(wordless))])
        last = np.maximum(0, self._num_tokens[documents[pair]] - config.length)
        start = np.minimum(start, last)
        order = np.lexsort((-noisy, pair))
        pair, start = pair[order], start[order]
        # Starts that were moved back to the same place count once, where they came first.
        key = pair * (int(start.max(initial=0)) + 1) + start
        once = np.sort(np.unique(key, return_index=True)[1])
        pair, start = pair[once], start[once]
        rank = np.arange(len(pair)) - np.searchsorted(pair, pair)
        kept = rank < config.clues + config.redraws
        return pair[kept] + first, rank[kept], start[kept]

    def _choose(
        self,
        documents: np.ndarray,
        pair: np.ndarray,
        rank: np.ndarray,
        start: np.ndarray,
        config: SamplingConfig,
        are_distinctive: AreDistinctive,
    ) -> SampledClues:
        """The first candidates of each pair that are distinctive, or else the first."""
        lengths = np.minimum(config.length, self._num_tokens[documents[pair]])
        distinctive = np.zeros(len(pair), dtype=bool)
        taken = np.zeros(len(pair), dtype=bool)
        lacking = np.full(len(documents), config.clues, dtype=np.int64)
        for turn in range(int(rank.max(initial=-1)) + 1):
            rows = np.flatnonzero((rank == turn) & (lacking[pair] > 0))
            if config.ambiguous == "lengthen":
                lengths[rows] = self._lengthened(
                    documents[pair[rows]], start[rows], lengths[rows], config, are_distinctive
                )
            found = self._are_distinctive(
                documents[pair[rows]], start[rows], lengths[rows], are_distinctive
            )
            distinctive[rows] = found
            taken[rows[found]] = True
            lacking[pair[rows[found]]] -= 1
        # What is not to be had distinctive is kept as it was drawn first.
        for turn in range(int(rank.max(initial=-1)) + 1):
            rows = np.flatnonzero((rank == turn) & ~taken & (lacking[pair] > 0))
            taken[rows] = True
            lacking[pair[rows]] -= 1
            lengths[rows] = np.minimum(config.length, self._num_tokens[documents[pair[rows]]])
        clues = self._cut(documents, pair[taken], start[taken], config, lengths[taken])
        return SampledClues(clues.pair, clues.tokens, distinctive[taken])

    def _are_distinctive(
        self,
        documents: np.ndarray,
        start: np.ndarray,
        lengths: np.ndarray,
        are_distinctive: AreDistinctive,
    ) -> np.ndarray:
        if not len(documents):
            return np.zeros(0, dtype=bool)
        runs = [
            self.tokens[document][first : first + length]
            for document, first, length in zip(documents, start, lengths, strict=True)
        ]
        return np.asarray(are_distinctive(runs), dtype=bool)

    def _lengthened(
        self,
        documents: np.ndarray,
        start: np.ndarray,
        lengths: np.ndarray,
        config: SamplingConfig,
        are_distinctive: AreDistinctive,
    ) -> np.ndarray:
        """The shortest lengths from ``lengths`` on that are distinctive, or ``lengths``."""
        result = lengths.copy()
        open_rows = np.arange(len(documents))
        for more in range(config.max_length - config.length + 1):
            longer = lengths[open_rows] + more
            fits = start[open_rows] + longer <= self._num_tokens[documents[open_rows]]
            open_rows, longer = open_rows[fits], longer[fits]
            found = self._are_distinctive(
                documents[open_rows], start[open_rows], longer, are_distinctive
            )
            result[open_rows[found]] = longer[found]
            open_rows = open_rows[~found]
        return result

    def _cut(
        self,
        documents: np.ndarray,
        pair: np.ndarray,
        start: np.ndarray,
        config: SamplingConfig,
        lengths: np.ndarray | None,
    ) -> SampledClues:
        if lengths is None:
            lengths = np.full(len(pair), config.length, dtype=np.int64)
        tokens = [
            self.tokens[document][first : first + length]
            for document, first, length in zip(documents[pair], start, lengths, strict=True)
        ]
        return SampledClues(pair, tokens, np.ones(len(pair), dtype=bool))


def _encoded(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, batch: int = 1000
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each text, its tokens as the knowledge base has them, and the character where each ends."""
    texts = list(texts)
    for first in range(0, len(texts), batch):
        some = texts[first : first + batch]
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


def _scores(pair: np.ndarray, hits: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """``c / (c + rho)`` of the span that starts at each word; spans end with their sentence."""
    sums = np.concatenate([[0], np.cumsum(hits)])
    ends = np.minimum(np.arange(len(pair)) + config.span, np.searchsorted(pair, pair, side="right"))
    counts = sums[ends] - sums[:-1]
    return counts / (counts + config.smoothing)


def _offsets(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.empty(0, dtype=np.int64)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``starts[i], starts[i] + 1, ...`` of each ``counts[i]``, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)


__all__ = [
    "ClueSampler",
    "SampledClues",
    "SamplingConfig",
    "SpanDistribution",
    "keywords",
]
