"""What a report shows of one question, as plain values for the template."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gemkr_hf.evaluation.error_analysis.causes import Cause, Finding
from gemkr_hf.evaluation.error_analysis.repeated_search import WrittenClue
from gemkr_hf.evaluation.error_analysis.scene_truth import SceneTruth
from gemkr_hf.evaluation.error_analysis.thumbnails import thumbnail
from gemkr_hf.processing import Object

_SHOWN = 5  # documents of a card; a hit further down comes in addition
_LONGEST = 700  # characters of a document
_BEFORE = 200  # of them before the first clue, where the text is cut
_CLUES = 3  # of a document
_DROPPED = 5

Documents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Part:
    """A part of a text, marked where a clue says it."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class ShownDocument:
    """A document of a card; rank, score and clues where it was retrieved."""

    id: str
    title: str
    parts: tuple[Part, ...]
    known: bool
    hit: bool = False
    rank: int = 0
    score: float = 0.0
    clues: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True)
class Card:
    """A question of the report.

    Attributes:
        number: of the card, from 1.
        finding: the question, its cause, and the rank of the first hit.
        facts: further words about the question: aspect, how it refers, answers.
        image, alt: address of the image with its boxes, and what it shows; "" without image.
        found: objects found; None where nothing looked for any.
        has_target: whether the box of what is asked about is drawn.
        retrieved: documents, best first; ``more`` are not shown.
        relevant: documents that the benchmark names; ``more_relevant`` are not shown.
        dropped: clues that several documents hold, best first; ``more_dropped`` are not shown.
    """

    number: int
    finding: Finding
    facts: tuple[str, ...]
    image: str
    alt: str
    found: int | None
    has_target: bool
    retrieved: tuple[ShownDocument, ...]
    more: int
    relevant: tuple[ShownDocument, ...]
    more_relevant: int
    dropped: tuple[WrittenClue, ...]
    more_dropped: int


def choose(findings: Iterable[Finding], limit: int, include_hits: bool) -> list[Finding]:
    """The questions that get a card, by cause and within a cause as they were asked.

    Causes take turns until the limit is reached, so that a rare one is seen beside a frequent one.
    Hits take what the failed questions leave.
    """
    waiting: dict[Cause, deque[Finding]] = {cause: deque() for cause in Cause}
    for finding in findings:
        waiting[finding.cause].append(finding)
    hits = waiting.pop(Cause.HIT)
    chosen: list[Finding] = []
    while len(chosen) < limit and any(waiting.values()):
        turn = [queue.popleft() for queue in waiting.values() if queue]
        chosen += turn[: limit - len(chosen)]
    order = list(Cause)
    chosen.sort(key=lambda finding: order.index(finding.cause))  # stable
    return chosen + (list(hits)[: limit - len(chosen)] if include_hits else [])


def make_card(
    number: int,
    finding: Finding,
    documents: Documents,
    image: Image.Image | None,
    objects: Sequence[Object] | None,
) -> Card:
    """Everything that is shown of a question.

    Args:
        number: of the card.
        finding: what is told.
        documents: id -> record.
        image: upright, RGB; None where there is none.
        objects: found on it; None where nothing looked for any.
    """
    record, truth, search = finding.record, finding.evidence.truth, finding.evidence.search
    shown = list(record.retrieved[:_SHOWN])
    ranks = list(range(1, len(shown) + 1))
    if finding.rank is not None and finding.rank > _SHOWN:
        ranks.append(finding.rank)
        shown.append(record.retrieved[finding.rank - 1])
    known_clues = {} if search is None else search.clues
    retrieved = []
    for rank, found in zip(ranks, shown, strict=True):
        clues: tuple[tuple[str, float | None], ...] = tuple(
            (clue.text, clue.score) for clue in known_clues.get(found["id"], ())[:_CLUES]
        )
        if not clues and found.get("clue"):
            clues = ((found["clue"], None),)
        retrieved.append(
            _document(found["id"], documents, clues, bool(found["hit"]), rank, found["score"])
        )
    dropped = () if search is None else search.dropped
    target = None if truth is None else truth.target.box
    return Card(
        number,
        finding,
        _facts(record.answers, truth),
        "" if image is None else thumbnail(image, objects or (), target),
        "" if image is None else _alt(record.image_id, objects, truth),
        None if objects is None else len(objects),
        truth is not None,
        tuple(retrieved),
        len(record.retrieved) - len(retrieved),
        tuple(_document(name, documents) for name in record.relevant_ids[:_SHOWN]),
        max(0, len(record.relevant_ids) - _SHOWN),
        dropped[:_DROPPED],
        max(0, len(dropped) - _DROPPED),
    )


def _facts(answers: Sequence[str], truth: SceneTruth | None) -> tuple[str, ...]:
    facts = []
    if truth is not None:
        facts += [f"aspect: {truth.aspect}", f"referred to by: {truth.by}"]
    elif answers:
        more = f" and {len(answers) - 5} more" if len(answers) > 5 else ""
        facts.append(f"answers: {', '.join(answers[:5])}{more}")
    return tuple(facts)


def _alt(image_id: str, objects: Sequence[Object] | None, truth: SceneTruth | None) -> str:
    said = [f"Image {image_id}"]
    if objects is not None:
        number = len(objects)
        boxes = "box of an object" if number == 1 else "boxes of objects"
        said.append(f"{number} numbered {boxes} that the detector found")
    if truth is not None:
        said.append(f"a dashed box around {truth.target.words}, which the question asks about")
        others = " and ".join(thing.words for thing in truth.others)
        said.append(f"besides {others}" if others else "nothing else")
    return ", ".join(said)


def _document(
    name: str,
    documents: Documents,
    clues: tuple[tuple[str, float | None], ...] = (),
    hit: bool = False,
    rank: int = 0,
    score: float = 0.0,
) -> ShownDocument:
    document = documents.get(name)
    if document is None:
        return ShownDocument(name, "", (), False, hit, rank, score, clues)
    parts = mark(str(document.get("text") or ""), [text for text, _ in clues])
    title = str(document.get("title") or "")
    return ShownDocument(name, title, parts, True, hit, rank, score, clues)


def mark(text: str, clues: Iterable[str]) -> tuple[Part, ...]:
    """A text with the places of its clues marked, cut around the first where it is long.

    A clue that does not stand in the text as it is written marks nothing.

    >>> [(part.text, part.marked) for part in mark("It is a red sign.", ["a red", "red sign"])]
    [('It is ', False), ('a red sign', True), ('.', False)]
    """
    spans = []
    for piece in (piece for clue in clues for piece in clue.split(" ... ") if piece.strip()):
        start = text.find(piece)
        if start >= 0:
            spans.append((start, start + len(piece)))
    first, last = 0, len(text)
    if len(text) > _LONGEST:
        first = max(0, min(spans, default=(0, 0))[0] - _BEFORE)
        first = min(first, len(text) - _LONGEST)
        last = first + _LONGEST
    parts = [Part("… ")] if first else []
    at = first
    for start, end in sorted(spans):
        start, end = max(at, start), min(end, last)
        if start >= end:
            continue
        if start > at:
            parts.append(Part(text[at:start]))
        if parts and parts[-1].marked:  # the clues touch
            parts[-1] = Part(parts[-1].text + text[start:end], True)
        else:
            parts.append(Part(text[start:end], True))
        at = end
    if at < last:
        parts.append(Part(text[at:last]))
    return tuple([*parts, Part(" …")] if last < len(text) else parts)


__all__ = ["Card", "Part", "ShownDocument", "choose", "make_card", "mark"]
