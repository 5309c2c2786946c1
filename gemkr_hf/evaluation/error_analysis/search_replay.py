"""Replay searches with a trace, to see which clues were generated and which were dropped."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.decoding import SearchTrace
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.processing import Object
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedClue:
    """The text of a generated clue.

    Attributes:
        text: Text of the clue; " ... " separates its pieces.
        score: Sum of the log-probabilities of its tokens (Eq. 1).
        relevant: Whether a relevant document contains it.
    """

    text: str
    score: float
    relevant: bool = False


@dataclass(frozen=True)
class SearchReplay:
    """The clues of one search.

    Attributes:
        best_score: Score of the first document; minus infinity if nothing was retrieved.
        clues: Document id -> its clues, best first.
        dropped: Clues that were dropped because several documents contain them, best first.
    """

    best_score: float
    clues: dict[str, tuple[GeneratedClue, ...]]
    dropped: tuple[GeneratedClue, ...]


def replay_searches(
    retriever: GeMKRRetriever,
    records: Sequence[Record],
    images: Sequence[Any],
    objects: Sequence[Sequence[Object] | None],
    k: int,
    decoding: Mapping[str, Any],
) -> list[SearchReplay | None]:
    """Search again for the questions of a run, with a trace.

    Args:
        retriever: See `analyze_errors`.
        records: n questions.
        images: n images; None for a text-only question.
        objects: n lists of detected objects; None where no detector was used.
        k: Number of documents that the run retrieved for each question.
        decoding: See `analyze_errors`.

    Returns:
        n replays; None where the first document differs from the run's, so that the trace does not
        explain the run.
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
    replays: list[SearchReplay | None] = []
    for record, found, trace in zip(records, hits, traces, strict=True):
        first = str(found[0].document["id"]) if found else None
        if first == (record.retrieved[0]["id"] if record.retrieved else None):
            replays.append(_read_trace(retriever, record, found, trace))
        else:
            logger.info(f"Question '{record.question_id}': the replay retrieved another document")
            replays.append(None)
    return replays


def _read_trace(
    retriever: GeMKRRetriever, record: Record, hits: Sequence[Hit], trace: SearchTrace
) -> SearchReplay:
    clues = {
        str(hit.document["id"]): tuple(GeneratedClue(clue.text, clue.score) for clue in hit.clues)
        for hit in hits
    }
    nodes = [number for number, node in enumerate(trace.nodes) if node.state == "dropped"]
    dropped: list[GeneratedClue] = []
    if nodes:
        knowledge_base, decode = retriever.knowledge_base, retriever.processor.tokenizer.decode
        rows = knowledge_base.rows_of(record.relevant_ids)
        relevant = [knowledge_base.index.extract(row) for row in rows[rows >= 0].tolist()]
        for number in nodes:
            pieces = pieces_of(trace, number)
            is_relevant = any(all(contains(tokens, p) for p in pieces) for tokens in relevant)
            text = " ... ".join(decode(piece).strip() for piece in pieces)
            dropped.append(GeneratedClue(text, trace.nodes[number].score, is_relevant))
    dropped.sort(key=lambda clue: -clue.score)
    best = hits[0].score if hits else float("-inf")
    return SearchReplay(best, clues, tuple(dropped))


def pieces_of(trace: SearchTrace, number: int) -> list[list[int]]:
    """Return the token ids of each piece of the clue that ends at a node."""
    pieces: list[list[int]] = [[]]
    while number >= 0:
        token = trace.nodes[number].token
        if token >= 0:
            pieces[-1].append(token)
        elif pieces[-1]:  # the start of a further piece
            pieces.append([])
        number = trace.nodes[number].parent
    return [piece[::-1] for piece in reversed(pieces) if piece]


def contains(tokens: NDArray[np.integer], piece: Sequence[int]) -> bool:
    """Return whether consecutive tokens equal a piece.

    >>> contains(np.array([1, 2, 3]), [2, 3]), contains(np.array([1, 2, 3]), [1, 3])
    (True, False)
    """
    if len(piece) > len(tokens):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(tokens, len(piece))
    return bool((windows == np.asarray(piece)).all(axis=1).any())


__all__ = ["GeneratedClue", "SearchReplay", "contains", "pieces_of", "replay_searches"]
