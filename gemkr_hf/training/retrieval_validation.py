"""Validation by retrieval, with the same search that answers questions later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object

from gemkr_hf.evaluation.metrics import Metrics, score_run
from gemkr_hf.evaluation.record_retrieval import mark_retrieved, retrieve_for
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.processing import Object
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.training.arguments import ValidationConfig
from gemkr_hf.training.prepared_images import PreparedImages
from gemkr_hf.utils.logging import progress


@dataclass
class RetrievalValidation:
    """Retrieves documents for questions of the validation split and scores them.

    Attributes:
        questions: Records of the split; ``config.questions`` of them are used.
        images: Image id -> image; None for text-only questions.
        knowledge_base: The documents.
        processor: The model's.
        config: Number of questions, hit preset, beams, batch size.
        prepared: Prepared images, whose objects are known and not detected again.
        captions: Whether the model is given the questions' captions, as in training.
        rank, processes: This process answers every ``processes``-th question from ``rank`` on.
    """

    questions: Sequence[Mapping[str, Any]]
    images: Mapping[str, Any] | None
    knowledge_base: KnowledgeBase
    processor: Any
    config: ValidationConfig
    prepared: PreparedImages | None = None
    captions: bool = False
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        self.questions = list(self.questions)[: self.config.questions]

    def __call__(self, model: Any) -> Metrics:
        """Score a model; its training mode is restored afterwards."""
        training = model.training
        try:
            marks = self._mark_hits(GeMKRRetriever(model, self.processor, self.knowledge_base))
        finally:
            model.train(training)
        if self.processes > 1:
            marks = gather_object(marks)
        run, relevant = {}, {}
        for row, of_question in sorted(marks):
            # Ranks stand for document ids: the metrics depend only on which ranks are hits, so that
            # `score_run`, which compares ids, serves every hit preset.
            run[str(row)] = [str(rank) for rank in range(len(of_question))]
            relevant[str(row)] = [str(rank) for rank, hit in enumerate(of_question) if hit]
        return score_run(run, relevant)

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return a model's metrics as ``metrics.json`` stores them."""
        metrics = self(model)
        return {**metrics.as_dict(), "questions": metrics.questions}

    def _mark_hits(self, retriever: GeMKRRetriever) -> list[tuple[int, list[bool]]]:
        """Return the row of each question of this process, and which of its documents are hits."""
        config = self.config
        beams = {} if config.num_beams is None else {"num_beams": config.num_beams}
        own = range(self.rank, len(self.questions), self.processes)
        starts = range(0, len(own), config.batch_size)
        marks = []
        for start in progress(starts, "validate", disable=self.rank > 0):
            rows = own[start : start + config.batch_size]
            records = [self.questions[row] for row in rows]
            hits = retrieve_for(
                retriever,
                records,
                self.images,
                known_objects(self.prepared, records) if self.images is not None else None,
                [record["caption"] for record in records] if self.captions else None,
                **beams,
            )
            marks += [
                (row, mark_retrieved(of_question, record, config.hit, self.knowledge_base))
                for row, record, of_question in zip(rows, records, hits, strict=True)
            ]
        return marks


def known_objects(
    prepared: PreparedImages | None, records: Sequence[Mapping[str, Any]]
) -> list[tuple[Object, ...] | None] | None:
    """Return the objects of the records' images, None where they have to be detected."""
    if prepared is None:
        return None
    names = [record["image_id"] for record in records]
    return [prepared.objects_of(name) if name in prepared else None for name in names]


__all__ = ["RetrievalValidation", "known_objects"]
