"""The columns of questions and documents, the same for every format."""

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
"""Columns of questions: the caption is "" if there is none; answers have VQA scores (1.0 if the
file has a plain list); then ids of relevant and of irrelevant documents, and the text of clues
(only in the format "gemkr")."""

DOCUMENT_FEATURES = datasets.Features({"id": _STRING, "title": _STRING, "text": _STRING})
"""Columns of documents; the title is "" if there is none."""


def question_row(
    question_id: str,
    image_id: str,
    question: str,
    caption: str = "",
    answers: Iterable[tuple[str, float]] = (),
    relevant_ids: Iterable[str] = (),
    negative_ids: Iterable[str] = (),
) -> dict[str, Any]:
    """Create a row of `QUESTION_FEATURES` without clues; duplicate ids are removed."""
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
        "clues": [],
    }


__all__ = ["DOCUMENT_FEATURES", "QUESTION_FEATURES", "question_row"]
