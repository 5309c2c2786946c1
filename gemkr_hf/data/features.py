"""The columns that questions and documents of every format come in."""

from collections.abc import Iterable
from typing import Any

import datasets

_STRING = datasets.Value("string")

QUESTION_FEATURES = datasets.Features(
    {
        "question_id": _STRING,
        "image_id": _STRING,
        "question": _STRING,
        "caption": _STRING,
        "answers": datasets.List(_STRING),
        "answer_scores": datasets.List(datasets.Value("float32")),
        "relevant_ids": datasets.List(_STRING),
        "negative_ids": datasets.List(_STRING),
        "clues": datasets.List(_STRING),
    }
)
"""A question: what is asked of which image, the image in words ("" where there are none), the
answers with their VQA scores (1.0 each where the file has a plain list), the documents that answer
it, documents that do not, and clues in words (which only the format "gemkr" has)."""

DOCUMENT_FEATURES = datasets.Features({"id": _STRING, "title": _STRING, "text": _STRING})
"""A document; the title is "" where there is none."""


def question_row(
    question_id: str,
    image_id: str,
    question: str,
    caption: str = "",
    answers: Iterable[tuple[str, float]] = (),
    relevant_ids: Iterable[str] = (),
    negative_ids: Iterable[str] = (),
    clues: Iterable[str] = (),
) -> dict[str, Any]:
    """A row of `QUESTION_FEATURES`; ids that occur twice are kept once."""
    answers = list(answers)
    return {
        "question_id": question_id,
        "image_id": image_id,
        "question": question,
        "caption": caption,
        "answers": [answer for answer, _ in answers],
        "answer_scores": [score for _, score in answers],
        "relevant_ids": list(dict.fromkeys(relevant_ids)),
        "negative_ids": list(dict.fromkeys(negative_ids)),
        "clues": list(clues),
    }


__all__ = ["DOCUMENT_FEATURES", "QUESTION_FEATURES", "question_row"]
