"""The short way: a picture and a question in, documents out."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, overload

import torch
from transformers import AutoModel, AutoProcessor

import gemkr_hf.auto  # noqa: F401  (registers the classes that a checkpoint names)
from gemkr_hf.decoding import TreeSearch
from gemkr_hf.knowledge_base import KnowledgeBase

logger = logging.getLogger(__name__)


def _log_sum_exp(scores: list[float]) -> float:
    return float(torch.logsumexp(torch.tensor(scores, dtype=torch.float64), dim=0))


_AGGREGATES: dict[str, Callable[[list[float]], float]] = {"max": max, "logsumexp": _log_sum_exp}


# What a search over the tree of clues takes; anything else goes to `generate`.
_TREE_SETTINGS = {"num_beams", "num_beam_groups", "diversity_penalty"}


def _check_aggregate(name: str) -> None:
    if name not in _AGGREGATES:
        raise ValueError(f"aggregate is one of {', '.join(_AGGREGATES)}, not '{name}'")


@dataclass(frozen=True)
class Clue:
    """A written clue.

    Attributes:
        text: its words.
        token_ids: its tokens, a subsequence of the document's.
        score: sum of the log-probabilities of its tokens (Eq. 1).
    """

    text: str
    token_ids: tuple[int, ...]
    score: float


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
    """Answers questions about pictures from a knowledge base.

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
        ValueError: the knowledge base was made with another tokenizer, or another ``aggregate``.
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
        decoding = model.config.decoding
        self.constraint = knowledge_base.constraint(
            min_length=decoding["min_length"] if min_length is None else min_length,
            max_length=decoding["max_length"] if max_length is None else max_length,
        )

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | PathLike[str],
        knowledge_base: str | PathLike[str] | KnowledgeBase,
        device: str | torch.device | None = None,
        aggregate: str | None = None,
        **kwargs: Any,
    ) -> "GeMKRRetriever":
        """Load model, processor and knowledge base.

        Args:
            checkpoint: folder or Hub id of model and processor.
            knowledge_base: folder or Hub id, or one that is loaded already.
            device: where the model runs; a GPU if there is one.
            aggregate: how the scores of a document's clues make its own; the checkpoint's
                choice where None.
            **kwargs: for ``AutoModel.from_pretrained`` (``revision``, ``dtype``, ...).
        """
        if aggregate is not None:
            _check_aggregate(aggregate)
        if not isinstance(knowledge_base, KnowledgeBase):
            knowledge_base = KnowledgeBase.from_pretrained(knowledge_base)
        model = load_checkpoint(AutoModel, checkpoint, **kwargs)
        processor = load_checkpoint(AutoProcessor, checkpoint, revision=kwargs.get("revision"))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model.to(device), processor, knowledge_base, aggregate=aggregate)

    @overload
    def retrieve(
        self, image: Any, question: str, k: int = ..., objects: Any = ..., **generation: Any
    ) -> list[Hit]: ...

    @overload
    def retrieve(
        self, image: Any, question: list[str], k: int = ..., objects: Any = ..., **generation: Any
    ) -> list[list[Hit]]: ...

    def retrieve(
        self,
        image: Any,
        question: str | list[str],
        k: int = 5,
        objects: Any = None,
        batch_size: int = 8,
        **generation: Any,
    ) -> list[Hit] | list[list[Hit]]:
        """Retrieve documents for one query or for several.

        Args:
            image: a picture (PIL, path, URL, bytes, array), or None for a question in words
                alone; a list of them with a list of questions.
            question: one question or a list.
            k: documents wanted; fewer come back only where no clue tells that many from others.
            objects: boxes, where they are known; found by the processor's detector otherwise.
            batch_size: queries decoded together.
            **generation: ``num_beams``, ``num_beam_groups``, ``diversity_penalty``...

        Returns:
            The hits, best first; one such list a question where a list was given.

        Raises:
            ValueError: ``k`` below 1, an empty question, or numbers that do not match.
            FileNotFoundError: there is no picture at a path.
        """
        if k < 1:
            raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
        k = min(k, len(self.knowledge_base))
        if isinstance(question, str):
            given = None if objects is None else [objects]
            return self._retrieve([image], [question], k, given, **generation)[0]
        questions = list(question)
        images = [None] * len(questions) if image is None else list(image)
        if len(images) != len(questions):
            raise ValueError(f"There are {len(images)} pictures for {len(questions)} questions")
        hits: list[list[Hit]] = []
        for start in range(0, len(questions), batch_size):
            rows = slice(start, start + batch_size)
            given = None if objects is None else objects[rows]
            hits += self._retrieve(images[rows], questions[rows], k, given, **generation)
        return hits

    def _retrieve(
        self, images: list[Any], questions: list[str], k: int, objects: Any, **generation: Any
    ) -> list[list[Hit]]:
        pictures = None if all(image is None for image in images) else images
        inputs = self.processor(
            images=pictures, text=questions, objects=objects, return_tensors="pt"
        ).to(self.model.device)
        if set(generation) <= _TREE_SETTINGS:
            return self._search(inputs, k, generation)
        beams = generation.get("num_beams", self.model.config.decoding["num_beams"])
        # Clues that run into one document count once: ask for more clues than documents.
        clues = generation.pop("num_return_sequences", max(2 * beams, 2 * k))
        output = self.model.generate(
            **inputs,
            logits_processor=self.constraint,
            num_return_sequences=clues,
            return_dict_in_generate=True,
            **generation,
        )
        written = output.sequences[:, inputs["input_ids"].shape[1] :].cpu()
        scores = output.sequences_scores.cpu()
        return [
            self._rank(written[start : start + clues], scores[start : start + clues], k)
            for start in range(0, len(written), clues)
        ]

    def _search(
        self, inputs: Mapping[str, torch.Tensor], k: int, generation: Mapping[str, Any]
    ) -> list[list[Hit]]:
        """Different documents, as many as are wanted, by a search over the tree of clues."""
        settings = {**self.model.config.decoding, **generation}
        if "num_beam_groups" not in generation:
            settings["num_beam_groups"] = math.gcd(
                settings["num_beams"], settings["num_beam_groups"]
            )
        search = TreeSearch(
            self.model,
            self.constraint,
            settings["num_beams"],
            settings["num_beam_groups"],
            settings["diversity_penalty"],
            wanted=k,
            documents=True,
            merge_clues=self.aggregate != "max",
        )
        hits = []
        for found in search.run(inputs):
            clues: dict[int, list[Clue]] = {}
            for clue in found:
                text = self.processor.tokenizer.decode(clue.tokens).strip()
                clues.setdefault(clue.row, []).append(Clue(text, clue.tokens, clue.score))
            hits.append(self._hits(clues, k))
        return hits

    def _hits(self, clues: Mapping[int, Sequence[Clue]], k: int) -> list[Hit]:
        """The best documents, by the scores of their clues together."""
        hits = []
        for row, of_document in clues.items():
            ordered = tuple(sorted(of_document, key=lambda clue: -clue.score))
            score = _AGGREGATES[self.aggregate]([clue.score for clue in ordered])
            hits.append((score, row, ordered))
        best = sorted(hits, key=lambda hit: -hit[0])[:k]
        return [Hit(score, row, self.knowledge_base[row], ordered) for score, row, ordered in best]

    def _rank(self, written: torch.Tensor, scores: torch.Tensor, k: int) -> list[Hit]:
        """Documents by the score of their best clue; clues of several documents are dropped."""
        tokenizer = self.processor.tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        found = [
            (tuple(token for token in row if token not in ends), score)
            for row, score in zip(written.tolist(), scores.tolist(), strict=True)
            if score > float("-inf")
        ]
        found = [(tokens, score) for tokens, score in found if tokens]
        if not found:
            return []
        rows = self.knowledge_base.lookup([list(tokens) for tokens, _ in found])
        clues: dict[int, dict[tuple[int, ...], Clue]] = {}
        for (tokens, score), row in zip(found, rows, strict=True):
            if row < 0:
                continue
            known = clues.setdefault(int(row), {})
            if tokens not in known or known[tokens].score < score:
                known[tokens] = Clue(tokenizer.decode(tokens).strip(), tokens, score)
        return self._hits({row: list(known.values()) for row, known in clues.items()}, k)


def load_checkpoint(auto_class: Any, checkpoint: str | PathLike[str], **kwargs: Any) -> Any:
    """``auto_class.from_pretrained`` with one clear sentence where the folder is no checkpoint.

    Raises:
        FileNotFoundError: neither a folder with a ``config.json`` nor a repository that can be
            reached.
    """
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    path = Path(checkpoint)
    looks_like_path = path.is_absolute() or str(checkpoint).count("/") > 1 or path.exists()
    if looks_like_path and not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"'{checkpoint}' is no GeMKR checkpoint: there is no config.json in it"
        )
    try:
        return auto_class.from_pretrained(checkpoint, trust_remote_code=True, **kwargs)
    except OSError as error:
        if path.exists():
            raise
        raise FileNotFoundError(
            f"'{checkpoint}' is neither a folder with a checkpoint nor a repository on the Hub "
            f"that can be reached ({type(error).__name__})"
        ) from error
