"""Retrieve documents for questions about images with a GeMKR model."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal, overload

import torch
from transformers import AutoModel, AutoProcessor

from gemkr_hf.decoding import FMIndexConstraint, SearchTrace, TreeSearch
from gemkr_hf.hub.checkpoint_loading import load_checkpoint
from gemkr_hf.knowledge_base import CONSTRAINT_STRATEGIES, KnowledgeBase, tokenizer_fingerprint
from gemkr_hf.retrieval.types import Clue, Hit
from gemkr_hf.utils.deprecation import with_new_keys
from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.hub_ids import split_hub_options
from gemkr_hf.utils.logging import progress

logger = logging.getLogger(__name__)

STRATEGIES = (*CONSTRAINT_STRATEGIES, "free")
"""What the model writes (paper, Table 4)."""

# Settings of `retrieve`: for the clue's rules, for the beam search, and for `TreeAttention`.
# Any other setting is an argument of the model's `generate`.
_RULES = ("min_length", "max_length", "ambiguity_penalty", "renormalize", "keep_ambiguous")
_SEARCH = ("num_beams", "num_beam_groups", "diversity_penalty", "max_pieces")
_ENGINE = ("static_cache", "compile")


def _log_sum_exp(scores: list[float]) -> float:
    return float(torch.logsumexp(torch.tensor(scores, dtype=torch.float64), dim=0))


_AGGREGATES: dict[str, Callable[[list[float]], float]] = {"max": max, "logsumexp": _log_sum_exp}


class GeMKRRetriever:
    """Retrieve documents for questions about images. Implements `Retriever`.

    Args:
        model: a ``GeMKRForRetrieval``.
        processor: its ``GeMKRProcessor``.
        knowledge_base: indexed with the processor's tokenizer. None: call `index` first.
        aggregate: how the scores of a document's clues are combined: ``"max"``, the best one
            (paper), or ``"logsumexp"``, the log-probability that the model writes any of them;
            by default the model's ``config.decoding["aggregate"]``.
        strategy: default of `retrieve`.
        captions: True if each query needs a caption, False to ignore captions; by default those
            that are given are used.
        batch_size: default of `retrieve`.
        **decoding: defaults for the ``**decoding`` of `retrieve` with this strategy; they take
            precedence over the model's ``config.decoding``.

    Raises:
        ValueError: model, processor and knowledge base have different tokenizers or token ids, or
            a setting is invalid.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        knowledge_base: KnowledgeBase | None = None,
        *,
        aggregate: str | None = None,
        strategy: str = "clue",
        captions: bool | None = None,
        batch_size: int = 8,
        **decoding: Any,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.aggregate = aggregate or model.config.decoding["aggregate"]
        self.strategy = strategy
        self.captions = captions
        self.batch_size = batch_size
        self.decoding = {name: value for name, value in decoding.items() if value is not None}
        self._given_knowledge_base = knowledge_base
        self._knowledge_base: KnowledgeBase | None = None
        _check_aggregate(self.aggregate)
        _check_checkpoint(model, processor)
        call = self._call(1, strategy, {}, False)
        if knowledge_base is not None:
            self._use(knowledge_base)
            if strategy == "clue":
                self._constraint(call)  # invalid lengths raise an error now

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
            checkpoint: folder or Hub id of a model with its processor, or of an adapter.
            knowledge_base: folder or Hub id, or a loaded one.
            device: where the model runs; a GPU by default if there is one.
            aggregate: as for ``GeMKRRetriever``.
            knowledge_base_revision: branch, tag or commit of a knowledge base on the Hub.
            **kwargs: for ``AutoModel.from_pretrained`` (``revision``, ``dtype``, ...; code of the
                checkpoint is executed only with ``trust_remote_code=True``), and
                ``verify``: compare all files from the Hub with their checksums, by default only
                files of up to 64 MiB.

        Raises:
            FileNotFoundError: a folder, repository or file was not found.
            ValueError: parts that do not belong together, or a damaged file.
        """
        if aggregate is not None:
            _check_aggregate(aggregate)
        hub_options, _ = split_hub_options(kwargs)
        # Only the model forces a download: the processor's files are in the same repository.
        hub_options.pop("force_download", None)
        trust = {name: kwargs[name] for name in kwargs if name == "trust_remote_code"}
        if not isinstance(knowledge_base, KnowledgeBase):
            knowledge_base = KnowledgeBase.from_pretrained(
                knowledge_base, **{**hub_options, "revision": knowledge_base_revision}
            )
        if not knowledge_base.has_documents:
            raise ValueError(
                "The knowledge base was loaded without its documents, so none can be retrieved: "
                "load it with documents=True"
            )
        model = load_checkpoint(AutoModel, checkpoint, **kwargs)
        processor = load_checkpoint(AutoProcessor, checkpoint, verify=False, **trust, **hub_options)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model.to(device), processor, knowledge_base, aggregate=aggregate)

    @property
    def knowledge_base(self) -> KnowledgeBase:
        """The knowledge base; a ValueError before there is one."""
        if self._knowledge_base is None:
            raise ValueError("GeMKR has no documents yet: call index(documents) first")
        return self._knowledge_base

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Build a knowledge base in memory, unless the retriever was made with one.

        Args:
            documents: records with ``id``, ``text`` and optionally ``title``.
        """
        if self._given_knowledge_base is None:
            self._use(KnowledgeBase.from_documents(documents, self.processor.tokenizer))

    def _use(self, knowledge_base: KnowledgeBase) -> None:
        knowledge_base.check_tokenizer(self.processor.tokenizer)
        self._knowledge_base = knowledge_base

    @overload
    def retrieve(
        self, images: Any, questions: Any, k: int = ..., captions: Any = ...,
        *, return_trace: Literal[True], **settings: Any,
    ) -> tuple[Any, Any]: ...  # fmt: skip

    @overload
    def retrieve(  # type: ignore[overload-overlap]
        self, images: Any, questions: str | None, k: int = ..., captions: Any = ...,
        **settings: Any,
    ) -> list[Hit]: ...  # fmt: skip

    @overload
    def retrieve(
        self, images: Any, questions: Sequence[str | None], k: int = ..., captions: Any = ...,
        **settings: Any,
    ) -> list[list[Hit]]: ...  # fmt: skip

    def retrieve(
        self,
        images: Any = None,
        questions: str | Sequence[str | None] | None = None,
        k: int = 5,
        captions: Any = None,
        *,
        objects: Any = None,
        batch_size: int | None = None,
        strategy: str | None = None,
        return_trace: bool = False,
        **decoding: Any,
    ) -> Any:
        """Retrieve documents for one query or for a list of queries.

        Args:
            images: an image (PIL, path, URL, bytes, array), or None for a text-only query; a list
                of them with a list of questions.
            questions: one question or a list; None for a query of an image alone.
            k: documents to retrieve. Fewer are returned if clues distinguish fewer documents, and
                with free text or ``generate`` if their beams lead to fewer.
            captions: caption of the image, for a model that was tuned with captions; a list with a
                list of questions.
            objects: boxes of the image's objects, if known; by default the processor's detector
                finds them.
            batch_size: queries decoded together.
            strategy: what the model writes (paper, Table 4): ``"clue"``; ``"document"``, documents
                from their first token to their last; ``"first_sentence"``, whole first sentences;
                or ``"free"``, unconstrained text of up to ``max_length`` tokens, looked up by BM25
                where it is not a clue.
            return_trace: also return the candidates and choices of each step of the search.
            **decoding: instead of the model's ``config.decoding``: ``num_beams``,
                ``num_beam_groups``, ``diversity_penalty``, ``max_pieces``, ``min_length``,
                ``max_length``, ``ambiguity_penalty``, ``renormalize``, ``keep_ambiguous``; also
                ``static_cache`` and ``compile`` of ``TreeSearch``. Any other setting is passed to
                the model's ``generate``, which then takes the place of the tree search.

        Returns:
            The hits, best first; a list of such lists for a list of questions. With
            ``return_trace`` a pair of that and a ``SearchTrace``, or a list of traces.

        Raises:
            ValueError: ``k`` below 1, an empty question, an unknown strategy, a setting out of
                range, or lists of different lengths.
            FileNotFoundError: an image was not found.
        """
        decoding = with_new_keys(decoding, {"image": "images", "question": "questions"})
        images, questions = decoding.pop("images", images), decoding.pop("questions", questions)
        call = self._call(k, strategy or self.strategy, decoding, return_trace)
        one = questions is None or isinstance(questions, str)
        queries = self._queries(images, questions, captions, objects)
        size = batch_size or self.batch_size
        starts = range(0, len(queries), size)
        hits: list[list[Hit]] = []
        traces: list[SearchTrace] = []
        for start in progress(starts, "GeMKR", disable=len(starts) <= 1):
            inputs = self._encode(queries[start : start + size])
            if call.strategy == "free":
                hits += self._write_freely(inputs, call)
            elif call.generate_setting:
                hits += self._write_clues(inputs, call)
            else:
                new_hits, new_traces = self._search(inputs, call)
                hits, traces = hits + new_hits, traces + new_traces
        answer: Any = hits[0] if one else hits
        if return_trace:
            return answer, traces[0] if one else traces
        return answer

    def _call(
        self, k: int, strategy: str, decoding: Mapping[str, Any], return_trace: bool
    ) -> "_Call":
        """Check the settings of a call and add the retriever's defaults."""
        if k < 1:
            raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}, not '{strategy}'")
        # Defaults for the rules hold for the retriever's own strategy only.
        ignored = () if strategy == self.strategy else (*_RULES, "max_pieces")
        defaults = {name: v for name, v in self.decoding.items() if name not in ignored}
        call = _Call(k, strategy, {**defaults, **decoding}, return_trace)
        call.check()
        return call

    def _queries(self, images: Any, questions: Any, captions: Any, objects: Any) -> "list[_Query]":
        """One record per query, from single values or from lists of the same length."""
        if questions is None or isinstance(questions, str):
            images, questions, captions, objects = [images], [questions], [captions], [objects]
        number = len(questions)
        if self.captions is False:
            captions = None
        elif self.captions and (captions is None or None in captions):
            raise ValueError("GeMKR needs captions: give one for each question")
        columns = []
        for name, values in (("images", images), ("captions", captions), ("objects", objects)):
            columns.append([None] * number if values is None else list(values))
            if len(columns[-1]) != number:
                raise ValueError(f"There are {len(columns[-1])} {name} for {number} questions")
        if self.captions and self.model.vision_tower is None:
            columns[0] = [None] * number  # a text-only model reads captions instead of images
        return [_Query(*values) for values in zip(questions, *columns, strict=True)]

    def _encode(self, queries: "Sequence[_Query]") -> Mapping[str, torch.Tensor]:
        columns = {
            name: [getattr(query, name) for query in queries]
            for name in ("images", "captions", "objects")
        }
        given = {
            name: None if all(value is None for value in values) else values
            for name, values in columns.items()
        }
        encoded = self.processor(
            text=[query.question for query in queries], return_tensors="pt", **given
        )
        return encoded.to(self.model.device)

    def _constraint(self, call: "_Call") -> FMIndexConstraint:
        settings = call.decoding
        if call.strategy == "clue":
            settings = {**self.model.config.decoding, **settings}
        rules = {name: settings[name] for name in _RULES if name in settings}
        return self.knowledge_base.constraint(strategy=call.strategy, **rules)

    def _search(
        self, inputs: Mapping[str, torch.Tensor], call: "_Call"
    ) -> tuple[list[list[Hit]], list[SearchTrace]]:
        """Retrieve ``k`` different documents by a search over the tree of clues."""
        settings = {**self.model.config.decoding, **call.decoding}
        if "num_beam_groups" not in call.decoding:
            settings["num_beam_groups"] = math.gcd(
                settings["num_beams"], settings["num_beam_groups"]
            )
        if call.strategy != "clue":
            settings["max_pieces"] = 1
        search = TreeSearch(
            self.model,
            self._constraint(call),
            **{name: settings[name] for name in (*_SEARCH, *_ENGINE) if name in settings},
            wanted=min(call.k, len(self.knowledge_base)),
            documents=True,
            merge_clues=self.aggregate != "max",
        )
        clues = search.run(inputs, return_trace=call.return_trace)
        return [self._hits(of_query, call.k) for of_query in clues], search.traces

    def _write_clues(self, inputs: Mapping[str, torch.Tensor], call: "_Call") -> list[list[Hit]]:
        """Retrieve the documents of the clues that the model's ``generate`` writes."""
        constraint = self._constraint(call)
        # Several clues of one document count once: ask for more clues than documents.
        beams = call.decoding.get("num_beams", self.model.config.decoding["num_beams"])
        number = 2 * max(beams, min(call.k, len(self.knowledge_base)))
        hits = []
        for clues in self._generate(inputs, call, number, logits_processor=constraint):
            rows = constraint.rules.lookup([clue.token_ids for clue in clues]).tolist()
            hits.append(self._hits(_at_rows(clues, rows), call.k))
        return hits

    def _write_freely(self, inputs: Mapping[str, torch.Tensor], call: "_Call") -> list[list[Hit]]:
        """Retrieve by unconstrained text (paper, Table 4): the only document that contains it, or
        otherwise the best match by BM25."""
        require_extra("eval", "strategy='free' needs", "bm25s")
        settings = {**self.model.config.decoding, **call.decoding}
        hits = []
        for clues in self._generate(
            inputs, call, settings["num_beams"], max_new_tokens=settings["max_length"]
        ):
            rows = self.knowledge_base.lookup([clue.token_ids for clue in clues]).tolist()
            best = self.knowledge_base.best_match([clue.text for clue in clues])
            rows = [
                row if row >= 0 or not match else match[0]
                for row, match in zip(rows, best, strict=True)
            ]
            hits.append(self._hits(_at_rows(clues, rows), call.k))
        return hits

    def _generate(
        self, inputs: Mapping[str, torch.Tensor], call: "_Call", number: int, **settings: Any
    ) -> list[list[Clue]]:
        """What the model's ``generate`` writes for each query, without end tokens."""
        settings |= {name: v for name, v in call.decoding.items() if name not in _RULES}
        greedy = settings.get("num_beams") == 1 and not settings.get("do_sample")
        without_scores = bool(greedy or settings.get("do_sample"))
        settings.setdefault("num_return_sequences", 1 if greedy else number)
        if without_scores:
            settings.setdefault("num_beams", 1)
        output = self.model.generate(
            **inputs, **settings, return_dict_in_generate=True, output_logits=without_scores
        )
        tokenizer = self.processor.tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        written = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
        if getattr(output, "sequences_scores", None) is not None:
            scores = output.sequences_scores.tolist()
        else:  # greedy search and sampling return no scores: Eq. 1 from the unconstrained logits
            log_probs = torch.stack(output.logits, dim=1).float().log_softmax(-1)
            scores = [
                sum(
                    float(log_probs[row, position, token])
                    for position, token in enumerate(tokens)
                    if token not in ends
                )
                for row, tokens in enumerate(written)
            ]
        per_query = len(written) // len(inputs["input_ids"])
        clues = []
        for start in range(0, len(written), per_query):
            best: dict[tuple[int, ...], float] = {}
            for row in range(start, start + per_query):
                tokens = tuple(token for token in written[row] if token not in ends)
                # Rows without a clue have a score of -inf, or a very low one.
                if tokens and scores[row] > max(-1e8, best.get(tokens, -math.inf)):
                    best[tokens] = scores[row]
            clues.append([self._with_text(Clue((t,), score)) for t, score in best.items()])
        return clues

    def _with_text(self, clue: Clue) -> Clue:
        decode = self.processor.tokenizer.decode
        return replace(clue, text=" ... ".join(decode(piece).strip() for piece in clue.pieces))

    def _hits(self, clues: Sequence[Clue], k: int) -> list[Hit]:
        """The ``k`` best documents by their clues' scores; clues without a row are ignored."""
        of_rows: dict[int, list[Clue]] = {}
        for clue in clues:
            if clue.row >= 0:
                of_rows.setdefault(clue.row, []).append(clue)
        hits = []
        for row, unsorted in of_rows.items():
            ordered = tuple(sorted(unsorted, key=lambda clue: -clue.score))
            score = _AGGREGATES[self.aggregate]([clue.score for clue in ordered])
            hits.append((score, row, ordered))
        best = sorted(hits, key=lambda hit: -hit[0])[:k]
        return [
            Hit(score, row, self.knowledge_base[row], tuple(map(self._with_text, ordered)))
            for score, row, ordered in best
        ]


