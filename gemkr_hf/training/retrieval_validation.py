"""Validation by retrieval: the same search that answers questions later."""

from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object

from gemkr_hf.evaluation.metrics import Metrics, score_run
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit
from gemkr_hf.training.arguments import ValidationConfig
from gemkr_hf.training.prepared_images import PreparedImages
from gemkr_hf.utils.logging import progress

DOCUMENTS = 10
"""Retrieved for each question: R@10 is the longest metric."""


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
                self._prepared,
                [record["caption"] for record in records] if self._captions else None,
                **beams,
            )
            found += [
                (row, [self._is_hit(hit, record) for hit in of_question])
                for row, record, of_question in zip(rows, records, hits, strict=True)
            ]
        return found

    def _is_hit(self, hit: Hit, record: Mapping[str, Any]) -> bool:
        return is_hit(hit, record, self._config.hit, self._knowledge_base)


def retrieve_for(
    retriever: GeMKRRetriever,
    records: Sequence[Mapping[str, Any]],
    images: Mapping[str, Any] | None,
    prepared: PreparedImages | None = None,
    captions: list[str] | None = None,
    **decoding: Any,
) -> list[list[Hit]]:
    """Ten documents for each question, in one batch.

    Args:
        retriever: with the model as it is.
        records: with ``question`` and ``image_id``.
        images: id -> image; None for questions in words alone.
        prepared: images with known objects, whose objects need not be found again.
        captions: for a model that was tuned with them.
        **decoding: for ``GeMKRRetriever.retrieve``.
    """
    names = [record["image_id"] for record in records]
    known = None
    if images is not None and prepared is not None:
        known = [prepared.objects_of(name) if name in prepared else None for name in names]
    return retriever.retrieve(
        None if images is None else [images[name] for name in names],
        [record["question"] for record in records],
        k=DOCUMENTS,
        objects=known,
        batch_size=len(records),
        captions=captions,
        **decoding,
    )


def is_hit(hit: Hit, record: Mapping[str, Any], preset: str, knowledge_base: KnowledgeBase) -> bool:
    """Whether a retrieved document counts: by its id (``gold``), or because its lowercased text
    holds an answer (``answer``)."""
    if preset == "answer":
        text = hit.document["text"].lower()
        return any(answer in text for answer in record["answers"])
    relevant = set(record["relevant_ids"])
    return any(str(name) in relevant for name in knowledge_base.ids(hit.row))


__all__ = ["RetrievalValidation", "is_hit", "retrieve_for"]
