"""Classify failed questions: one cause each, the first that applies in the order of `Cause`.

With scene annotations (generated images), the cause names the step that went wrong: the object was
not detected, another object was chosen, or the symbol or the aspect was confused. Without them, it
says how close the retrieved documents are to the answer. A cause is derived from what was
retrieved, not from the model's internals: compare the distribution over a benchmark, and read a
single cause as a hint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torchvision.ops import box_iou

from gemkr_hf.data.scenes import Scene
from gemkr_hf.evaluation.error_analysis.search_replay import SearchReplay
from gemkr_hf.evaluation.hits import GOLD, contains_answer
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.processing import Object

MIN_IOU = 0.5
"""An object counts as detected if a box has a larger intersection over union with it."""

Documents = Mapping[str, Mapping[str, Any]]
"""Document id -> record."""

CauseAndDetail = tuple["Cause", str]


class Cause(Enum):
    """The outcome of a question: its label in reports, and its explanation."""

    HIT = "hit", "The first document is a hit."
    NOT_IN_CORPUS = (
        "relevant document missing",
        "None of the relevant documents is in the knowledge base, so none could be retrieved.",
    )
    OBJECT_NOT_FOUND = (
        "object not found",
        "No detected box matches the object that the question is about.",
    )
    NO_OBJECT = (
        "no object found",
        "The detector found no object, so the model had the whole image only.",
    )
    CLUE_AMBIGUOUS = (
        "clue ambiguous",
        "A clue of a relevant document scored higher than the first document, but was dropped "
        "because several documents contain it.",
    )
    NOTHING_RETRIEVED = "nothing retrieved", "No document was retrieved."
    WRONG_ASPECT = (
        "wrong aspect",
        "The first document is about the right symbol, but about another aspect of it.",
    )
    RIGHT_SYMBOL_WRONG_DOCUMENT = (
        "right symbol, wrong document",
        "The right symbol is mentioned, but in a document about another symbol.",
    )
    WRONG_OBJECT = (
        "wrong object",
        "The first document is about another object of the same scene.",
    )
    OBJECT_MISTAKEN = (
        "object mistaken",
        "The first document is about a symbol that is not in the scene.",
    )
    RELEVANT_LOWER = (
        "hit further down",
        "A hit was retrieved, but other documents are ranked above it.",
    )
    ANSWER_ELSEWHERE = (
        "answer in another document",
        "A retrieved document contains an answer, but is not one of the relevant documents.",
    )
    NOT_RETRIEVED = (
        "not retrieved",
        "No retrieved document is relevant or contains a known answer.",
    )

    def __init__(self, label: str, explanation: str) -> None:
        self.label = label
        self.explanation = explanation

    @property
    def slug(self) -> str:
        """The name for HTML: letters and hyphens."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Evidence:
    """What is known about a question.

    Attributes:
        record: The question and the retrieved documents.
        objects: Detected objects; None if no detector was used.
        scene: The annotated scene; None if the image is not generated.
        search: The replayed search; None if the question was not searched again.
    """

    record: Record
    objects: Sequence[Object] | None = None
    scene: Scene | None = None
    search: SearchReplay | None = None


@dataclass(frozen=True)
class Finding:
    """A question with its cause.

    Attributes:
        evidence: What is known about the question.
        cause: The first cause that applies.
        detail: Details of this question, one sentence; may be empty.
        rank: Rank of the first hit, from 1; None if there is none.
    """

    evidence: Evidence
    cause: Cause
    detail: str
    rank: int | None

    @property
    def record(self) -> Record:
        """The question and the retrieved documents."""
        return self.evidence.record


def classify(evidence: Evidence, documents: Documents) -> Finding:
    """Determine the cause of a question's outcome.

    Args:
        evidence: What is known about the question; causes that need more do not apply.
        documents: Records with ``text`` (and ``symbol`` and ``aspect`` with scene annotations) of
            at least those documents that the question's record names and that exist.
    """
    record = evidence.record
    rank = next((n for n, hit in enumerate(record.retrieved, start=1) if hit["hit"]), None)
    if rank == 1:
        return Finding(evidence, Cause.HIT, "", rank)
    cause, detail = (
        _missing_document(record, documents)
        or _missed_object(evidence)
        or _ambiguous_clue(evidence)
        or (
            _without_scene(record, documents, rank)
            if evidence.scene is None
            else _with_scene(record, evidence.scene, documents)
        )
    )
    return Finding(evidence, cause, detail, rank)


