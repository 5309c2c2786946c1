"""The short way: an image and a question in, documents out."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, overload

import torch
from transformers import AutoModel, AutoProcessor

from gemkr_hf.decoding import FMIndexConstraint, FoundClue, SearchTrace, TreeSearch
from gemkr_hf.hub.checkpoint_loading import load_checkpoint
from gemkr_hf.knowledge_base import CONSTRAINED, KnowledgeBase, tokenizer_fingerprint
from gemkr_hf.utils.hub_ids import split_hub_options

logger = logging.getLogger(__name__)


def _log_sum_exp(scores: list[float]) -> float:
    return float(torch.logsumexp(torch.tensor(scores, dtype=torch.float64), dim=0))


_AGGREGATES: dict[str, Callable[[list[float]], float]] = {"max": max, "logsumexp": _log_sum_exp}


STRATEGIES = (*CONSTRAINED, "free")
"""What the model writes (paper, Table 4)."""

# What a clue is and how it is scored; and how the tree of clues is searched. Anything else that is
# given to `retrieve` goes to `generate`.
_RULES = ("min_length", "max_length", "ambiguity_penalty", "renormalize", "keep_ambiguous")
_SEARCH = ("num_beams", "num_beam_groups", "diversity_penalty", "max_pieces")
_ENGINE = ("static_cache", "compile")


def _check_aggregate(name: str) -> None:
    if name not in _AGGREGATES:
        raise ValueError(f"aggregate is one of {', '.join(_AGGREGATES)}, not '{name}'")


@dataclass(frozen=True)
class Clue:
    """A written clue.

    Attributes:
        text: its words; " ... " stands between its pieces, if it has several.
        token_ids: its tokens, a subsequence of the document's; those of all pieces in turn.
        score: sum of the log-probabilities of its tokens (Eq. 1), less the penalty for ambiguity.
        pieces: the tokens of each piece, each of them a subsequence of the document's.
    """

    text: str
    token_ids: tuple[int, ...]
    score: float
    pieces: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Hit:
    """A retrieved document.

    Attributes:
        score: of its clues together, see ``aggregate``.
        row: the document's row in the knowledge base.
        document: the record (``id``, ``text``, ...).
        clues: all clues that led to it, best first.
    """

    score: float
    row: int
    document: Mapping[str, Any]
    clues: tuple[Clue, ...]


class GeMKRRetriever:
    """Answers questions about images from a knowledge base.

    Args:
        model: a ``GeMKRForRetrieval``.
        processor: its ``GeMKRProcessor``.
        knowledge_base: indexed with the processor's tokenizer.
        min_length, max_length: tokens of a clue (paper: 10 to 15); the model's ``config.decoding``
            where None.
        aggregate: a document's score from those of its clues: ``"max"``, the best one (paper), or
            ``"logsumexp"``, the probability that one of those found is written; the model's
            ``config.decoding["aggregate"]`` where None.

    Raises:
        ValueError: the knowledge base was made with another tokenizer, the model was tuned with
            another, or another ``aggregate``.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        knowledge_base: KnowledgeBase,
        min_length: int | None = None,
        max_length: int | None = None,
        aggregate: str | None = None,
    ) -> None:
        aggregate = aggregate or model.config.decoding["aggregate"]
        _check_aggregate(aggregate)
        knowledge_base.check_tokenizer(processor.tokenizer)
        _check_tuned_with(model, processor)
        for name in ("image_token_id", "object_token_id"):
            ours, theirs = getattr(model.config, name), getattr(processor, name)
            if ours != theirs:
                raise ValueError(
                    f"The model was made with {name}={ours}, and the processor's is {theirs}: they "
                    "belong to different checkpoints"
                )
        self.model = model.eval()
        self.processor = processor
        self.knowledge_base = knowledge_base
        self.aggregate = aggregate
        lengths = {"min_length": min_length, "max_length": max_length}
        given = {name: value for name, value in lengths.items() if value is not None}
        self._decoding = {**model.config.decoding, **given}
        self.constraint = self._constraint("clue", {})

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | PathLike[str],
        knowledge_base: str | PathLike[str] | KnowledgeBase,
        device: str | torch.device | None = None,
        aggregate: str | None = None,
        knowledge_base_revision: str | None = None,
        **kwargs: Any,
    ) -> "GeMKRRetriever":
        """Load model, processor and knowledge base.

        Args:
            checkpoint: folder or Hub id of model and processor, or of an adapter.
            knowledge_base: folder or Hub id, or one that is loaded already.
            device: where the model runs; a GPU if there is one.
            aggregate: how the scores of a document's clues make its own; the checkpoint's
                choice where None.
            knowledge_base_revision: branch, tag or commit of a knowledge base on the Hub.
            **kwargs: for ``AutoModel.from_pretrained`` (``revision``, ``dtype``, ...), and
                ``verify`` (compare all files from the Hub with its checksums; by default those of
                up to 64 MiB).

        Raises:
            FileNotFoundError: a folder, a repository or a file that cannot be had.
            ValueError: parts that do not belong together, or a damaged file.
        """
        if aggregate is not None:
            _check_aggregate(aggregate)
        hub_options, _ = split_hub_options(kwargs)
        hub_options.pop("force_download", None)  # the model's files are downloaded again, once
        if not isinstance(knowledge_base, KnowledgeBase):
            knowledge_base = KnowledgeBase.from_pretrained(
                knowledge_base, **{**hub_options, "revision": knowledge_base_revision}
            )
        if not knowledge_base.has_documents:
            raise ValueError(
                "The knowledge base was loaded without its documents, which are what is retrieved: "
                "load it with documents=True"
            )
        model = load_checkpoint(AutoModel, checkpoint, **kwargs)
        processor = load_checkpoint(AutoProcessor, checkpoint, verify=False, **hub_options)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model.to(device), processor, knowledge_base, aggregate=aggregate)

    @overload
    def retrieve(
        self, image: Any, question: str | None, k: int = ..., objects: Any = ...,
        batch_size: int = ..., strategy: str = ..., return_trace: Literal[False] = ...,
        captions: str | None = ..., **decoding: Any,
    ) -> list[Hit]: ...  # fmt: skip

    @overload
    def retrieve(
        self, image: Any, question: list[str] | list[str | None], k: int = ..., objects: Any = ...,
        batch_size: int = ..., strategy: str = ..., return_trace: Literal[False] = ...,
        captions: Sequence[str | None] | None = ..., **decoding: Any,
    ) -> list[list[Hit]]: ...  # fmt: skip

    @overload
    def retrieve(
        self, image: Any, question: Any, k: int = ..., objects: Any = ..., batch_size: int = ...,
        strategy: str = ..., *, return_trace: Literal[True], captions: Any = ..., **decoding: Any,
    ) -> tuple[Any, Any]: ...  # fmt: skip

    def retrieve(
        self,
        image: Any,
        question: str | list[str] | list[str | None] | None,
        k: int = 5,
        objects: Any = None,
        batch_size: int = 8,
        strategy: str = "clue",
        return_trace: bool = False,
        captions: Any = None,
        **decoding: Any,
    ) -> Any:
        """Retrieve documents for one query or for several.

        Args:
            image: an image (PIL, path, URL, bytes, array), or None for a question in words
                alone; a list of them with a list of questions.
            question: one question or a list; None for an image alone.
            k: documents wanted; fewer come back only where no clue tells that many from others, and
                from free text and ``generate``, which find what their beams reach.
            objects: boxes, where they are known; found by the processor's detector otherwise.
            batch_size: queries decoded together.
            strategy: what the model writes (paper, Table 4): ``"clue"``; ``"document"``, documents
                from their first token to their last; ``"first_sentence"``, all of it; or
                ``"free"``, anything, looked up by best match where it is no clue.
            return_trace: return what each step of the search saw and chose as well.
            captions: the image in words, for a model that was tuned with captions; a list of
                them with a list of questions.
            **decoding: instead of the model's ``config.decoding``: ``num_beams``,
                ``num_beam_groups``, ``diversity_penalty``, ``max_pieces``, ``min_length``,
                ``max_length``, ``ambiguity_penalty``, ``renormalize``, ``keep_ambiguous``; further
                ``static_cache`` and ``compile`` of ``TreeSearch``. Any other argument of
                ``generate`` is handed to it: it then finds what its beams reach.

        Returns:
            The hits, best first; one such list a question where a list was given. With
            ``return_trace`` a pair of that and a ``SearchTrace``, or a list of these.

        Raises:
            ValueError: ``k`` below 1, an empty question, an unknown strategy, a setting out of
                range, or numbers that do not match.
            FileNotFoundError: there is no image at a path.
        """
        if k < 1:
            raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}, not '{strategy}'")
        others = sorted(set(decoding) - {*_RULES, *_SEARCH, *_ENGINE})
        if return_trace and (others or strategy == "free"):
            raise ValueError(
                "return_trace=True needs a search over clues: "
                + (f"leave out {others[0]}" if others else "strategy='free' has none")
            )
        _check_decoding(strategy, decoding, to_generate=bool(others))
        single = question is None or isinstance(question, str)
        questions: list[str | None] = (
            [question] if question is None or isinstance(question, str) else list(question)
        )
        images = [image] if single else [None] * len(questions) if image is None else list(image)
        if len(images) != len(questions):
            raise ValueError(f"There are {len(images)} images for {len(questions)} questions")
        boxes = [objects] if single and objects is not None else objects
        texts = [captions] if single and captions is not None else captions
        if texts is not None and len(texts) != len(questions):
            raise ValueError(f"There are {len(texts)} captions for {len(questions)} questions")
        query = _Decoding(min(k, len(self.knowledge_base)), strategy, return_trace, decoding)
        hits: list[list[Hit]] = []
        traces: list[SearchTrace] = []
        for start in range(0, len(questions), batch_size):
            rows = slice(start, start + batch_size)
            inputs = self._encode(
                images[rows],
                questions[rows],
                None if boxes is None else boxes[rows],
                None if texts is None else texts[rows],
            )
            if strategy == "free":
                hits += self._write_freely(inputs, query)
            elif others:
                hits += self._generate(inputs, query)
            else:
                found, seen = self._search(inputs, query)
                hits, traces = hits + found, traces + seen
        answer: Any = hits[0] if single else hits
        if return_trace:
            return answer, traces[0] if single else traces
        return answer

    def _encode(
        self,
        images: list[Any],
        questions: Sequence[str | None],
        objects: Any,
        captions: Any = None,
    ) -> Mapping[str, torch.Tensor]:
        given = None if all(image is None for image in images) else images
        encoded = self.processor(
            images=given,
            text=list(questions),
            objects=objects,
            captions=captions,
            return_tensors="pt",
        )
        return encoded.to(self.model.device)

    def _constraint(self, strategy: str, decoding: Mapping[str, Any]) -> FMIndexConstraint:
        if strategy == "clue":
            settings = {**self._decoding, **decoding}
            rules = {name: settings[name] for name in _RULES if name in settings}
        else:
            names = ("max_length", "renormalize")
            rules = {name: decoding[name] for name in names if name in decoding}
        return self.knowledge_base.constraint(strategy=strategy, **rules)

    def _beams(self, decoding: Mapping[str, Any]) -> dict[str, Any]:
        settings = {**self._decoding, **decoding}
        beams = {name: settings[name] for name in _SEARCH if name in settings}
        if "num_beam_groups" not in decoding:
            beams["num_beam_groups"] = math.gcd(beams["num_beams"], beams["num_beam_groups"])
        return beams

    def _search(
        self, inputs: Mapping[str, torch.Tensor], query: "_Decoding"
    ) -> tuple[list[list[Hit]], list[SearchTrace]]:
        """Different documents, as many as are wanted, by a search over the tree of clues."""
        beams = self._beams(query.decoding)
        if query.strategy != "clue":
            beams["max_pieces"] = 1
        search = TreeSearch(
            self.model,
            self._constraint(query.strategy, query.decoding),
            **beams,
            **{name: query.decoding[name] for name in _ENGINE if name in query.decoding},
            wanted=query.k,
            documents=True,
            merge_clues=self.aggregate != "max",
        )
        found = search.run(inputs, return_trace=query.return_trace)
        return [self._hits(self._by_document(clues), query.k) for clues in found], search.traces

    def _by_document(self, found: Sequence[FoundClue]) -> dict[int, list[Clue]]:
        decode = self.processor.tokenizer.decode
        clues: dict[int, list[Clue]] = {}
        for clue in found:
            text = " ... ".join(decode(piece).strip() for piece in clue.pieces)
            clues.setdefault(clue.row, []).append(Clue(text, clue.tokens, clue.score, clue.pieces))
        return clues

    def _generate(self, inputs: Mapping[str, torch.Tensor], query: "_Decoding") -> list[list[Hit]]:
        """The documents of what the model's `generate` returns; clues of several are dropped."""
        beams = query.decoding.get("num_beams", self._decoding["num_beams"])
        constraint = self._constraint(query.strategy, query.decoding)
        # Clues that run into one document count once: ask for more clues than documents.
        number = max(2 * beams, 2 * query.k)
        hits = []
        for texts in self._written(inputs, query, number, logits_processor=constraint):
            rows = constraint.rules.lookup([list(tokens) for tokens in texts])
            clues: dict[int, list[Clue]] = {}
            for (tokens, score), row in zip(texts.items(), rows.tolist(), strict=True):
                if row >= 0:
                    clues.setdefault(row, []).append(self._clue(tokens, score))
            hits.append(self._hits(clues, query.k))
        return hits

    def _write_freely(
        self, inputs: Mapping[str, torch.Tensor], query: "_Decoding"
    ) -> list[list[Hit]]:
        """Without constraints (paper, Table 4): a text that only one document holds leads there,
        any other to the document that matches it best."""
        length = query.decoding.get("max_length", self._decoding["max_length"])
        beams = query.decoding.get("num_beams", self._decoding["num_beams"])
        hits = []
        for texts in self._written(inputs, query, beams, max_new_tokens=length):
            found = [self._clue(tokens, score) for tokens, score in texts.items()]
            rows = self.knowledge_base.lookup([list(tokens) for tokens in texts])
            best = self.knowledge_base.best_match([clue.text for clue in found])
            clues: dict[int, list[Clue]] = {}
            for clue, row, match in zip(found, rows.tolist(), best, strict=True):
                if row >= 0 or match:
                    clues.setdefault(row if row >= 0 else match[0], []).append(clue)
            hits.append(self._hits(clues, query.k))
        return hits

    def _written(
        self, inputs: Mapping[str, torch.Tensor], query: "_Decoding", number: int, **settings: Any
    ) -> list[dict[tuple[int, ...], float]]:
        """What `generate` writes for each query, without end tokens, and the score of each."""
        settings |= {name: v for name, v in query.decoding.items() if name not in _RULES}
        if settings.get("num_beams") == 1 and not settings.get("do_sample"):
            number = 1  # greedy search writes one text
        settings.setdefault("num_return_sequences", number)
        plain = settings.get("do_sample") or settings.get("num_beams") == 1
        if plain:
            settings.setdefault("num_beams", 1)
        output = self.model.generate(
            **inputs, **settings, return_dict_in_generate=True, output_logits=bool(plain)
        )
        tokenizer = self.processor.tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        written = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
        if getattr(output, "sequences_scores", None) is not None:
            scores = output.sequences_scores.tolist()
        else:  # greedy search and sampling give none: Eq. 1 by the model's own distribution
            log_probs = torch.stack(output.logits, dim=1).float().log_softmax(-1)
            scores = [
                sum(
                    float(log_probs[row, at, token])
                    for at, token in enumerate(tokens)
                    if token not in ends
                )
                for row, tokens in enumerate(written)
            ]
        queries = []
        for start in range(0, len(written), len(written) // len(inputs["input_ids"])):
            texts: dict[tuple[int, ...], float] = {}
            for row in range(start, start + len(written) // len(inputs["input_ids"])):
                tokens = tuple(token for token in written[row] if token not in ends)
                if tokens and scores[row] > max(-1e8, texts.get(tokens, -math.inf)):
                    texts[tokens] = scores[row]
            queries.append(texts)
        return queries

    def _clue(self, tokens: tuple[int, ...], score: float) -> Clue:
        return Clue(self.processor.tokenizer.decode(tokens).strip(), tokens, score, (tokens,))

    def _hits(self, clues: Mapping[int, Sequence[Clue]], k: int) -> list[Hit]:
        """The best documents, by the scores of their clues together."""
        hits = []
        for row, of_document in clues.items():
            ordered = tuple(sorted(of_document, key=lambda clue: -clue.score))
            score = _AGGREGATES[self.aggregate]([clue.score for clue in ordered])
            hits.append((score, row, ordered))
        best = sorted(hits, key=lambda hit: -hit[0])[:k]
        return [Hit(score, row, self.knowledge_base[row], ordered) for score, row, ordered in best]


def _check_tuned_with(model: Any, processor: Any) -> None:
    """Raise ValueError where the model was tuned with another tokenizer than the processor's."""
    tuned_with = getattr(model.config, "tokenizer_fingerprint", None)
    given = tokenizer_fingerprint(processor.tokenizer)
    if tuned_with is not None and tuned_with != given:
        raise ValueError(
            f"The model was tuned with the tokenizer {tuned_with[:8]}, and the processor and the "
            f"knowledge base have {given[:8]}: they belong to different checkpoints"
        )


def _check_decoding(strategy: str, decoding: Mapping[str, Any], to_generate: bool) -> None:
    """Raise ValueError for a setting that the strategy or the search does not have."""
    if strategy == "clue":
        known = {*_RULES}
    else:
        known = {"max_length", *(() if strategy == "free" else ("renormalize",))}
    for name in decoding:
        if name in _RULES and name not in known:
            raise ValueError(f"{name} is for clues: strategy='{strategy}' has no such setting")
        if name == "max_pieces" and (strategy != "clue" or to_generate):
            raise ValueError("max_pieces is for a search over clues alone: leave it out here")
        if name in _ENGINE and (strategy == "free" or to_generate):
            raise ValueError(f"{name} is for a search over clues: generate() has no such setting")


@dataclass(frozen=True)
class _Decoding:
    """What `retrieve` was asked for."""

    k: int
    strategy: str
    return_trace: bool
    decoding: Mapping[str, Any]
