"""The systems of the quickstart's table, each from questions to ranked document ids."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemkr_hf.evaluation.baselines import BM25Baseline
from gemkr_hf.evaluation.metrics import Metrics, score_run
from gemkr_hf.progress import progress
from gemkr_hf.retriever import GeMKRRetriever, Hit

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """Ranked document ids of each question, and how long they took.

    Attributes:
        ranked: question id -> document ids, best first.
        seconds: wall time a question.
    """

    ranked: dict[str, list[str]]
    seconds: float


def run_gemkr(
    retriever: GeMKRRetriever,
    questions: Records,
    k: int = 10,
    with_picture: bool = True,
    batch_size: int = 8,
) -> Run:
    """Constrained diverse beam search for every question, with its picture or in words alone.

    One question is asked before the clock starts: the first one on a machine compiles the index's
    kernels, which no later one does.
    """

    def retrieve(batch: list[Mapping[str, Any]]) -> list[list[Hit]]:
        images = [record["image"] for record in batch] if with_picture else None
        return retriever.retrieve(images, [record["question"] for record in batch], k=k)

    if len(questions):
        retrieve([questions[0]])
    ranked: dict[str, list[str]] = {}
    started = time.perf_counter()
    for start in progress(range(0, len(questions), batch_size), "answer questions"):
        batch = [questions[row] for row in range(start, min(start + batch_size, len(questions)))]
        for record, hits in zip(batch, retrieve(batch), strict=True):
            ranked[record["question_id"]] = [str(hit.document["id"]) for hit in hits]
    return Run(ranked, (time.perf_counter() - started) / max(1, len(questions)))


def run_unconstrained(
    retriever: GeMKRRetriever,
    questions: Records,
    bm25: BM25Baseline,
    k: int = 10,
    batch_size: int = 8,
) -> Run:
    """The same model writing freely (paper, Table 4, "Free Text w/o Constraints").

    A text that occurs in one document only leads there; for any other text BM25 gives the best
    match, as the text itself is no address.
    """
    model, processor = retriever.model, retriever.processor
    tokenizer = processor.tokenizer
    beams = model.config.decoding["num_beams"]
    ranked: dict[str, list[str]] = {}
    started = time.perf_counter()
    for start in progress(range(0, len(questions), batch_size), "answer without constraints"):
        batch = [questions[row] for row in range(start, min(start + batch_size, len(questions)))]
        inputs = processor(
            images=[record["image"] for record in batch],
            text=[record["question"] for record in batch],
            return_tensors="pt",
        ).to(model.device)
        output = model.generate(
            **inputs,
            max_new_tokens=retriever.constraint.max_length,
            num_return_sequences=beams,
            return_dict_in_generate=True,
        )
        written = output.sequences[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        tokens = [[token for token in row if token not in ends] for row in written.tolist()]
        rows = retriever.knowledge_base.lookup(tokens)
        best = bm25.retrieve([text.strip() or "-" for text in texts], k=1)
        for number, record in enumerate(batch):
            found: list[str] = []
            for row in range(number * beams, (number + 1) * beams):
                exact = tokens[row] and rows[row] >= 0
                document = (
                    str(retriever.knowledge_base[int(rows[row])]["id"]) if exact else best[row][0]
                )
                if document not in found:
                    found.append(document)
            ranked[record["question_id"]] = found[:k]
    return Run(ranked, (time.perf_counter() - started) / max(1, len(questions)))


def run_bm25(bm25: BM25Baseline, questions: Records, k: int = 10) -> Run:
    """BM25 on the question alone."""
    started = time.perf_counter()
    found = bm25.retrieve([record["question"] for record in questions], k=k)
    seconds = (time.perf_counter() - started) / max(1, len(questions))
    keys = [record["question_id"] for record in questions]
    return Run(dict(zip(keys, found, strict=True)), seconds)


def relevant_ids(questions: Records) -> dict[str, list[str]]:
    """Question id -> ids of its relevant documents."""
    return {record["question_id"]: list(record["relevant_ids"]) for record in questions}


def score_by_objects(run: Run, questions: Records) -> dict[int, Metrics]:
    """Metrics by the number of objects in the scene."""
    numbers = np.array([len(record["objects"]) for record in questions])
    return {
        int(number): score_run(
            run.ranked,
            relevant_ids([questions[int(row)] for row in np.flatnonzero(numbers == number)]),
        )
        for number in np.unique(numbers)
    }
