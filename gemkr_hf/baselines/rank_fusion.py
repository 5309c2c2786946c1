"""VRR: several retrievers joined by reciprocal-rank fusion (paper, Table 1)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gemkr_hf.baselines.baseline import Baseline, Captions, Images
from gemkr_hf.retrieval.protocol import Retriever
from gemkr_hf.retrieval.types import Hit

CONSTANT = 60
"""Added to each rank (Cormack et al. 2009)."""
DEPTH = 100
"""Documents requested from each retriever."""


class FusionRetriever(Baseline):
    """Documents ordered by the sum of 1 / (60 + rank) over the retrievers that return them.

    VRR (Luo et al. 2021) joins BM25, DPR and LXMERT: "integrates three retrievers".

    Args:
        retrievers: the retrievers to join.
        name: name of the system, for messages.
        depth: documents requested from each of them.

    Raises:
        ValueError: ``retrievers`` is empty.
    """

    def __init__(
        self, retrievers: Sequence[Retriever], name: str = "VRR", depth: int = DEPTH
    ) -> None:
        super().__init__(name)
        if not retrievers:
            raise ValueError(f"{name} needs at least one retriever")
        self._retrievers = list(retrievers)
        self._depth = depth

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents, which are read once for each retriever."""
        records = list(documents) if isinstance(documents, Iterator) else documents
        for retriever in self._retrievers:
            retriever.index(records)
        self._indexed = True

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Hit]]:
        """Return up to ``k`` hits for each question, best first; see `Retriever.retrieve`."""
        self._check(images, questions, k, captions)
        depth = max(k, self._depth)
        rankings = [
            retriever.retrieve(images, questions, depth, captions) for retriever in self._retrievers
        ]
        return [_fuse(lists, k) for lists in zip(*rankings, strict=True)]


def _fuse(rankings: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    scores: dict[str, float] = {}
    first: dict[str, Hit] = {}
    for hits in rankings:
        for rank, hit in enumerate(hits, start=1):
            name = hit.document_id
            scores[name] = scores.get(name, 0.0) + 1 / (CONSTANT + rank)
            first.setdefault(name, hit)
    best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
    return [replace(first[name], score=score) for name, score in best]


__all__ = ["CONSTANT", "DEPTH", "FusionRetriever"]
