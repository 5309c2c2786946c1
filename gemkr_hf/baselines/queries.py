"""Checks and helpers for the queries of baselines."""

from collections.abc import Sequence
from typing import Any

from gemkr_hf.retrieval.protocol import Captions, Images


def check_query(
    name: str,
    index: Any,
    images: Images,
    questions: Sequence[str],
    k: int,
    captions: Captions = None,
    needs: str | None = None,
) -> None:
    """Raise ValueError for a query that a retriever cannot answer.

    Args:
        name: the retriever's, for messages.
        index: what its `index` made; None before that.
        images, questions, k, captions: the arguments of `Retriever.retrieve`.
        needs: ``"images"`` or ``"captions"`` if the retriever needs them.
    """
    if index is None:
        raise ValueError(f"{name} has no documents yet: call index(documents) first")
    if k < 1:
        raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
    for argument, values in (("images", images), ("captions", captions)):
        if needs == argument and values is None:
            raise ValueError(f"{name} needs {argument}: give one for each question")
        if values is not None and len(values) != len(questions):
            raise ValueError(f"There are {len(values)} {argument} for {len(questions)} questions")


def with_caption(question: str, caption: str | None) -> str:
    """Question and caption as text-only retrievers read them."""
    return f"{question} {caption}" if caption else question


def batches(number: int, size: int) -> list[slice]:
    """Slices of at most ``size`` items that cover ``number`` items."""
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


__all__ = ["batches", "check_query", "with_caption"]
