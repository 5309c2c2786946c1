"""Retrieve documents for the records of a benchmark split, and mark the hits among them."""

from collections.abc import Mapping, Sequence
from typing import Any

from gemkr_hf.evaluation.hits import is_hit
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.processing import Object
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit

DOCUMENTS = 10
"""Documents retrieved for each question: R@10 is the metric with the largest K."""


def retrieve_for(
    retriever: GeMKRRetriever,
    records: Sequence[Mapping[str, Any]],
    images: Mapping[str, Any] | None,
    objects: Sequence[Sequence[Object] | None] | None = None,
    captions: list[str] | None = None,
    **decoding: Any,
) -> list[list[Hit]]:
    """Retrieve ten documents for each question, in one batch.

    Args:
        retriever: The retriever.
        records: n questions with ``question`` and ``image_id``.
        images: Image id -> image; None for text-only questions.
        objects: n lists of known objects; None where the detector has to find them.
        captions: n captions, for a model that was tuned with captions.
        **decoding: Decoding settings, see ``GeMKRRetriever.retrieve``.
    """
    return retriever.retrieve(
        None if images is None else [images[record["image_id"]] for record in records],
        [record["question"] for record in records],
        k=DOCUMENTS,
        objects=objects,
        batch_size=len(records),
        captions=captions,
        **decoding,
    )


def mark_retrieved(
    hits: Sequence[Hit], record: Mapping[str, Any], preset: str, knowledge_base: KnowledgeBase
) -> list[bool]:
    """Return whether each document retrieved for a question is a hit.

    A document that has several ids is a hit under ``gold`` if any of them is relevant.
    """
    return [
        is_hit(
            preset, record, map(str, knowledge_base.ids(hit.row)), hit.document.get("text") or ""
        )
        for hit in hits
    ]


__all__ = ["DOCUMENTS", "mark_retrieved", "retrieve_for"]
