"""Look up the documents that questions name, in one pass over a corpus of any size."""

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
    """The result of a look-up in a corpus or a knowledge base.

    Attributes:
        name: Name of the corpus or the knowledge base.
        number: Number of documents.
        found: Requested ids that exist.
        texts: Id -> text of those documents whose text was requested.
        first_ids: Ids of the first three documents.
        empty: Number of documents without text.
        repeated: Number of records whose id occurred before.
        repeated_id: The first such id.
        first_id_of: Requested id -> first id of its document, if the document has several ids
            (records with the same text are one document of a knowledge base).
    """

    name: str
    number: int = 0
    found: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    first_ids: list[str] = field(default_factory=list)
    empty: int = 0
    repeated: int = 0
    repeated_id: str | None = None
    first_id_of: dict[str, str] = field(default_factory=dict)


def look_up(
    benchmark: Benchmark,
    ids: Collection[str],
    text_ids: Collection[str],
    document_id: Callable[[str], str],
) -> FoundDocuments:
    """Look up documents in the knowledge base if it exists, otherwise in the corpus.

    Args:
        benchmark: The benchmark that has one or both.
        ids: Ids to look up.
        text_ids: Ids whose texts are returned.
        document_id: Normalizes the ids of the knowledge base.
    """
    folder, corpus = benchmark.knowledge_base, benchmark.documents
    is_built = folder is not None and (Path(folder) / HEADER_FILE).is_file()
    if folder is not None and (is_built or len(corpus) == 0):
        kb = KnowledgeBase.from_pretrained(folder, verify=False)
        rows = {document_id(str(name)): row for name, row in kb.row_ids().items()}
        first = {document_id(a): document_id(b) for a, b in kb.further_ids().items()}
        return FoundDocuments(
            folder,
            number=len(kb),
            found={name for name in ids if name in rows},
            texts={name: kb[rows[name]]["text"] for name in text_ids if name in rows},
            first_ids=list(islice(rows, 3)),
            empty=len(empty_texts(kb)),
            first_id_of={name: first[name] for name in ids if name in first},
        )
    name = getattr(corpus, "name", benchmark.name)
    return _look_up_in_corpus(corpus, name, frozenset(ids), frozenset(text_ids))


def _look_up_in_corpus(
    documents: Documents, name: str, ids: frozenset[str], text_ids: frozenset[str]
) -> FoundDocuments:
    result = FoundDocuments(name)
    # Duplicates are found by 8-byte hashes: the ids of a large corpus would need gigabytes.
    hashes = array("q")
    for document in progress(documents, "Documents", total=len(documents), unit="doc"):
        identifier = document["id"]
        hashes.append(hash(identifier))
        if identifier in ids:
            result.found.add(identifier)
        if identifier in text_ids:
            result.texts.setdefault(identifier, document["text"])
        if len(result.first_ids) < 3:
            result.first_ids.append(identifier)
        result.empty += not document["text"].strip()
    result.number = len(hashes)
    ordered = np.sort(np.array(hashes, dtype=np.int64))
    duplicates = ordered[1:][ordered[1:] == ordered[:-1]]
    result.repeated = len(duplicates)
    if result.repeated:
        repeated = set(duplicates.tolist())
        result.repeated_id = next(d["id"] for d in documents if hash(d["id"]) in repeated)
    return result


__all__ = ["FoundDocuments", "look_up"]
