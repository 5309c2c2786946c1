"""The cache of detected objects."""

import multiprocessing
import pickle
from copy import deepcopy

import pytest
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

from gemkr_hf.processing import GeMKRProcessor, Object, ObjectCache, TransformersDetector
from tests.unit.processing.processing_parts import FixedDetector, make_image

FOUND = [Object((1.5, 2.0, 30.25, 31.0), 0.75, "cat"), Object((0.0, 0.0, 5.0, 5.0), 0.5)]
IMAGES = [make_image(seed=seed) for seed in range(3)]


class CountingDetector(FixedDetector):
    """Counts images too, and has a fingerprint."""

    def __init__(self, found, name="one"):
        super().__init__(found)
        self.name, self.images = name, 0

    def detect(self, images):
        self.images += len(images)
        return super().detect(images)

    def fingerprint(self):
        return self.name


def test_no_image_is_detected_twice(tmp_path):
    detector, cache = CountingDetector(FOUND), ObjectCache(tmp_path / "deep" / "objects.sqlite")
    assert cache.detect(detector, [*IMAGES, IMAGES[0].copy()]) == [FOUND] * 4
    assert detector.images == len(cache) == 3
    again = ObjectCache(cache.path)
    assert again.detect(detector, IMAGES[::-1]) == [FOUND] * 3
    assert detector.images == 3
    # Another size, another detector, another image.
    again.detect(detector, [IMAGES[0].resize((40, 60))])
    assert again.detect(CountingDetector([], "two"), IMAGES[:1]) == [[]]
    assert (detector.images, len(cache)) == (4, 5)


def test_a_processor_with_a_cache(image_processor, tokenizer, tmp_path):
    detector = CountingDetector(FOUND)
    processor = GeMKRProcessor(
        image_processor, tokenizer, detector, max_objects=1, object_cache=tmp_path / "objects"
    )
    for _ in range(2):
        batch = processor(images=IMAGES, text=["what?"] * 3, return_objects=True)
        assert batch["objects"] == [FOUND[:1]] * 3
    assert (detector.calls, detector.images) == (1, 3)
    processor.max_objects = 2  # what was found is kept whole
    assert processor.detect(IMAGES[0]) == [FOUND]
    assert detector.calls == 1
    processor.detector = None
    processor.save_pretrained(tmp_path / "checkpoint")
    assert GeMKRProcessor.from_pretrained(tmp_path / "checkpoint").object_cache is None
    loaded = GeMKRProcessor.from_pretrained(tmp_path / "checkpoint", object_cache=tmp_path / "x")
    assert len(loaded.object_cache) == 0


def test_fingerprints_tell_detectors_apart(yolo):
    first = yolo.fingerprint()
    assert deepcopy(yolo).fingerprint() == first
    yolo.confidence = 0.3
    assert yolo.fingerprint() != first
    parts = YolosForObjectDetection(tiny := YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=[32, 32], patch_size=8, num_detection_tokens=5, num_labels=2,
    )), YolosImageProcessor()  # fmt: skip
    one = TransformersDetector(*parts)
    other = TransformersDetector(YolosForObjectDetection(tiny), parts[1])
    assert one.fingerprint() == TransformersDetector(*parts).fingerprint() != other.fingerprint()


def detect_in_another_process(cache, number):
    images = [make_image(seed=seed) for seed in range(number, number + 20)]
    cache.detect(CountingDetector(FOUND), images)


def test_processes_share_a_cache(tmp_path):
    cache = ObjectCache(tmp_path / "objects")
    assert len(pickle.loads(pickle.dumps(cache))) == len(deepcopy(cache)) == 0
    context = multiprocessing.get_context("fork")
    others = [
        context.Process(target=detect_in_another_process, args=(cache, number))
        for number in (0, 10, 20)
    ]
    for process in others:
        process.start()
    for process in others:
        process.join()
        assert process.exitcode == 0
    assert len(cache) == 40


def test_mistakes(tmp_path):
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(ValueError, match="is not an object cache"):
        ObjectCache(tmp_path / "text")
    with pytest.raises(ValueError, match="is a folder"):
        ObjectCache(tmp_path)
    with pytest.raises(ValueError, match=r"FixedDetector has no fingerprint\(\)"):
        ObjectCache(tmp_path / "new").detect(FixedDetector(FOUND), IMAGES)
