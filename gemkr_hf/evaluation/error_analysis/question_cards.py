"""Cards: what the report shows of one question, as plain values for the template."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from gemkr_hf.data.scenes import Scene
from gemkr_hf.evaluation.error_analysis.causes import Cause, Documents, Finding
from gemkr_hf.evaluation.error_analysis.search_replay import GeneratedClue
from gemkr_hf.evaluation.error_analysis.thumbnails import thumbnail
from gemkr_hf.processing import Object

_MAX_DOCUMENTS = 5  # of a card; a hit at a lower rank is added
_MAX_TEXT = 700  # characters of a document
_CONTEXT = 200  # characters before the first clue where a text is cut
_MAX_CLUES = 3  # of a document
_MAX_DROPPED = 5  # dropped clues of a card


@dataclass(frozen=True)
class TextPart:
    """A part of a text; marked if a clue contains it."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class CardDocument:
    """A document of a card; with rank, score and clues if it was retrieved."""

    id: str
    title: str
    parts: tuple[TextPart, ...]
    known: bool
    hit: bool = False
    rank: int = 0
    score: float = 0.0
    clues: Sequence[tuple[str, float | None]] = ()


@dataclass(frozen=True)
class Card:
    """A question of the report.

    Attributes:
        finding: The question, its cause, and the rank of the first hit.
        facts: Further facts about the question: aspect, reference, answers.
        image, alt: Data URI of the image with its boxes, and its description; "" without image.
        detected: Number of detected objects; None if no detector was used.
        retrieved: The retrieved documents that are shown, best first.
        relevant: The relevant documents that are shown.
        dropped: The dropped clues that are shown, best first.
    """

    finding: Finding
    facts: tuple[str, ...]
    image: str
    alt: str
    detected: int | None
    retrieved: list[CardDocument]
    relevant: list[CardDocument]
    dropped: Sequence[GeneratedClue]


def choose_questions(findings: Iterable[Finding], limit: int, include_hits: bool) -> list[Finding]:
    """Choose the questions that get a card, ordered by cause and then as in the run.

    One question of each cause is taken in turn until the limit is reached, so that rare causes are
    shown too. Hits are added only if failed questions leave room.
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
    finding: Finding,
    documents: Documents,
    image: Image.Image | None,
    objects: Sequence[Object] | None,
) -> Card:
    """Create the card of a question; objects are None if no detector was used."""
    record, scene, search = finding.record, finding.evidence.scene, finding.evidence.search
    shown = list(enumerate(record.retrieved[:_MAX_DOCUMENTS], start=1))
    if finding.rank is not None and finding.rank > _MAX_DOCUMENTS:
        shown.append((finding.rank, record.retrieved[finding.rank - 1]))
    retrieved = []
    for rank, found in shown:
        known = search.clues.get(found["id"], ()) if search is not None else ()
        clues: list[tuple[str, float | None]]
        clues = [(clue.text, clue.score) for clue in known[:_MAX_CLUES]]
        if not clues and found.get("clue"):
            clues = [(found["clue"], None)]
        retrieved.append(
            _document(found["id"], documents, clues, bool(found["hit"]), rank, found["score"])
        )
    target = None if scene is None else scene.target.box
    return Card(
        finding=finding,
        facts=_facts(record.answers, scene),
        image="" if image is None else thumbnail(image, objects or (), target),
        alt="" if image is None else _alt_text(record.image_id, objects, scene),
        detected=None if objects is None else len(objects),
        retrieved=retrieved,
        relevant=[_document(name, documents) for name in record.relevant_ids[:_MAX_DOCUMENTS]],
        dropped=() if search is None else search.dropped[:_MAX_DROPPED],
    )


def _facts(answers: Sequence[str], scene: Scene | None) -> tuple[str, ...]:
    if scene is not None:
        return f"aspect: {scene.aspect}", f"referred to by: {scene.reference}"
    if not answers:
        return ()
    more = f" and {len(answers) - 5} more" if len(answers) > 5 else ""
    return (f"answers: {', '.join(answers[:5])}{more}",)


def _alt_text(image_id: str, objects: Sequence[Object] | None, scene: Scene | None) -> str:
    parts = [f"Image {image_id}"]
    if objects is not None:
        boxes = "box of a detected object" if len(objects) == 1 else "boxes of detected objects"
        parts.append(f"{len(objects)} numbered {boxes}")
    if scene is not None:
        parts.append(f"a dashed box around {scene.target.description}, the target of the question")
        others = " and ".join(item.description for item in scene.other_objects)
        parts.append(f"besides {others}" if others else "no other object")
    return ", ".join(parts)


def _document(
    name: str,
    documents: Documents,
    clues: Sequence[tuple[str, float | None]] = (),
    hit: bool = False,
    rank: int = 0,
    score: float = 0.0,
) -> CardDocument:
    document = documents.get(name)
    record = document or {}
    parts = mark_clues(str(record.get("text") or ""), [text for text, _ in clues])
    title = str(record.get("title") or "")
    return CardDocument(name, title, parts, document is not None, hit, rank, score, clues)


def mark_clues(text: str, clues: Iterable[str]) -> tuple[TextPart, ...]:
    """Mark the clues in a text; a long text is cut around the first one.

    A clue that does not occur literally in the text marks nothing.

    >>> parts = mark_clues("It is a red sign.", ["a red", "red sign"])
    >>> [(part.text, part.marked) for part in parts]
    [('It is ', False), ('a red sign', True), ('.', False)]
    """
    marked = [False] * len(text)
    for piece in (piece for clue in clues for piece in clue.split(" ... ") if piece.strip()):
        start = text.find(piece)
        if start >= 0:
            marked[start : start + len(piece)] = [True] * len(piece)
    first, last = 0, len(text)
    if len(text) > _MAX_TEXT:
        first = max(0, (marked.index(True) if True in marked else 0) - _CONTEXT)
        first = min(first, len(text) - _MAX_TEXT)
        last = first + _MAX_TEXT
    parts = [TextPart("… ")] if first else []
    for is_marked, group in groupby(range(first, last), key=lambda position: marked[position]):
        parts.append(TextPart("".join(text[position] for position in group), is_marked))
    if last < len(text):
        parts.append(TextPart(" …"))
    return tuple(parts)


__all__ = ["Card", "CardDocument", "TextPart", "choose_questions", "make_card", "mark_clues"]
