"""Validation by retrieval: the same search that answers questions later."""

from collections.abc import Mapping, Sequence
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


class RetrievalValidation:
    """Retrieves documents for the questions of a validation split and scores them.

    Args:
        questions: records of the split.
        images: id -> image; None for questions in words alone.
        knowledge_base: where the documents are looked for.
        processor: the model's.
        config: how many questions, what a hit is.
        prepared: images with known objects, whose objects need not be found again.
        captions: the model was tuned with captions, and is given those of the questions.
        rank, processes: this process answers its share of the questions.
    """

    def __init__(
        self,
        questions: Sequence[Mapping[str, Any]],
        images: Mapping[str, Any] | None,
        knowledge_base: KnowledgeBase,
        processor: Any,
        config: ValidationConfig,
        prepared: PreparedImages | None = None,
        captions: bool = False,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._questions = list(questions)[: config.questions]
        self._images = images
        self._knowledge_base = knowledge_base
        self._processor = processor
        self._config = config
        self._prepared = prepared
        self._captions = captions
        self._rank, self._processes = rank, processes

    def __call__(self, model: Any) -> Metrics:
        """Score the model as it is; it is in training mode again afterwards if it was before."""
        training = model.training
        retriever = GeMKRRetriever(model, self._processor, self._knowledge_base)
        try:
            found = self._retrieve(retriever)
        finally:
            model.train(training)
        if self._processes > 1:
            found = gather_object(found)
        ranked, relevant = {}, {}
        for number, marks in sorted(found):
            # Documents by their place in the ranking: whether one is a hit is what counts.
            ranked[str(number)] = [str(place) for place in range(len(marks))]
            relevant[str(number)] = [str(place) for place, hit in enumerate(marks) if hit]
        return score_run(ranked, relevant)

    def _retrieve(self, retriever: GeMKRRetriever) -> list[tuple[int, list[bool]]]:
        config = self._config
        own = range(self._rank, len(self._questions), self._processes)
        found = []
        starts = range(0, len(own), config.batch_size)
        for start in progress(starts, "validate", disable=self._rank > 0):
            rows = own[start : start + config.batch_size]
            records = [self._questions[row] for row in rows]
            beams = {} if config.num_beams is None else {"num_beams": config.num_beams}
            hits = retrieve_for(
                retriever,
                records,
                self._images,
                known_objects(self._prepared, records) if self._images is not None else None,
                [record["caption"] for record in records] if self._captions else None,
                **beams,
            )
            found += [
                (row, mark_retrieved(of_question, record, config.hit, self._knowledge_base))
                for row, record, of_question in zip(rows, records, hits, strict=True)
            ]
        return found


def known_objects(
    prepared: PreparedImages | None, records: Sequence[Mapping[str, Any]]
) -> list[tuple[Object, ...] | None] | None:
    """Return the objects of the records' images, None where they have to be detected."""
    if prepared is None:
        return None
    names = [record["image_id"] for record in records]
    return [prepared.objects_of(name) if name in prepared else None for name in names]


__all__ = ["RetrievalValidation", "known_objects"]
