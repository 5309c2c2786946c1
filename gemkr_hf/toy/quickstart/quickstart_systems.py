"""The systems of the quickstart's table: from questions to runs, and their metrics."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gemkr_hf.evaluation.metrics import Metrics, score_run
from gemkr_hf.retrieval.protocol import Retriever
from gemkr_hf.retrieval.types import Hit, Run
from gemkr_hf.utils.logging import progress

Questions = Sequence[Mapping[str, Any]]


def answer_questions(
    retriever: Retriever,
    questions: Questions,
    k: int = 10,
    with_image: bool = True,
    with_question: bool = True,
    batch_size: int = 8,
    **decoding: Any,
) -> tuple[list[list[Hit]], float]:
    """Retrieve documents for each question, from image and question or from one of them.

    The first question is answered once before the clock starts, since the first search in a
    process compiles kernels.

    Args:
        questions: Records with ``image`` and ``question``.
        k: Documents per question.
        with_image: Whether the retriever gets the image.
        with_question: Whether the retriever gets the question.
        batch_size: Questions answered together.
        **decoding: More options of the retriever, such as GeMKR's ``strategy``.

    Returns:
        The hits of each question, and the seconds per question.
    """

    def retrieve(records: Questions) -> list[list[Hit]]:
        images = [record["image"] for record in records] if with_image else None
        texts: list[Any] = [record["question"] if with_question else None for record in records]
        return retriever.retrieve(images, texts, k=k, **decoding)

    if questions:
        retrieve(questions[:1])
    hits: list[list[Hit]] = []
    started = time.perf_counter()
    for start in progress(range(0, len(questions), batch_size), "answer questions"):
        hits += retrieve(questions[start : start + batch_size])
    return hits, (time.perf_counter() - started) / max(1, len(questions))


def run_retriever(
    retriever: Retriever, questions: Questions, k: int = 10, name: str = "GeMKR", **options: Any
) -> Run:
    """Return what `answer_questions` retrieves as a run."""
    hits, seconds = answer_questions(retriever, questions, k, **options)
    documents = {
        record["question_id"]: [hit.document_id for hit in question_hits]
        for record, question_hits in zip(questions, hits, strict=True)
    }
    return Run.from_lists(name, documents, seconds)


def any_object_right_aspect(objects_per_question: Sequence[int]) -> Metrics:
    """Return the expected metrics of a system that does not read which object is meant.

    It retrieves the right aspect of every object in the scene, in random order: of ``n`` objects,
    the relevant document is equally likely at each of the first ``n`` ranks.
    """
    numbers = np.asarray(objects_per_question, dtype=np.float64)

    def recall(k: int) -> float:
        return float(np.minimum(1.0, k / numbers).mean())

    return Metrics(recall(1), recall(5) / 5, recall(5), recall(10), len(numbers))


def relevant_ids(questions: Questions) -> dict[str, list[str]]:
    """Return the ids of the relevant documents by question id."""
    return {record["question_id"]: list(record["relevant_ids"]) for record in questions}


def score_by_objects(run: Run, questions: Questions) -> dict[int, Metrics]:
    """Return the metrics of a run by the number of objects in the scene."""
    by_number: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in questions:
        by_number[len(record["objects"])].append(record)
    return {
        number: score_run(run.documents, relevant_ids(some))
        for number, some in sorted(by_number.items())
    }
