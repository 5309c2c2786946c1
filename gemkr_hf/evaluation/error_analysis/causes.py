"""Why a question failed: one cause each, the first that applies in the order of `Cause`.

Where the scene is known (the symbols benchmark), the causes say which step went wrong: the object
was not found, the question was bound to another one, the symbol or the aspect was mistaken.
Elsewhere they say how far the answer is from what came back. A cause is read off what came back,
not off what the model computed: reports of one benchmark can be compared, and a single question is
a place to look.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gemkr_hf.evaluation.error_analysis.repeated_search import Search
from gemkr_hf.evaluation.error_analysis.scene_truth import SceneThing, SceneTruth
from gemkr_hf.evaluation.hits import GOLD, holds_answer
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.processing import Object
from gemkr_hf.training.alignment import overlap

FOUND_OVERLAP = 0.5
"""A box whose intersection over union with an object's is above this has found the object."""

Documents = Mapping[str, Mapping[str, Any]]


class Cause(Enum):
    """What became of a question: its name in reports, and what that means."""

    HIT = "hit", "The first document is a hit."
    NOT_IN_CORPUS = (
        "relevant document missing",
        "None of the relevant documents is in the knowledge base: nothing could be found.",
    )
    OBJECT_NOT_FOUND = (
        "object not found",
        "The detector's boxes leave out the object that the question asks about.",
    )
    NO_OBJECT = (
        "no object found",
        "The detector found nothing in the image, so the model saw it as a whole only.",
    )
    CLUE_AMBIGUOUS = (
        "clue ambiguous",
        "A clue of a relevant document was written and scored above the first document, but was "
        "dropped: several documents hold it.",
    )
    NOTHING_RETRIEVED = "nothing retrieved", "No document came back."
    WRONG_ASPECT = (
        "wrong aspect",
        "The first document is of the right symbol, but tells another aspect than asked.",
    )
    RIGHT_SYMBOL_WRONG_DOCUMENT = (
        "right symbol, wrong document",
        "The right symbol is named, but in a document about another one.",
    )
    WRONG_OBJECT = (
        "wrong object",
        "The first document is of another object of the same scene than the one asked about.",
    )
    OBJECT_MISTAKEN = (
        "object mistaken",
        "The first document is of a symbol that is not in the scene.",
    )
    RELEVANT_LOWER = (
        "hit further down",
        "A hit came back, but other documents stand before it.",
    )
    ANSWER_ELSEWHERE = (
        "answer in another document",
        "A document that came back holds an answer, but is none of the relevant ones.",
    )
    NOT_RETRIEVED = (
        "not retrieved",
        "Nothing that came back is relevant, or holds an answer where answers are known.",
    )

    def __init__(self, label: str, explanation: str) -> None:
        self.label = label
        self.explanation = explanation

    @property
    def slug(self) -> str:
        """For HTML: letters and hyphens."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Evidence:
    """What is known of a question.

    Attributes:
        record: what was asked and retrieved.
        objects: found by the detector; None where it was not asked.
        truth: the scene, for the symbols benchmark.
        search: what was written, where the question was asked again with a trace.
    """

    record: Record
    objects: Sequence[Object] | None = None
    truth: SceneTruth | None = None
    search: Search | None = None


@dataclass(frozen=True)
class Finding:
    """A question with its cause.

    Attributes:
        evidence: what is known of it.
        cause: the first that applies.
        detail: the cause in this question, one sentence; "" where there is no more to say.
        rank: where the first hit stands, from 1; None where none came back.
    """

    evidence: Evidence
    cause: Cause
    detail: str
    rank: int | None

    @property
    def record(self) -> Record:
        """What was asked and retrieved."""
        return self.evidence.record


def classify(evidence: Evidence, documents: Documents) -> Finding:
    """Find the cause.

    Args:
        evidence: what is known of the question; causes that need more than that do not apply.
        documents: id -> record with ``text``, and ``symbol`` and ``aspect`` for the symbols
            benchmark; at least of what the record names, as far as there is such a document.
    """
    record = evidence.record
    marks = [bool(found["hit"]) for found in record.retrieved]
    rank = marks.index(True) + 1 if True in marks else None
    if rank == 1:
        return Finding(evidence, Cause.HIT, "", rank)
    cause, detail = (
        _missing(record, documents)
        or _unseen(evidence)
        or _ambiguous(evidence)
        or (
            _in_general(record, documents, rank)
            if evidence.truth is None
            else _in_scene(record, evidence.truth, documents)
        )
    )
    return Finding(evidence, cause, detail, rank)


Reason = tuple[Cause, str]


def _missing(record: Record, documents: Documents) -> Reason | None:
    wanted = record.relevant_ids
    if record.preset != GOLD or any(name in documents for name in wanted):
        return None
    return Cause.NOT_IN_CORPUS, f"There is no document “{'”, “'.join(wanted[:3])}”."


def _unseen(evidence: Evidence) -> Reason | None:
    if evidence.objects is None:
        return None
    number = len(evidence.objects)
    if evidence.truth is None:
        return (Cause.NO_OBJECT, "") if not number else None
    target = evidence.truth.target
    nearest = max((overlap(found.box, target.box) for found in evidence.objects), default=0.0)
    if nearest > FOUND_OVERLAP:
        return None
    boxes = "None of the boxes found" if number else "No box was found, so none"
    return Cause.OBJECT_NOT_FOUND, (
        f"{boxes} covers {target.words}: the nearest overlaps it by {nearest:.2f} (intersection "
        f"over union; above {FOUND_OVERLAP} it would count as found)."
    )


def _ambiguous(evidence: Evidence) -> Reason | None:
    """Ambiguity is to blame where, but for it, the relevant document would stand first."""
    search = evidence.search
    if search is not None:
        for clue in search.dropped:
            if clue.relevant and clue.score > search.best_score:
                return Cause.CLUE_AMBIGUOUS, (
                    f"“{clue.text}” (score {clue.score:.2f}) is held by several documents."
                )
    if not evidence.record.retrieved:
        return Cause.NOTHING_RETRIEVED, ""
    return None


def _in_scene(record: Record, truth: SceneTruth, documents: Documents) -> Reason:
    first = record.retrieved[0]
    document = documents.get(first["id"], {})
    symbol, aspect = document.get("symbol"), document.get("aspect")
    target = truth.target
    if symbol == target.symbol:
        return Cause.WRONG_ASPECT, (
            f"Asked for the {truth.aspect} of the {symbol}, it tells its {aspect}."
        )
    told = f"of the {symbol}" if symbol else "of no symbol"
    other = next((thing for thing in truth.others if thing.symbol == symbol), None)
    if names(first.get("clue", ""), target.symbol):
        return (
            Cause.RIGHT_SYMBOL_WRONG_DOCUMENT,
            f"Its clue names the {target.symbol}; it is {told}.",
        )
    if other is not None:
        return Cause.WRONG_OBJECT, _bound_to(other, truth, str(aspect))
    if names(document.get("text", ""), target.symbol):
        return (
            Cause.RIGHT_SYMBOL_WRONG_DOCUMENT,
            f"Its text names the {target.symbol}; it is {told}.",
        )
    shown = " and ".join(thing.words for thing in (target, *truth.others))
    return Cause.OBJECT_MISTAKEN, f"It is {told}; the scene shows {shown}."


def _bound_to(other: SceneThing, truth: SceneTruth, aspect: str) -> str:
    told = "that" if aspect == truth.aspect else f"the {aspect}"
    return (
        f"Asked for the {truth.aspect} of {truth.target.words}, it tells {told} of {other.words}."
    )


def _in_general(record: Record, documents: Documents, rank: int | None) -> Reason:
    if rank is not None:
        return Cause.RELEVANT_LOWER, f"The first hit has rank {rank}."
    for place, found in enumerate(record.retrieved, start=1):
        text = documents.get(found["id"], {}).get("text", "")
        told = next((a for a in record.answers if holds_answer("word", [a], text)), None)
        if told is not None:
            return Cause.ANSWER_ELSEWHERE, f"The document at rank {place} holds “{told}”."
    number = len(record.retrieved)
    came = "One document" if number == 1 else f"{number} documents"
    return Cause.NOT_RETRIEVED, f"{came} came back, none of them a hit."


def names(text: str, symbol: str) -> bool:
    """Whether a text says the symbol's name, as whole words and in any case.

    >>> names("The Red Anchor", "anchor"), names("anchored", "anchor")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(symbol)}(?!\w)", text, re.IGNORECASE) is not None


__all__ = ["FOUND_OVERLAP", "Cause", "Evidence", "Finding", "classify", "names"]