@dataclass(frozen=True)
class _Query:
    question: str | None
    images: Any = None
    captions: str | None = None
    objects: Any = None


@dataclass(frozen=True)
class _Call:
    """The settings of one call of `GeMKRRetriever.retrieve`."""

    k: int
    strategy: str
    decoding: Mapping[str, Any]
    return_trace: bool

    @property
    def generate_setting(self) -> str:
        """The first setting that only the model's ``generate`` has; empty if there is none."""
        return min(set(self.decoding) - {*_RULES, *_SEARCH, *_ENGINE}, default="")

    def check(self) -> None:
        """Raise ValueError for a setting that the strategy or the search does not have."""
        if self.return_trace and (self.generate_setting or self.strategy == "free"):
            raise ValueError(
                "return_trace=True needs a search over clues: "
                + (
                    f"leave out {self.generate_setting}"
                    if self.generate_setting
                    else "strategy='free' has none"
                )
            )
        rules: tuple[str, ...] = _RULES
        if self.strategy != "clue":
            rules = ("max_length",) if self.strategy == "free" else ("max_length", "renormalize")
        for name in self.decoding:
            if name in _RULES and name not in rules:
                raise ValueError(
                    f"{name} is for clues: strategy='{self.strategy}' has no such setting"
                )
            if name == "max_pieces" and (self.strategy != "clue" or self.generate_setting):
                raise ValueError("max_pieces is for a search over clues alone: leave it out here")
            if name in _ENGINE and (self.strategy == "free" or self.generate_setting):
                raise ValueError(
                    f"{name} is for a search over clues: generate() has no such setting"
                )


