"""The search behind ``pipeline("knowledge-retrieval")``.

The pipeline's class travels with checkpoints and finds this one by the entry-point group
``gemkr.pipeline``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.retrieval.retriever import GeMKRRetriever


class PipelineSearch:
    """Retrieve documents as plain records.

    Args:
        model: that of a checkpoint.
        processor: that of the same checkpoint.
        knowledge_base: a ``KnowledgeBase``, a folder or a Hub id.
        revision: branch, tag or commit of the Hub id.
        aggregate: see ``GeMKRRetriever``.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        knowledge_base: KnowledgeBase | str | os.PathLike[str],
        revision: str | None = None,
        aggregate: str | None = None,
    ) -> None:
        if isinstance(knowledge_base, str | os.PathLike):
            options: Any = {"revision": revision} if revision else {}
            knowledge_base = KnowledgeBase.from_pretrained(knowledge_base, **options)
        self.retriever = GeMKRRetriever(model, processor, knowledge_base, aggregate=aggregate)

    def __call__(
        self, image: Any = None, question: Any = None, batch_size: int = 8, **settings: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]] | Iterator[list[dict[str, Any]]]:
        """Retrieve documents; see ``KnowledgeRetrievalPipeline.__call__``.

        Args:
            image: image, or a record ``{"image": ..., "question": ...}``; or a list, dataset or
                generator of either.
            question: str, or a list of them with a list of images.
            batch_size: queries that are searched together.
            **settings: settings of ``GeMKRRetriever.retrieve``.
        """
        if _is_one(image) and (question is None or isinstance(question, str)):
            query = image if isinstance(image, Mapping) else (image, question)
            return next(self._retrieve([query], batch_size, settings))
        if question is None:
            queries = image
        else:
            questions = [question] if isinstance(question, str) else list(question)
            images = [image] * len(questions) if _is_one(image) else list(image)
            if len(images) != len(questions):
                raise ValueError(f"{len(images)} images do not match {len(questions)} questions")
            queries = list(zip(images, questions, strict=True))
        results = self._retrieve(queries, batch_size, settings)
        return list(results) if hasattr(queries, "__len__") else results

    def _retrieve(
        self, queries: Iterable[Any], batch_size: int, settings: Mapping[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        iterator = iter(queries)
        while batch := list(islice(iterator, batch_size)):
            images, questions = _split(batch)
            for hits in self.retriever.retrieve(
                images, questions, batch_size=len(batch), **settings
            ):
                yield [
                    {
                        "score": hit.score,
                        "row": hit.row,
                        "document": dict(hit.document),
                        "clues": [{"text": clue.text, "score": clue.score} for clue in hit.clues],
                    }
                    for hit in hits
                ]


def _split(queries: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Split queries (pairs or records) into images and questions."""
    names = ("image", "question")
    records = [
        query if isinstance(query, Mapping) else dict(zip(names, query, strict=True))
        for query in queries
    ]
    unknown = {name for record in records for name in record} - {*names}
    if unknown:
        raise ValueError(f"A query has the keys image and question, not {min(unknown)!r}")
    return [record.get("image") for record in records], [
        record.get("question") for record in records
    ]


def _is_one(image: Any) -> bool:
    """Return whether it is one image (or record, or None) rather than several."""
    if image is None or isinstance(image, str | bytes | os.PathLike | Mapping):
        return True
    return hasattr(image, "crop") or hasattr(image, "shape")


__all__ = ["PipelineSearch"]
