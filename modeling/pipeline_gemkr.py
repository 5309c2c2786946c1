"""`pipeline("knowledge-retrieval")`: questions about images in, documents out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from itertools import islice
from typing import Any, ClassVar

from transformers import AutoProcessor, Pipeline

TASK = "knowledge-retrieval"
CUSTOM_PIPELINES: dict[str, Any] = {
    TASK: {"impl": "pipeline_gemkr.KnowledgeRetrievalPipeline", "pt": ["AutoModel"]}
}
"""Entry of this file in a checkpoint's configuration."""
ENTRY_POINTS = "gemkr.retriever"
"""Entry-point group in which an installed library provides its retriever."""


class KnowledgeRetrievalPipeline(Pipeline):
    """Retrieve the documents that answer questions about images.

    Model and processor come with a checkpoint; the search in the knowledge base is part of the
    library, which must be installed (`pip install gemkr-hf`).

    Args:
        knowledge_base: folder, Hub id or `gemkr_hf.KnowledgeBase`, required.
        knowledge_base_revision: of a Hub id.
        aggregate: "max" or "logsumexp", see `gemkr_hf.GeMKRRetriever`; the checkpoint's by default.
        model, processor, **kwargs: as in `Pipeline`; the processor is the checkpoint's by default.
            `k`, `batch_size` and the settings of `GeMKRRetriever.retrieve` become defaults of the
            calls.

    Raises:
        ImportError: if the library is not installed.
        ValueError: if the knowledge base is missing, or was made with another tokenizer.

    Example:
        `pipeline("knowledge-retrieval", model="org/model", knowledge_base="org/documents",
        trust_remote_code=True)("photo.jpg", "What sport can you use this for?", k=3)`
    """

    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False
    _pipeline_calls_generate = False
    retriever_factory: ClassVar[Callable[..., Any] | None] = None
    """`(model, processor, knowledge_base, revision, aggregate) -> GeMKRRetriever`; by default the
    provider of the entry-point group."""

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        knowledge_base: Any = None,
        knowledge_base_revision: str | None = None,
        aggregate: str | None = None,
        **kwargs: Any,
    ) -> None:
        make_retriever = self.retriever_factory or _installed_factory()
        if knowledge_base is None:
            raise ValueError(
                f'pipeline("{TASK}") needs a knowledge base: pass knowledge_base="org/documents".'
            )
        if processor is None or isinstance(processor, (str, os.PathLike)):
            # An adapter has its own processor, and its model is named after its base.
            name, location = getattr(model, "loaded_from", None) or (model.name_or_path, {})
            processor = AutoProcessor.from_pretrained(
                processor or name, trust_remote_code=True, **({} if processor else location)
            )
        super().__init__(model, processor=processor, **kwargs)
        self.retriever = make_retriever(
            self.model, processor, knowledge_base, knowledge_base_revision, aggregate
        )

    def __call__(  # type: ignore[override]
        self, image: Any = None, question: Any = None, **settings: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]] | Iterator[list[dict[str, Any]]]:
        """Retrieve documents.

        Args:
            image: image (PIL, path, URL, bytes, array), or a record `{"image": ..., "question":
                ...}`; or a list, dataset or generator of either.
            question: str, or a list of them with a list of images.
            **settings: `k` (number of documents, 5), `batch_size` (8), and those of
                `GeMKRRetriever.retrieve`.

        Returns:
            list of dict: best first, each with `score`, `row`, `document` (the record) and `clues`
            (their `text` and `score`). A list of such lists for a list or dataset; for a generator
            an iterator of them.

        Raises:
            ValueError: see `GeMKRRetriever.retrieve`.
        """
        settings = {**self._forward_params, **settings}
        size = settings.pop("batch_size", 8)
        if _is_one(image) and (question is None or isinstance(question, str)):
            query = image if isinstance(image, Mapping) else (image, question)
            return next(self._retrieve([query], size, settings))
        if question is None:
            queries = image
        else:
            questions = [question] if isinstance(question, str) else list(question)
            images = [image] * len(questions) if _is_one(image) else list(image)
            if len(images) != len(questions):
                raise ValueError(f"{len(images)} images do not match {len(questions)} questions.")
            queries = list(zip(images, questions, strict=True))
        results = self._retrieve(queries, size, settings)
        return list(results) if hasattr(queries, "__len__") else results

    def _retrieve(
        self, queries: Iterable[Any], size: int, settings: Mapping[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        iterator = iter(queries)
        while batch := list(islice(iterator, size)):
            yield from self.postprocess(self.forward(self.preprocess(batch), **settings))

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict, dict, dict]:
        return {}, parameters, {}

    def preprocess(self, queries: list[Any], **_: Any) -> dict[str, list[Any]]:  # type: ignore[override]
        """Split queries into images and questions."""
        names = ("image", "question")
        records = [
            query if isinstance(query, Mapping) else dict(zip(names, query, strict=True))
            for query in queries
        ]
        unknown = {name for record in records for name in record} - {*names}
        if unknown:
            raise ValueError(f"A query has the keys image and question, not {min(unknown)!r}.")
        return {name: [record.get(name) for record in records] for name in names}

    def _forward(self, queries: dict[str, list[Any]], **settings: Any) -> dict[str, Any]:  # type: ignore[override]
        questions = queries["question"]
        hits = self.retriever.retrieve(
            queries["image"], questions, batch_size=len(questions), **settings
        )
        return {"hits": hits}

    def postprocess(self, outputs: Mapping[str, Any], **_: Any) -> list[list[dict[str, Any]]]:  # type: ignore[override]
        """Convert hits to records."""
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
            for hits in outputs["hits"]
        ]


def _is_one(image: Any) -> bool:
    """Tell whether it is one image (or record, or None) rather than several."""
    if image is None or isinstance(image, (str, bytes, os.PathLike, Mapping)):
        return True
    return hasattr(image, "crop") or hasattr(image, "shape")


def _installed_factory() -> Callable[..., Any]:
    """Return the factory of the installed library, which this file does not depend on."""
    try:
        [provider] = entry_points(group=ENTRY_POINTS)
        return provider.load()
    except (ImportError, ValueError) as error:
        raise ImportError(
            f'pipeline("{TASK}") needs the library to search: pip install gemkr-hf ({error})'
        ) from None


__all__ = ["CUSTOM_PIPELINES", "TASK", "KnowledgeRetrievalPipeline"]
