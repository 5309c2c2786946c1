"""What is known of the questions of a run: pictures, objects and traces of those that failed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from gemkr_hf.errors.causes import Evidence
from gemkr_hf.errors.search import Search, ask_again
from gemkr_hf.errors.truth import SceneTruth
from gemkr_hf.evaluation.records import Record
from gemkr_hf.processing import GeMKRProcessor, Object, load_picture
from gemkr_hf.progress import progress
from gemkr_hf.retriever import GeMKRRetriever

_BATCH = 8  # questions that are looked at and asked again together


class Sight:
    """Pictures and the objects on them, each picture looked at once.

    Args:
        pictures: image id -> picture; those that are not there count as not seen.
        processor: whose detector finds the objects; None where nothing looks for objects.
    """

    def __init__(
        self, pictures: Mapping[str, Any], processor: GeMKRProcessor | None = None
    ) -> None:
        self._pictures = pictures
        self._processor = processor if processor is not None and processor.detector else None
        self._objects: dict[str, list[Object]] = {}

    def picture(self, image_id: str) -> Image.Image | None:
        """The picture, upright and in RGB; None where there is none.

        Raises:
            ValueError: it is damaged.
        """
        if image_id not in self._pictures:
            return None
        return load_picture(self._pictures[image_id])

    def objects(
        self, image_ids: Sequence[str], pictures: Sequence[Image.Image | None]
    ) -> list[list[Object] | None]:
        """The objects of n pictures; None where there is no picture or nothing that looks."""
        if self._processor is None:
            return [None] * len(image_ids)
        new = {
            name: picture
            for name, picture in zip(image_ids, pictures, strict=True)
            if picture is not None and name not in self._objects
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
    """Look at the pictures of failed questions, and ask these questions again with a trace.

    Args:
        records: of a run.
        sight: pictures and objects.
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
        pictures = [sight.picture(record.image_id) for record in batch]
        objects = sight.objects([record.image_id for record in batch], pictures)
        searches: Iterable[Search | None] = [None] * len(batch)
        if retriever is not None:
            said = dict(decoding or {})
            if captions is not None:
                said["captions"] = [captions.get(record.question_id) for record in batch]
            searches = ask_again(retriever, batch, pictures, objects, k, said)
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
