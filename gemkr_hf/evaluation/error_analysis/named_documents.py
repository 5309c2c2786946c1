"""Documents by their ids, from a mapping or from a knowledge base of any size."""

from collections.abc import Iterable, Mapping
from typing import Any

from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.knowledge_base import KnowledgeBase

Documents = Mapping[str, Mapping[str, Any]]


def look_up(documents: Documents | KnowledgeBase, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The records of some documents.

    Args:
        documents: id -> record, or a knowledge base, which is asked once for all of them.
        ids: wanted; ids of a knowledge base are compared as texts.

    Returns:
        Id -> record, without the ids that there are no documents of.
    """
    wanted = list(dict.fromkeys(ids))
    if isinstance(documents, KnowledgeBase):
        return documents.documents_of(wanted)
    return {name: dict(documents[name]) for name in wanted if name in documents}


def named_in(records: Iterable[Record]) -> list[str]:
    """The ids of all documents that records name as retrieved or relevant."""
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys(record.relevant_ids)
        names |= dict.fromkeys(found["id"] for found in record.retrieved)
    return list(names)


__all__ = ["Documents", "look_up", "named_in"]
