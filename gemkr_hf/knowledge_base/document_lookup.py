"""Many documents of a knowledge base by their ids."""

from collections.abc import Iterable
from typing import Any

from gemkr_hf.knowledge_base.knowledge_base import KnowledgeBase


def documents_of(knowledge_base: KnowledgeBase, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The records of some documents, found in one pass over all ids.

    Args:
        knowledge_base: of any size.
        ids: wanted, compared as texts.

    Returns:
        Id -> record, in the order of ``ids``, without those that there are no documents of.
    """
    wanted = list(dict.fromkeys(ids))
    rows = knowledge_base.rows_of(wanted).tolist()
    return {
        name: dict(knowledge_base[row]) for name, row in zip(wanted, rows, strict=True) if row >= 0
    }


__all__ = ["documents_of"]
