"""What a search wrote and dropped, learned by asking a question again with a trace."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemkr_hf.decoding import SearchTrace
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.processing import Object
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenClue:
    """A clue in words.

    Attributes:
        text: its words; " ... " stands between its pieces.
        score: sum of the log-probabilities of its tokens (Eq. 1).
        relevant: whether a relevant document holds it.
    """

    text: str
    score: float
    relevant: bool = False


@dataclass(frozen=True)
class Search:
    """What one search came to.

    Attributes:
        best_score: of the first document; minus infinity where there is none.
        clues: document id -> its clues, best first.
        dropped: clues that ended while several documents held them, best first.
    """

    best_score: float
    clues: dict[str, tuple[WrittenClue, ...]]
    dropped: tuple[WrittenClue, ...]


def ask_again(
    retriever: GeMKRRetriever,
    records: Sequence[Record],
    images: Sequence[Any],
    objects: Sequence[Sequence[Object] | None],
    k: int,
    decoding: Mapping[str, Any],
) -> list[Search | None]:
    """Ask questions again, as they were asked in the run, and keep what the trace tells.

    Args:
        retriever: whose run it was.
        records: of n questions.
        images: n; None for a question in words alone.
        objects: n lists of what the detector found; None where it was not asked.
        k: documents that the run retrieved for each question.
        decoding: settings of the run that are not the checkpoint's.

    Returns:
        n searches; None where another document came first than in the record, so that the trace
        is not one of the search that is to be explained.
    """
    hits, traces = retriever.retrieve(
        list(images),
        [record.question for record in records],
        k=k,
        objects=[list(found or ()) for found in objects],
        batch_size=len(records),
        return_trace=True,
        **decoding,
    )
    searches: list[Search | None] = []
    for record, found, trace in zip(records, hits, traces, strict=True):
        first = str(found[0].document["id"]) if found else None
        if first != (record.retrieved[0]["id"] if record.retrieved else None):
            logger.info(f"Question '{record.question_id}' was answered otherwise when asked again")
            searches.append(None)
            continue
        searches.append(_search(retriever, record, found, trace))
    return searches


def _search(
    retriever: GeMKRRetriever, record: Record, hits: Sequence[Hit], trace: SearchTrace
) -> Search:
    clues = {
        str(hit.document["id"]): tuple(WrittenClue(clue.text, clue.score) for clue in hit.clues)
        for hit in hits
    }
    ended = [number for number, node in enumerate(trace.nodes) if node.state == "dropped"]
    dropped: list[WrittenClue] = []
    if ended:
        knowledge_base, decode = retriever.knowledge_base, retriever.processor.tokenizer.decode
        rows = [row for row in knowledge_base.rows_of(record.relevant_ids).tolist() if row >= 0]
        relevant = [[int(token) for token in knowledge_base.index.extract(row)] for row in rows]
        for number in ended:
            pieces = pieces_of(trace, number)
            holds = any(all(is_part(piece, tokens) for piece in pieces) for tokens in relevant)
            text = " ... ".join(decode(piece).strip() for piece in pieces)
            dropped.append(WrittenClue(text, trace.nodes[number].score, holds))
    dropped.sort(key=lambda clue: -clue.score)
    best = hits[0].score if hits else float("-inf")
    return Search(best, clues, tuple(dropped))


def pieces_of(trace: SearchTrace, number: int) -> list[list[int]]:
    """The tokens of the clue that ends at a node, piece by piece."""
    pieces: list[list[int]] = [[]]
    while number >= 0:
        token = trace.nodes[number].token
        if token >= 0:
            pieces[-1].append(token)
        elif pieces[-1]:  # a further piece began here
            pieces.append([])
        number = trace.nodes[number].parent
    return [piece[::-1] for piece in reversed(pieces) if piece]


def is_part(piece: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether the tokens of a piece stand in a row among others.

    >>> is_part([2, 3], [1, 2, 3]), is_part([1, 3], [1, 2, 3])
    (True, False)
    """
    size, piece = len(piece), list(piece)
    return any(
        tokens[start] == piece[0] and list(tokens[start : start + size]) == piece
        for start in range(len(tokens) - size + 1)
    )


__all__ = ["Search", "WrittenClue", "ask_again", "is_part", "pieces_of"]
