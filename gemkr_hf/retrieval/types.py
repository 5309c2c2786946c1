"""`Hit`, which every retriever returns, and `Run`, what a system retrieved for many questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemkr_hf.decoding.clue import Clue
from gemkr_hf.utils.deprecation import warn_renamed


@dataclass(frozen=True)
class Hit:
    """A retrieved document.

    Attributes:
        score: larger is better; comparable within one system and one question.
        row: the document's row in the knowledge base; -1 where a retriever has none.
        document: the record, with at least ``id``.
        clues: the clues that lead to it, best first; empty for retrievers that write none.
    """

    score: float
    row: int
    document: Mapping[str, Any]
    clues: tuple[Clue, ...] = ()

    @property
    def document_id(self) -> str:
        """The document's id as text."""
        return str(self.document["id"])

    @property
    def id(self) -> str:
        """Deprecated name of `document_id` in the hits of baselines."""
        warn_renamed("Hit.id", "Hit.document_id")
        return self.document_id

    @property
    def clue(self) -> str:
        """Deprecated: the text of the best clue."""
        warn_renamed("Hit.clue", "Hit.clues[0].text")
        return self.clues[0].text if self.clues else ""


@dataclass(frozen=True)
class Run:
    """What a system retrieved for some questions.

    Attributes:
        name: name of the system; the last column of a TREC file.
        documents: question id -> document ids, best first.
        scores: question id -> a score for each document, larger is better.
        seconds: wall time per question; None where it was not measured.
        clues: question id -> text of the best clue of each document; empty where no clue was
            written.
    """

    name: str
    documents: dict[str, list[str]]
    scores: dict[str, list[float]]
    seconds: float | None = None
    clues: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_lists(
        cls, name: str, documents: Mapping[str, Sequence[str]], seconds: float | None = None
    ) -> "Run":
        """A run of which only the order is known: scores are 1 / rank."""
        lists = {question: list(ids) for question, ids in documents.items()}
        scores = {
            question: [1.0 / rank for rank in range(1, len(ids) + 1)]
            for question, ids in lists.items()
        }
        return cls(name, lists, scores, seconds)


__all__ = ["Clue", "Hit", "Run"]
