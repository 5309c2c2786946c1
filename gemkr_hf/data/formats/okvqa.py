"""Questions of OKVQA-GS112K, OKVQA-WK21M and ReMuQ: JSON with the documents in ``ctxs``."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemkr_hf.data.features import question_row
from gemkr_hf.data.formats.json_records import Record, read_records

NEGATIVES = ("negatives", "negs", "negative_ctxs", "hard_negative_ctxs")
_PREFIX = re.compile(r"[A-Za-z]+[:_](?=\d+$)")


def okvqa_document_id(identifier: str) -> str:
    """A document's number without the prefix that some files give it and others do not.

    >>> [okvqa_document_id(name) for name in ("google:17", "GS_17", "wiki:17", "17")]
    ['17', '17', '17', '17']
    """
    return _PREFIX.sub("", identifier.strip(), count=1)


def read_okvqa(path: Path) -> Iterator[dict[str, Any]]:
    """Questions whose relevant documents are those of ``ctxs`` that are marked ``has_answer``.

    Where no document of the file has that mark, all of ``ctxs`` are relevant, as in the released
    training files; where one has it, those that are not marked are negatives. A file without any
    ``ctxs`` holds questions to measure on, of which the answers alone are known.

    Raises:
        ValueError: if a field is missing, or ``ctxs`` in some records only.
    """
    questions = [_read(record, okvqa_document_id) for record in read_records(path)]
    without = next((found.place for found in questions if not found.has_documents), None)
    if without is not None and any(found.has_documents for found in questions):
        raise ValueError(f"{without} has no 'ctxs', and others have")
    marked = any(has_answer is not None for found in questions for _, has_answer in found.documents)
    for found in questions:
        relevant = [name for name, has_answer in found.documents if has_answer or not marked]
        others = [name for name, has_answer in found.documents if marked and not has_answer]
        yield found.row(relevant, others)


def read_remuq(path: Path) -> Iterator[dict[str, Any]]:
    """Questions of ReMuQ: the first of ``ctxs`` is the one relevant document, its id exact."""
    for record in read_records(path):
        record.require("ctxs")
        found = _read(record, str.strip)
        names = [name for name, _ in found.documents]
        yield found.row(names[:1], [])


@dataclass
class _Question:
    place: str
    has_documents: bool
    fields: dict[str, Any]
    documents: list[tuple[str, bool | None]]
    negatives: list[str]

    def row(self, relevant: list[str], others: list[str]) -> dict[str, Any]:
        known = set(relevant)
        negatives = [name for name in others + self.negatives if name not in known]
        return question_row(relevant_ids=relevant, negative_ids=negatives, **self.fields)


def _read(record: Record, document_id: Callable[[str], str]) -> _Question:
    caption = record.words("caption") if record.get("caption") else ""
    question = record.words("question")
    # The released files have the caption behind the question once more.
    if caption and question.endswith(caption) and question != caption:
        question = question[: -len(caption)].rstrip()
    fields = {
        "question_id": record.words("question_id"),
        "image_id": record.words("img_id", "image_id"),
        "question": question,
        "caption": caption,
        "answers": record.answers("answers"),
    }
    documents = [
        (document_id(document.words("id", "kid", "passage_id")), _mark(document))
        for document in record.records("ctxs")
    ]
    negatives = [
        document_id(document.words("id", "kid", "passage_id"))
        for name in NEGATIVES
        for document in record.records(name)
    ]
    return _Question(record.place, "ctxs" in record, fields, documents, negatives)


def _mark(document: Record) -> bool | None:
    value = document.get("has_answer")
    if value is not None and value not in (True, False):
        raise document.wrong("has_answer", "true or false")
    return None if value is None else bool(value)


__all__ = ["okvqa_document_id", "read_okvqa", "read_remuq"]
