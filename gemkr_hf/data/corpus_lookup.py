"""Which of the documents that questions name are there: one pass over a corpus of any size."""

from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from gemkr_hf.data.benchmark import Benchmark, Documents
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.inspection import empty_texts
from gemkr_hf.knowledge_base.storage import HEADER_FILE
from gemkr_hf.utils.logging import progress


@dataclass
class FoundDocuments:
    """What a corpus or a knowledge base holds.

    Attributes:
        name: of the corpus or the knowledge base.
        number: of documents.
        found: ids of those that were asked for.
        texts: of those documents that are to be shown.
        first_ids: the ids of the first documents.
        empty: documents without a text.
        repeated: records whose id an earlier one has.
        repeated_id: the first such id.
        goes_by: of ids that were asked for: the first id of the document, where it has several, as
            records of one text are one document of a knowledge base.
    """

    name: str
    number: int = 0
    found: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    first_ids: list[str] = field(default_factory=list)
    empty: int = 0
    repeated: int = 0
    repeated_id: str | None = None
    goes_by: dict[str, str] = field(default_factory=dict)


def look_up(
    benchmark: Benchmark,
    wanted: Collection[str],
    shown: Collection[str],
    document_id: Callable[[str], str],
) -> FoundDocuments:
    """Look for documents in the knowledge base, if it is there already, or else in the corpus.

    Args:
        benchmark: names both.
        wanted: ids to look for.
        shown: ids whose texts are kept.
        document_id: what the knowledge base's ids go through.
    """
    place, corpus = benchmark.knowledge_base, benchmark.documents
    is_built = place is not None and (Path(place) / HEADER_FILE).is_file()
    if place is not None and (is_built or len(corpus) == 0):
        loaded = KnowledgeBase.from_pretrained(place, verify=False)
        return _in_knowledge_base(loaded, place, wanted, shown, document_id)
    name = getattr(corpus, "name", benchmark.name)
    return _in_corpus(corpus, name, frozenset(wanted), frozenset(shown))


def _in_knowledge_base(
    knowledge_base: KnowledgeBase,
    name: str,
    wanted: Collection[str],
    shown: Collection[str],
    document_id: Callable[[str], str],
) -> FoundDocuments:
    rows = {
        document_id(str(identifier)): row for identifier, row in knowledge_base.row_ids().items()
    }
    first = {
        document_id(name): document_id(other)
        for name, other in knowledge_base.further_ids().items()
    }
    return FoundDocuments(
        name,
        number=len(knowledge_base),
        goes_by={identifier: first[identifier] for identifier in wanted if identifier in first},
        found={identifier for identifier in wanted if identifier in rows},
        texts={
            identifier: knowledge_base[rows[identifier]]["text"]
            for identifier in shown
            if identifier in rows
        },
        first_ids=list(islice(rows, 3)),
        empty=len(empty_texts(knowledge_base)),
    )


def _in_corpus(
    documents: Documents, name: str, wanted: frozenset[str], shown: frozenset[str]
) -> FoundDocuments:
    result = FoundDocuments(name)
    # 8 bytes for each document find repeated ids; the ids themselves would be gigabytes.
    digests = array("q")
    for document in progress(documents, "Documents", total=len(documents), unit="doc"):
        identifier = document["id"]
        digests.append(hash(identifier))
        if identifier in wanted:
            result.found.add(identifier)
        if identifier in shown:
            result.texts.setdefault(identifier, document["text"])
        if len(result.first_ids) < 3:
            result.first_ids.append(identifier)
        result.empty += not document["text"].strip()
    result.number = len(digests)
    ordered = np.sort(np.frombuffer(digests, np.int64)) if digests else np.zeros(0, np.int64)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    result.repeated = len(twice)
    if result.repeated:
        several = set(twice.tolist())
        result.repeated_id = next(
            document["id"] for document in documents if hash(document["id"]) in several
        )
    return result


__all__ = ["FoundDocuments", "look_up"]
