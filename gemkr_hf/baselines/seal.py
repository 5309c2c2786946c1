"""SEAL: n-grams that a text-only language model writes under the FM-index, counted together.

Bevilacqua et al. (2022), "Autoregressive Search Engines: Generating Substrings as Document
Identifiers", with its score of an n-gram (their Eq. 2) and its intersective score of a document
(their Eq. 4 and 5).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemkr_hf.baselines.text_language_model import TextModel, write_prompt
from gemkr_hf.decoding import FMIndexConstraint, SearchTrace, TreeSearch
from gemkr_hf.index import FMIndex
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.retrieval.protocol import Captions, Found, Images, check_query
from gemkr_hf.utils.logging import progress


@dataclass(frozen=True)
class NGram:
    """An n-gram that a beam came by.

    Attributes:
        tokens: its ids.
        weight: w(n, q), not below 0.
        count: occurrences in all documents.
    """

    tokens: tuple[int, ...]
    weight: float
    count: int


@dataclass(frozen=True)
class SEALSettings:
    """How n-grams are written and counted; the values are the paper's.

    Attributes:
        num_beams: of the search.
        length: tokens of the longest n-grams; their beginnings count as well.
        alpha: power of an n-gram's weight in a document's score.
        beta: what a document's n-gram loses where heavier ones hold its tokens already.
        max_occurrences: n-grams that occur more often do not make a document a candidate.
        candidates: documents that are scored by all n-grams.
    """

    num_beams: int = 15
    length: int = 10
    alpha: float = 2.0
    beta: float = 0.8
    max_occurrences: int = 1500
    candidates: int = 500


class SEALRetriever:
    """Documents by the n-grams of theirs that a language model writes.

    Args:
        model: what writes, on the question in words.
        captions: the captions stand in the prompts as well.
        settings: of the search and the scores.
        knowledge_base: made of the documents and with the model's tokenizer already; `index` makes
            one in memory where None.
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
        self._model = model
        self._captions = captions
        self._settings = settings or SEALSettings()
        self._given = knowledge_base
        self._batch_size = batch_size
        self._knowledge_base: KnowledgeBase | None = None

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``."""
        tokenizer = self._model.tokenizer
        if self._given is not None:
            self._given.check_tokenizer(tokenizer)
        self._knowledge_base = self._given or KnowledgeBase.from_documents(documents, tokenizer)

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``."""
        needs = "captions" if self._captions else None
        check_query("SEAL", self._knowledge_base, images, questions, k, captions, needs)
        kb = self._knowledge_base
        assert kb is not None
        described = list(captions) if self._captions and captions else [""] * len(questions)
        prompts = [write_prompt(*pair) for pair in zip(questions, described, strict=True)]
        constraint = FMIndexConstraint(
            kb.index,
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
        found: list[list[Found]] = []
        batches = self._model.inputs(prompts, self._batch_size)
        for _, inputs in progress(batches, "SEAL", total=-(-len(prompts) // self._batch_size)):
            search.run(inputs, return_trace=True)
            for trace in search.traces:
                ranked = rank_documents(kb.index, weigh_ngrams(kb.index, trace), self._settings)
                found.append(
                    [
                        Found(
                            str(kb[row]["id"]),
                            score,
                            " ... ".join(
                                self._model.tokenizer.decode(ngram.tokens).strip()
                                for ngram in ngrams[:3]
                            ),
                        )
                        for row, score, ngrams in ranked[:k]
                    ]
                )
        return found


def weigh_ngrams(index: FMIndex, trace: SearchTrace) -> list[NGram]:
    """The n-grams that the beams came by, with their weights, heaviest first.

    w(n, q) = max(0, log P(n|q) (1 - P(n)) / (P(n) (1 - P(n|q)))), where P(n) is the n-gram's
    occurrences over all tokens: n-grams that any question would bring weigh nothing.
    """
    written = [
        (tuple(trace.clue(number)), node.score)
        for number, node in enumerate(trace.nodes)
        if node.depth > 0 and node.state != "dropped"
    ]
    # A clue that has ended is followed by an end token, which no document holds.
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
    """Rows of documents, their scores, and the n-grams that these come from; best first.

    W(d, q) = sum of w(n, q)^alpha cover(n, K(d)) over K(d), the n-grams of d whose occurrences no
    heavier one overlaps; cover(n, K) = 1 - beta + beta |set(n) - C(n, K)| / |set(n)|, where C(n, K)
    are the tokens of the heavier n-grams.

    Args:
        index: over the documents.
        ngrams: heaviest first.
        settings: alpha, beta and how many documents are looked at.
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
    """K(d): the n-grams with an occurrence that no heavier one's overlaps, heaviest first."""
    starts: dict[int, list[int]] = {}
    for place, token in enumerate(document):
        starts.setdefault(token, []).append(place)
    taken = [False] * len(document)
    kept = []
    for ngram in ngrams:
        length = len(ngram.tokens)
        free = False
        for start in starts.get(ngram.tokens[0], ()):
            if tuple(document[start : start + length]) != ngram.tokens or any(
                taken[start : start + length]
            ):
                continue
            taken[start : start + length] = [True] * length
            free = True
        if free:
            kept.append(ngram)
    return kept


__all__ = ["NGram", "SEALRetriever", "SEALSettings", "rank_documents", "weigh_ngrams"]
