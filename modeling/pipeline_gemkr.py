"""`pipeline("knowledge-retrieval")`: questions about images in, documents out."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from transformers import AutoProcessor, Pipeline

TASK = "knowledge-retrieval"
CUSTOM_PIPELINES: dict[str, Any] = {
    TASK: {"impl": "pipeline_gemkr.KnowledgeRetrievalPipeline", "pt": ["AutoModel"]}
}
"""What a checkpoint's configuration tells transformers of this file."""

_LIBRARY = "gemkr_hf"


class KnowledgeRetrievalPipeline(Pipeline):
    """Retrieves the documents that answer questions about images.

    Model and processor come with a checkpoint; the search in the FM-index is the library's, which
    must be installed (`pip install gemkr-hf`).

    Args:
        knowledge_base: folder, Hub id or `gemkr_hf.KnowledgeBase`, needed.
        knowledge_base_revision: of a Hub id.
        aggregate: "max" or "logsumexp". See `gemkr_hf.GeMKRRetriever`; the checkpoint's choice by
            default.
        model, processor, **kwargs: as in `Pipeline`; the processor is the checkpoint's by default.
            `k`, `batch_size` and the settings of `GeMKRRetriever.retrieve` become defaults of the
            calls.

    Raises:
        ImportError: if the library is not installed.
        ValueError: if there is no knowledge base, or another tokenizer made it.

    Examples:
        `pipeline("knowledge-retrieval", model="org/model", knowledge_base="org/documents",
        trust_remote_code=True)("photo.jpg", "What sport can you use this for?", k=3)`
    """

    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False
    _pipeline_calls_generate = False

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        knowledge_base: Any = None,
        knowledge_base_revision: str | None = None,
        aggregate: str | None = None,
        **kwargs: Any,
    ) -> None:
        library = _library()
        if knowledge_base is None:
            raise ValueError(
                f'pipeline("{TASK}") needs a knowledge base: pass knowledge_base="org/documents".'
            )
        if processor is None or isinstance(processor, (str, os.PathLike)):
            # An adapter has a processor of its own, and its model is named after its base.
            name, where = getattr(model, "loaded_from", None) or (model.name_or_path, {})
            processor = AutoProcessor.from_pretrained(
                processor or name, trust_remote_code=True, **({} if processor else where)
            )
        if isinstance(knowledge_base, (str, os.PathLike)):
            where = {"revision": knowledge_base_revision}
            knowledge_base = library.KnowledgeBase.from_pretrained(
                knowledge_base, **{name: value for name, value in where.items() if value}
            )
        super().__init__(model, processor=processor, **kwargs)
        self.retriever = library.GeMKRRetriever(
            self.model, processor, knowledge_base, aggregate=aggregate
        )

    def __call__(  # type: ignore[override]
        self, image: Any = None, question: Any = None, **settings: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]] | Iterator[list[dict[str, Any]]]:
        """Retrieve documents.

        Args:
            image: image (PIL, path, URL, bytes, array), or a record `{"image": ..., "question":
                ...}`; or a list, data set or generator of either.
            question: str, or a list of them with a list of images.
            **settings: `k` (documents wanted, 5), `batch_size` (8), and those of
                `GeMKRRetriever.retrieve`.

        Returns:
            list of dict: Best first, each with `score`, `row`, `document` (the record) and `clues`
            (their `text` and `score`). A list of such lists for a list or data set; for a generator
            an iterator of them.

        Raises:
            ValueError: see `GeMKRRetriever.retrieve`.
        """
        _, forward, _ = self._sanitize_parameters(**settings)
        settings = {**self._forward_params, **forward}
        size = settings.pop("batch_size", 8)
        if _is_one(image) and (question is None or isinstance(question, str)):
            query = image if isinstance(image, Mapping) else (image, question)
            return next(self._answers([query], size, settings))
        if question is None:
            queries = image
        else:
            questions = [question] if isinstance(question, str) else list(question)
            images = [image] * len(questions) if _is_one(image) else list(image)
            if len(images) != len(questions):
                raise ValueError(f"{len(images)} images do not go with {len(questions)} questions.")
            queries = list(zip(images, questions, strict=True))
        answers = self._answers(queries, size, settings)
        return list(answers) if hasattr(queries, "__len__") else answers

    def _answers(
        self, queries: Iterable[Any], size: int, settings: Mapping[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        iterator = iter(queries)
        while batch := list(islice(iterator, size)):
            found = self.forward(self.preprocess(batch), **settings)
            yield from self.postprocess(found)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict, dict, dict]:
        return {}, parameters, {}

    def preprocess(self, queries: list[Any], **_: Any) -> dict[str, list[Any]]:  # type: ignore[override]
        """Part queries into images and questions."""
        records = [
            query
            if isinstance(query, Mapping)
            else dict(zip(("image", "question"), query, strict=True))
            for query in queries
        ]
        for record in records:
            unknown = [name for name in record if name not in ("image", "question")]
            if unknown:
                raise ValueError(f"A query has an image and a question, and no {unknown[0]!r}.")
        return {name: [record.get(name) for record in records] for name in ("image", "question")}

    def _forward(self, queries: dict[str, list[Any]], **settings: Any) -> dict[str, Any]:  # type: ignore[override]
        questions = queries["question"]
        found = self.retriever.retrieve(
            queries["image"], questions, batch_size=len(questions), **settings
        )
        return {"hits": found}

    def postprocess(self, found: Mapping[str, Any], **_: Any) -> list[list[dict[str, Any]]]:  # type: ignore[override]
        """Hits as records."""
        return [
            [
                {
                    "score": hit.score,
                    "row": hit.row,
                    "document": dict(hit.document),
                    "clues": [{"text": clue.text, "score": clue.score} for clue in hit.clues],
                }
                for hit in hits
            ]
            for hits in found["hits"]
        ]


def _is_one(image: Any) -> bool:
    """Whether it is one image, or none, and not several."""
    if image is None or isinstance(image, (str, bytes, os.PathLike, Mapping)):
        return True
    return hasattr(image, "crop") or hasattr(image, "shape")


def _library() -> Any:
    """The installed library: this file travels with checkpoints and does not depend on it."""
    try:
        return importlib.import_module(_LIBRARY)
    except ImportError as error:
        raise ImportError(
            f'pipeline("{TASK}") searches an FM-index with the library: pip install gemkr-hf '
            f"({error})"
        ) from None


__all__ = ["CUSTOM_PIPELINES", "TASK", "KnowledgeRetrievalPipeline"]
