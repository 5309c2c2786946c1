"""`pipeline("knowledge-retrieval")`: questions about images in, documents out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any, ClassVar

from transformers import AutoProcessor, Pipeline

TASK = "knowledge-retrieval"
CUSTOM_PIPELINES: dict[str, Any] = {
    TASK: {"impl": "pipeline_gemkr.KnowledgeRetrievalPipeline", "pt": ["AutoModel"]}
}
"""Entry of this file in a checkpoint's configuration."""
ENTRY_POINTS = "gemkr.pipeline"
"""Entry-point group in which an installed library provides the search."""


class KnowledgeRetrievalPipeline(Pipeline):
    """Retrieve the documents that answer questions about images.

    Model and processor come with a checkpoint; the search in the knowledge base is part of the
    library, which must be installed (`pip install gemkr-hf`).

    Args:
        knowledge_base: folder, Hub id or `gemkr_hf.KnowledgeBase`, required.
        knowledge_base_revision: branch, tag or commit of a Hub id.
        aggregate: "max" or "logsumexp", see `gemkr_hf.GeMKRRetriever`; the checkpoint's by default.
        processor: by default that of the checkpoint.
        **kwargs: as in `Pipeline`, such as `model`; `k`, `batch_size` and the settings of
            `GeMKRRetriever.retrieve` become defaults of the calls.

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
    search_class: ClassVar[Callable[..., Any] | None] = None
    """Class of the search; by default the provider of the entry-point group."""

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        knowledge_base: Any = None,
        knowledge_base_revision: str | None = None,
        aggregate: str | None = None,
        **kwargs: Any,
    ) -> None:
        search_class = self.search_class or _installed_search()
        if knowledge_base is None:
            raise ValueError(
                f'pipeline("{TASK}") needs a knowledge base: pass knowledge_base="org/documents".'
            )
        if processor is None or isinstance(processor, (str, os.PathLike)):
            # An adapter has its own processor, and its model is named after its base.
            name, location = getattr(model, "loaded_from", None) or (model.name_or_path, {})
            # The caller trusted the code of a remote model, and so of its checkpoint's processor.
            is_remote = type(model).__module__.startswith("transformers_modules.")
            is_own = not processor or str(processor) == str(name)
            processor = AutoProcessor.from_pretrained(
                processor or name,
                trust_remote_code=True if is_remote and is_own else None,
                **({} if processor else location),
            )
        super().__init__(model, processor=processor, **kwargs)
        self.search = search_class(
            self.model, processor, knowledge_base, knowledge_base_revision, aggregate
        )
        self.retriever = self.search.retriever

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
        """
        return self.search(image, question, **{**self._forward_params, **settings})

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict, dict, dict]:
        return {}, parameters, {}

    # `search` does all three steps, in batches.

    def preprocess(self, query: Any, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        return {"query": query}

    def _forward(self, inputs: dict[str, Any], **settings: Any) -> dict[str, Any]:  # type: ignore[override]
        return {"records": self.search(inputs["query"], **settings)}

    def postprocess(self, outputs: dict[str, Any], **_: Any) -> Any:  # type: ignore[override]
        return outputs["records"]


def _installed_search() -> Callable[..., Any]:
    """Return the search of the installed library, which this file does not depend on."""
    try:
        return next(iter(entry_points(group=ENTRY_POINTS))).load()
    except (ImportError, StopIteration) as error:
        raise ImportError(
            f'pipeline("{TASK}") needs the library to search: pip install gemkr-hf ({error})'
        ) from None


__all__ = ["CUSTOM_PIPELINES", "TASK", "KnowledgeRetrievalPipeline"]