def _missing_document(record: Record, documents: Documents) -> CauseAndDetail | None:
    relevant = record.relevant_ids
    if record.preset != GOLD or any(name in documents for name in relevant):
        return None
    return Cause.NOT_IN_CORPUS, f"Not found: “{'”, “'.join(relevant[:3])}”."


def _missed_object(evidence: Evidence) -> CauseAndDetail | None:
    if evidence.objects is None:
        return None
    if evidence.scene is None:
        return None if evidence.objects else (Cause.NO_OBJECT, "")
    target, best = evidence.scene.target, 0.0
    if evidence.objects:
        boxes = [found.box for found in evidence.objects]
        overlaps = box_iou(
            torch.tensor([target.box], dtype=torch.float64),
            torch.tensor(boxes, dtype=torch.float64),
        )
        best = float(overlaps.max())
    if best > MIN_IOU:
        return None
    subject = "None of the detected boxes" if evidence.objects else "No box was detected, so none"
    return Cause.OBJECT_NOT_FOUND, (
        f"{subject} matches {target.description}: the largest intersection over union is "
        f"{best:.2f}, and a match needs more than {MIN_IOU}."
    )


def _ambiguous_clue(evidence: Evidence) -> CauseAndDetail | None:
    """Ambiguity is the cause if the relevant document would otherwise be ranked first."""
    search = evidence.search
    if search is not None:
        for clue in search.dropped:
            if clue.relevant and clue.score > search.best_score:
                return Cause.CLUE_AMBIGUOUS, (
                    f"Several documents contain “{clue.text}” (score {clue.score:.2f})."
                )
    if not evidence.record.retrieved:
        return Cause.NOTHING_RETRIEVED, ""
    return None


def _with_scene(record: Record, scene: Scene, documents: Documents) -> CauseAndDetail:
    first = record.retrieved[0]
    document = documents.get(first["id"], {})
    symbol, aspect = document.get("symbol"), document.get("aspect")
    target = scene.target
    if symbol == target.symbol:
        return Cause.WRONG_ASPECT, (
            f"The question asks for the {scene.aspect} of the {symbol}, the document describes its "
            f"{aspect}."
        )
    subject = f"about the {symbol}" if symbol else "not about a symbol"
    other = next((item for item in scene.other_objects if item.symbol == symbol), None)
    mentioned_in = ""
    if contains_answer("word", [target.symbol], first.get("clue", "")):
        mentioned_in = "clue"
    elif other is not None:
        described = "that" if aspect == scene.aspect else f"the {aspect}"
        return Cause.WRONG_OBJECT, (
            f"The question asks for the {scene.aspect} of {target.description}, the document "
            f"describes {described} of {other.description}."
        )
    elif contains_answer("word", [target.symbol], document.get("text", "")):
        mentioned_in = "text"
    if mentioned_in:
        detail = f"Its {mentioned_in} mentions the {target.symbol}, but it is {subject}."
        return Cause.RIGHT_SYMBOL_WRONG_DOCUMENT, detail
    shown = " and ".join(item.description for item in (target, *scene.other_objects))
    return Cause.OBJECT_MISTAKEN, f"It is {subject}; the scene shows {shown}."


def _without_scene(record: Record, documents: Documents, rank: int | None) -> CauseAndDetail:
    if rank is not None:
        return Cause.RELEVANT_LOWER, f"The first hit has rank {rank}."
    for number, retrieved in enumerate(record.retrieved, start=1):
        text = documents.get(retrieved["id"], {}).get("text", "")
        answer = next((a for a in record.answers if contains_answer("word", [a], text)), None)
        if answer is not None:
            return Cause.ANSWER_ELSEWHERE, f"The document at rank {number} contains “{answer}”."
    number = len(record.retrieved)
    retrieved_text = "One document was" if number == 1 else f"{number} documents were"
    return Cause.NOT_RETRIEVED, f"{retrieved_text} retrieved, none of them a hit."


__all__ = ["MIN_IOU", "Cause", "Documents", "Evidence", "Finding", "classify"]
