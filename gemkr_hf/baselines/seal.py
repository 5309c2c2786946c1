"""SEAL: n-grams that a text-only language model writes under the FM-index, scored jointly.

Bevilacqua et al. (2022), "Autoregressive Search Engines: Generating Substrings as Document
Identifiers", with its score of an n-gram (their Eq. 2) and its intersective score of a document
(their Eq. 4 and 5).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemkr_hf.baselines.baseline import Images, document_hit
from gemkr_hf.baselines.text_language_model import TextModel, WritingBaseline
from gemkr_hf.decoding import FMIndexConstraint, SearchTrace, TreeSearch
from gemkr_hf.decoding.clue import Clue
from gemkr_hf.index import FMIndex
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.retrieval.types import Hit


@dataclass(frozen=True)
class NGram:
    """An n-gram that the beam search visited.

    Attributes:
        tokens: its token ids.
        weight: w(n, q), at least 0.
        count: occurrences in all documents.
    """

    tokens: tuple[int, ...]
    weight: float
    count: int


@dataclass(frozen=True)
class SEALSettings:
    """Settings of the search and of the scores; the defaults are the paper's.

    Attributes:
        num_beams: number of beams of the search.
        length: tokens of the longest n-grams; their prefixes count as well.
        alpha: exponent of an n-gram's weight in a document's score.
        beta: how much an n-gram loses when heavier n-grams contain its tokens.
        max_occurrences: more frequent n-grams do not make a document a candidate.
        candidates: documents that are scored with all n-grams.
    """

    num_beams: int = 15
    length: int = 10
    alpha: float = 2.0
    beta: float = 0.8
    max_occurrences: int = 1500
    candidates: int = 500


class SEALRetriever(WritingBaseline):
    """Documents by the n-grams of their texts that a language model writes.

    Args:
        model: the language model.
        captions: add the captions to the prompts.
        settings: of the search and the scores.
        knowledge_base: of the documents, with the model's tokenizer; `index` builds one in memory
            if None.
        batch_size: questions decoded together.
    """

    def __init__(
        self,
        model: TextModel,
        captions: bool = False,
        settings: SEALSettings | None = None,
        knowledge_base: KnowledgeBase | None = None,
        batch_size: int = 8,
    ) -> None:
        super().__init__("SEAL", model, captions, batch_size)
        self._settings = settings or SEALSettings()
        self._knowledge_base = knowledge_base

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents, or check the tokenizer of the given knowledge base."""
        tokenizer = self._model.tokenizer
        if self._knowledge_base is not None:
            self._knowledge_base.check_tokenizer(tokenizer)
        self._indexed = self._knowledge_base or KnowledgeBase.from_documents(documents, tokenizer)

    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        index = self._indexed.index
        constraint = FMIndexConstraint(
            index,
            self._model.tokenizer.eos_token_id,
            min_length=self._settings.length,
            max_length=self._settings.length,
            keep_ambiguous=True,
        )
        search = TreeSearch(
            self._model.model.eval(),
            constraint,
            num_beams=self._settings.num_beams,
            num_beam_groups=1,
            wanted=self._settings.num_beams,
        )
        results: list[list[Hit]] = []
        for inputs in self._batches(texts):
            search.run(inputs, return_trace=True)
            for trace in search.traces:
                ranked = rank_documents(index, weigh_ngrams(index, trace), self._settings)
                results.append([self._hit(*document) for document in ranked[:k]])
        return results

    def _hit(self, row: int, score: float, ngrams: Sequence[NGram]) -> Hit:
        pieces = tuple(ngram.tokens for ngram in ngrams[:3])
        decode = self._model.tokenizer.decode
        text = " ... ".join(decode(tokens).strip() for tokens in pieces)
        document_id = self._indexed[row]["id"]
        return document_hit(document_id, score, (Clue(pieces, score, text=text, row=row),))


def weigh_ngrams(index: FMIndex, trace: SearchTrace) -> list[NGram]:
    """Return the n-grams that the beam search visited, with their weights, heaviest first.

    w(n, q) = max(0, log P(n|q) (1 - P(n)) / (P(n) (1 - P(n|q)))), where P(n) is the n-gram's
    occurrences divided by all tokens: n-grams that are likely for any question weigh 0.
    """
    written = [
        (tuple(trace.clue(number)), node.score)
        for number, node in enumerate(trace.nodes)
        if node.depth > 0 and node.state != "dropped"
    ]
    # A finished clue ends with an end token, which no document contains.
    counts = index.count([tokens for tokens, _ in written])
    ngrams: dict[tuple[int, ...], NGram] = {}
    for (tokens, score), count in zip(written, counts.tolist(), strict=True):
        if count == 0:
            continue
        written_odds = score - math.log1p(-math.exp(min(score, -1e-12)))
        share = min(count / index.num_tokens, 1 - 1e-12)
        weight = max(0.0, written_odds - (math.log(share) - math.log1p(-share)))
        ngrams[tokens] = NGram(tokens, weight, count)
    return sorted(ngrams.values(), key=lambda ngram: -ngram.weight)


def rank_documents(
    index: FMIndex, ngrams: Sequence[NGram], settings: SEALSettings
) -> list[tuple[int, float, list[NGram]]]:
    """Return the rows of documents, their scores and their n-grams, best first.

    W(d, q) = sum of w(n, q)^alpha cover(n, K(d)) over K(d), the n-grams of d that have an
    occurrence which no heavier n-gram overlaps; cover(n, K) = 1 - beta + beta |set(n) - C(n, K)| /
    |set(n)|, where C(n, K) are the tokens of the heavier n-grams.

    Args:
        index: over the documents.
        ngrams: heaviest first.
        settings: alpha, beta and the number of candidates.
    """
    first: dict[int, float] = {}
    for ngram in ngrams:
        if ngram.count > settings.max_occurrences:
            continue
        for row in set(index.locate(ngram.tokens)[:, 0].tolist()):
            first[row] = first.get(row, 0.0) + ngram.weight**settings.alpha
    best = sorted(first, key=lambda row: (-first[row], row))[: settings.candidates]
    scored = []
    for row in best:
        kept = _without_overlaps(index.extract(row).tolist(), ngrams)
        score, seen = 0.0, set[int]()
        for ngram in kept:
            tokens = set(ngram.tokens)
            cover = 1 - settings.beta + settings.beta * len(tokens - seen) / len(tokens)
            score += ngram.weight**settings.alpha * cover
            seen |= tokens
        scored.append((row, score, kept))
    return sorted(scored, key=lambda entry: (-entry[1], entry[0]))


def _without_overlaps(document: Sequence[int], ngrams: Sequence[NGram]) -> list[NGram]:
    """Return K(d): the n-grams with an occurrence that no heavier one overlaps, heaviest first."""
    starts: dict[int, list[int]] = {}
    for position, token in enumerate(document):
        starts.setdefault(token, []).append(position)
    taken = [False] * len(document)
    kept = []
    for ngram in ngrams:
        length = len(ngram.tokens)
        counts = False
        for start in starts.get(ngram.tokens[0], ()):
            span = slice(start, start + length)
            if tuple(document[span]) == ngram.tokens and not any(taken[span]):
                taken[span] = [True] * length
                counts = True
        if counts:
            kept.append(ngram)
    return kept


__all__ = ["NGram", "SEALRetriever", "SEALSettings", "rank_documents", "weigh_ngrams"]
