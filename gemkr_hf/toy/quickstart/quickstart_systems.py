"""The systems of the quickstart's table, each from questions to ranked document ids."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gemkr_hf.baselines.bm25 import BM25Retriever
from gemkr_hf.evaluation.metrics import Metrics, score_run
from gemkr_hf.evaluation.run_files import Run
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit
from gemkr_hf.utils.logging import progress

Records = Sequence[Mapping[str, Any]]


def answer_questions(
    retriever: GeMKRRetriever,
    questions: Records,
    k: int = 10,
    with_image: bool = True,
    with_question: bool = True,
    batch_size: int = 8,
    **decoding: Any,
) -> tuple[list[list[Hit]], float]:
    """Retrieve for every question, with its image or in words alone, or from the image alone.

    One question is asked before the clock starts: the first one on a machine compiles the index's
    kernels, which no later one does.

    Args:
        **decoding: for ``GeMKRRetriever.retrieve``: ``strategy``, ``num_beams``...

    Returns:
        The hits of each question, and seconds a question.
    """

    def retrieve(batch: list[Mapping[str, Any]]) -> list[list[Hit]]:
        images = [record["image"] for record in batch] if with_image else None
        asked = [record["question"] if with_question else None for record in batch]
        return retriever.retrieve(images, asked, k=k, **decoding)

    if len(questions):
        retrieve([questions[0]])
    hits: list[list[Hit]] = []
    started = time.perf_counter()
    for start in progress(range(0, len(questions), batch_size), "answer questions"):
        rows = range(start, min(start + batch_size, len(questions)))
        hits += retrieve([questions[row] for row in rows])
    return hits, (time.perf_counter() - started) / max(1, len(questions))


def run_gemkr(
    retriever: GeMKRRetriever, questions: Records, k: int = 10, name: str = "GeMKR", **options: Any
) -> Run:
    """The documents that `answer_questions`, with these options, finds."""
    found, seconds = answer_questions(retriever, questions, k, **options)
    ranked = {
        record["question_id"]: [str(hit.document["id"]) for hit in hits]
        for record, hits in zip(questions, found, strict=True)
    }
    return Run.from_lists(name, ranked, seconds)


def run_bm25(bm25: BM25Retriever, questions: Records, k: int = 10) -> Run:
    """BM25 on the question alone."""
    started = time.perf_counter()
    found = bm25.retrieve(None, [record["question"] for record in questions], k)
    seconds = (time.perf_counter() - started) / max(1, len(questions))
    ranked = {
        record["question_id"]: [one.id for one in of_question]
        for record, of_question in zip(questions, found, strict=True)
    }
    return Run.from_lists("BM25", ranked, seconds)


def any_object_right_aspect(objects_per_question: Sequence[int]) -> Metrics:
    """A system that names every object of the scene and the right aspect, in any order.

    It sees but does not read which object is meant. Its figures are expectations over all orders:
    with ``n`` objects, the relevant document stands at each of the first ``n`` places alike.
    """
    numbers = np.asarray(objects_per_question, dtype=np.float64)

    def recall(k: int) -> float:
        return float(np.minimum(1.0, k / numbers).mean())

    return Metrics(recall(1), recall(5) / 5, recall(5), recall(10), len(numbers))


def relevant_ids(questions: Records) -> dict[str, list[str]]:
    """Question id -> ids of its relevant documents."""
    return {record["question_id"]: list(record["relevant_ids"]) for record in questions}


def score_by_objects(run: Run, questions: Records) -> dict[int, Metrics]:
    """Metrics by the number of objects in the scene."""
    numbers = np.array([len(record["objects"]) for record in questions])
    return {
        int(number): score_run(
            run.documents,
            relevant_ids([questions[int(row)] for row in np.flatnonzero(numbers == number)]),
        )
        for number in np.unique(numbers)
    }
