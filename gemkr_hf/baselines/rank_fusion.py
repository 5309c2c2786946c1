"""Several retrievers as one, by reciprocal-rank fusion: VRR (paper, Table 1)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gemkr_hf.retrieval.protocol import Captions, Found, Images, Retriever, check_query

CONSTANT = 60
"""Added to each rank, as Cormack et al. (2009) have it."""
DEPTH = 100
"""Documents that each retriever gives."""


class FusionRetriever:
    """Documents in the order of the sum of 1 / (60 + rank) over the retrievers that found them.

    VRR (Luo et al. 2021) joins BM25, DPR and LXMERT: "integrates three retrievers".

    Args:
        retrievers: those that are joined.
        name: for messages.
        depth: documents that each of them gives.
    """

    def __init__(
        self, retrievers: Sequence[Retriever], name: str = "VRR", depth: int = DEPTH
    ) -> None:
        if not retrievers:
            raise ValueError(f"{name} joins retrievers: give one at least")
        self._retrievers = list(retrievers)
        self._name = name
        self._depth = depth
        self._indexed: bool | None = None

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``; documents are read once for each retriever."""
        records = list(documents) if isinstance(documents, Iterator) else documents
        for retriever in self._retrievers:
            retriever.index(records)
        self._indexed = True

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``."""
        check_query(self._name, self._indexed, images, questions, k, captions)
        of_each = [
            retriever.retrieve(images, questions, max(k, self._depth), captions)
            for retriever in self._retrievers
        ]
        return [_fuse(lists, k) for lists in zip(*of_each, strict=True)]


def _fuse(lists: Sequence[Sequence[Found]], k: int) -> list[Found]:
    scores: dict[str, float] = {}
    clues: dict[str, str] = {}
    for found in lists:
        for rank, one in enumerate(found, start=1):
            scores[one.id] = scores.get(one.id, 0.0) + 1 / (CONSTANT + rank)
            clues.setdefault(one.id, one.clue)
    best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
    return [Found(name, score, clues[name]) for name, score in best]


__all__ = ["CONSTANT", "DEPTH", "FusionRetriever"]
