"""Collect evidence about failed questions: images, detected objects, replayed searches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from gemkr_hf.data.scenes import Scene
from gemkr_hf.evaluation.error_analysis.causes import Evidence
from gemkr_hf.evaluation.error_analysis.search_replay import SearchReplay, replay_searches
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.processing import GeMKRProcessor, Object, load_image
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.utils.logging import progress

_BATCH = 8  # questions whose images are processed and whose searches are replayed together


class QuestionImages:
    """Images of questions and the objects detected on them; each image is processed once.

    Args:
        images: Image id -> image (PIL, path, bytes...).
        processor: Its detector finds the objects; None if the system does not use objects.
    """

    def __init__(self, images: Mapping[str, Any], processor: GeMKRProcessor | None = None) -> None:
        self._images = images
        self._processor = processor if processor is not None and processor.detector else None
        self._objects: dict[str, list[Object]] = {}

    def image(self, image_id: str) -> Image.Image | None:
        """Load an image, upright and in RGB; None if it does not exist.

        Raises:
            ValueError: If it is damaged.
        """
        return load_image(self._images[image_id]) if image_id in self._images else None

    def objects(
        self, image_ids: Sequence[str], images: Sequence[Image.Image | None]
    ) -> list[list[Object] | None]:
        """Detect the objects of n images; None where there is no image or no detector."""
        if self._processor is None:
            return [None] * len(image_ids)
        new = {
            name: image
            for name, image in zip(image_ids, images, strict=True)
            if image is not None and name not in self._objects
        }
        if new:
            self._objects |= zip(new, self._processor.detect(list(new.values())), strict=True)
        return [self._objects.get(name) for name in image_ids]


def collect_evidence(
    records: Sequence[Record],
    images: QuestionImages,
    scenes: Mapping[str, Scene],
    retriever: GeMKRRetriever | None = None,
    captions: Mapping[str, str] | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> list[Evidence]:
    """Detect objects on the images of failed questions and replay their searches with a trace.

    Args:
        records: See `analyze_errors`.
        images: Images and their objects.
        scenes: Question id -> annotated scene, where known.
        retriever: See `analyze_errors`.
        captions: See `analyze_errors`.
        decoding: See `analyze_errors`.

    Returns:
        The evidence about each question, in the order of the records; for hits only the scene.
    """
    failed = [record for record in records if not (record.retrieved and record.retrieved[0]["hit"])]
    evidence = {
        record.question_id: Evidence(record, scene=scenes.get(record.question_id))
        for record in records
    }
    k = max((len(record.retrieved) for record in records), default=0) or 1
    for start in progress(range(0, len(failed), _BATCH), "analyze failed questions"):
        batch = failed[start : start + _BATCH]
        loaded = [images.image(record.image_id) for record in batch]
        objects = images.objects([record.image_id for record in batch], loaded)
        searches: Sequence[SearchReplay | None] = [None] * len(batch)
        if retriever is not None:
            options = dict(decoding or {})
            if captions is not None:
                options["captions"] = [captions.get(record.question_id) for record in batch]
            searches = replay_searches(retriever, batch, loaded, objects, k, options)
        for record, found, search in zip(batch, objects, searches, strict=True):
            name = record.question_id
            evidence[name] = replace(evidence[name], objects=found, search=search)
    return list(evidence.values())


__all__ = ["QuestionImages", "collect_evidence"]
