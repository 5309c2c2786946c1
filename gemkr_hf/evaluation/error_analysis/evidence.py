"""What is known of the questions of a run: images, objects and traces of those that failed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from gemkr_hf.evaluation.error_analysis.causes import Evidence
from gemkr_hf.evaluation.error_analysis.repeated_search import Search, ask_again
from gemkr_hf.evaluation.error_analysis.scene_truth import SceneTruth
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.processing import GeMKRProcessor, Object, load_image
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.utils.logging import progress

_BATCH = 8  # questions that are looked at and asked again together


class Sight:
    """Images and the objects on them, each image looked at once.

    Args:
        images: image id -> image; those that are not there count as not seen.
        processor: whose detector finds the objects; None where nothing looks for objects.
    """

    def __init__(self, images: Mapping[str, Any], processor: GeMKRProcessor | None = None) -> None:
        self._images = images
        self._processor = processor if processor is not None and processor.detector else None
        self._objects: dict[str, list[Object]] = {}

    def image(self, image_id: str) -> Image.Image | None:
        """The image, upright and in RGB; None where there is none.

        Raises:
            ValueError: it is damaged.
        """
        if image_id not in self._images:
            return None
        return load_image(self._images[image_id])

    def objects(
        self, image_ids: Sequence[str], images: Sequence[Image.Image | None]
    ) -> list[list[Object] | None]:
        """The objects of n images; None where there is no image or nothing that looks."""
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


def gather(
    records: Sequence[Record],
    sight: Sight,
    truths: Mapping[str, SceneTruth],
    retriever: GeMKRRetriever | None = None,
    captions: Mapping[str, str] | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> list[Evidence]:
    """Look at the images of failed questions, and ask these questions again with a trace.

    Args:
        records: of a run.
        sight: images and objects.
        truths: question id -> scene, where it is known.
        retriever: whose run it is; questions are not asked again where None.
        captions: question id -> caption, for a retriever that reads captions.
        decoding: settings of the run that are not the checkpoint's.

    Returns:
        What is known of each question, in the order of the records; of hits the scene alone.
    """
    failed = [record for record in records if not is_hit(record)]
    known: dict[str, tuple[list[Object] | None, Search | None]] = {}
    k = max((len(record.retrieved) for record in records), default=0) or 1
    starts = progress(range(0, len(failed), _BATCH), "look at failed questions")
    for start in starts:
        batch = failed[start : start + _BATCH]
        images = [sight.image(record.image_id) for record in batch]
        objects = sight.objects([record.image_id for record in batch], images)
        searches: Iterable[Search | None] = [None] * len(batch)
        if retriever is not None:
            said = dict(decoding or {})
            if captions is not None:
                said["captions"] = [captions.get(record.question_id) for record in batch]
            searches = ask_again(retriever, batch, images, objects, k, said)
        for record, found, search in zip(batch, objects, searches, strict=True):
            known[record.question_id] = found, search
    evidence = []
    for record in records:
        name = record.question_id
        found, search = known.get(name, (None, None))
        evidence.append(Evidence(record, found, truths.get(name), search))
    return evidence


def is_hit(record: Record) -> bool:
    """Whether the first document is a hit."""
    return bool(record.retrieved) and bool(record.retrieved[0]["hit"])


__all__ = ["Sight", "gather", "is_hit"]
