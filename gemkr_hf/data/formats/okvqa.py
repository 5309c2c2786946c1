"""Questions of OKVQA-GS112K, OKVQA-WK21M and ReMuQ: JSON with the documents in ``ctxs``."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemkr_hf.data.features import question_row
from gemkr_hf.data.formats.json_records import Record, read_records

if TYPE_CHECKING:
    from gemkr_hf.data.data_config import DataConfig

NEGATIVES = ("negatives", "negs", "negative_ctxs", "hard_negative_ctxs")
_PREFIX = re.compile(r"[A-Za-z]+[:_](?=\d+$)")


def okvqa_document_id(identifier: str) -> str:
    """Return a document's number without the prefix that only some files have.

    >>> [okvqa_document_id(name) for name in ("google:17", "GS_17", "wiki:17", "17")]
    ['17', '17', '17', '17']
    """
    return _PREFIX.sub("", identifier.strip(), count=1)


def read_okvqa(path: Path, config: "DataConfig") -> Iterator[dict[str, Any]]:
    """Read questions whose relevant documents are those of ``ctxs`` with ``has_answer``.

    If no document of the file has that field, all of ``ctxs`` are relevant, as in the released
    training files; otherwise those without ``has_answer: true`` are negatives. A file without any
    ``ctxs`` contains test questions of which only the answers are known.

    Raises:
        ValueError: If a field is missing, or ``ctxs`` in only some of the records.
    """
    questions = [_read_question(record, okvqa_document_id) for record in read_records(path)]
    without = next((question.place for question in questions if not question.has_documents), None)
    if without is not None and any(question.has_documents for question in questions):
        raise ValueError(f"{without} has no 'ctxs', but other records have it")
    marked = any(mark is not None for question in questions for _, mark in question.documents)
    for question in questions:
        relevant = [name for name, mark in question.documents if mark or not marked]
        others = [name for name, mark in question.documents if marked and not mark]
        yield question.row(relevant, others)


def read_remuq(path: Path, config: "DataConfig") -> Iterator[dict[str, Any]]:
    """Read questions of ReMuQ: the first of ``ctxs`` is the only relevant document."""
    for record in read_records(path):
        record.require("ctxs")
        question = _read_question(record, str.strip)
        yield question.row([name for name, _ in question.documents[:1]], [])


@dataclass
class _Question:
    place: str
    has_documents: bool
    fields: dict[str, Any]
    documents: list[tuple[str, bool | None]]
    negatives: list[str]

    def row(self, relevant: list[str], others: list[str]) -> dict[str, Any]:
        negatives = [name for name in others + self.negatives if name not in set(relevant)]
        return question_row(relevant_ids=relevant, negative_ids=negatives, **self.fields)


def _read_question(record: Record, document_id: Callable[[str], str]) -> _Question:
    caption, question = record.optional_text("caption"), record.text("question")
    # The released files repeat the caption after the question.
    if caption and question.endswith(caption) and question != caption:
        question = question[: -len(caption)].rstrip()

    def id_of(document: Record) -> str:
        return document_id(document.text("id", "kid", "passage_id"))

    return _Question(
        record.place,
        "ctxs" in record,
        {
            "question_id": record.text("question_id"),
            "image_id": record.text("img_id", "image_id"),
            "question": question,
            "caption": caption,
            "answers": record.answers("answers"),
        },
        [(id_of(document), _has_answer(document)) for document in record.records("ctxs")],
        [id_of(document) for name in NEGATIVES for document in record.records(name)],
    )


def _has_answer(document: Record) -> bool | None:
    value = document.get("has_answer")
    if value is not None and value not in (True, False):
        raise document.wrong_type("has_answer", "true or false")
    return None if value is None else bool(value)


__all__ = ["okvqa_document_id", "read_okvqa", "read_remuq"]