def _at_rows(clues: Sequence[Clue], rows: Sequence[int]) -> list[Clue]:
    return [replace(clue, row=row) for clue, row in zip(clues, rows, strict=True)]


def _check_aggregate(name: str) -> None:
    if name not in _AGGREGATES:
        raise ValueError(f"aggregate is one of {', '.join(_AGGREGATES)}, not '{name}'")


def _check_checkpoint(model: Any, processor: Any) -> None:
    """Raise ValueError if model and processor are of different checkpoints."""
    expected = getattr(model.config, "tokenizer_fingerprint", None)
    fingerprint = tokenizer_fingerprint(processor.tokenizer)
    if expected is not None and expected != fingerprint:
        raise ValueError(
            f"The model was tuned with the tokenizer {expected[:8]}, and the processor and the "
            f"knowledge base have {fingerprint[:8]}: they belong to different checkpoints"
        )
    for name in ("image_token_id", "object_token_id"):
        in_model, in_processor = getattr(model.config, name), getattr(processor, name)
        if in_model != in_processor:
            raise ValueError(
                f"The model was made with {name}={in_model}, and the processor's is "
                f"{in_processor}: they belong to different checkpoints"
            )


__all__ = ["STRATEGIES", "Clue", "GeMKRRetriever", "Hit"]
