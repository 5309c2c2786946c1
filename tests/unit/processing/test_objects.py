"""Boxes: what is accepted, how they are cut out, described and drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from gemkr_hf.processing import Object, draw_objects
from gemkr_hf.processing.images_gemkr import (
    as_object,
    clip_object,
    crop_object,
    is_box,
    most_confident,
)
from gemkr_hf.processing.processing_gemkr import place_of, size_of

SIZE = (100, 50)


def test_boxes_in_every_form():
    box = (1.0, 2.0, 3.0, 4.0)
    forms = [
        box,
        [1, 2, 3, 4],
        np.array(box),
        torch.tensor(box),
        Object(box),
        {"box": [1, 2, 3, 4]},
    ]
    assert all(is_box(form) for form in forms)
    assert all(as_object(form) == Object(box) for form in forms)
    assert not any(is_box(value) for value in ("abcd", 4, [1, 2, 3], [box] * 4, [Object(box)] * 4))


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 0, 1, 5), (0, 0, float("nan"), 5)])
def test_bad_boxes(box):
    with pytest.raises(ValueError, match="box"):
        as_object(box)


def test_clipping():
    assert clip_object(Object((-5, -5, 500, 20)), SIZE).box == (0, 0, 100, 20)
    assert clip_object(Object((100, 0, 120, 20)), SIZE) is None


def test_most_confident_keeps_the_order_of_equals():
    objects = [Object((0, 0, 1, 1), score, str(i)) for i, score in enumerate((0.1, 0.9, 0.9, 0.5))]
    assert [found.label for found in most_confident(objects, 3)] == ["1", "2", "3"]


def test_crops():
    image = Image.new("RGB", SIZE)
    assert crop_object(image, (10, 10, 20, 20)).size == (10, 10)
    assert crop_object(image, (10, 10, 20, 20), margin=0.5).size == (20, 20)
    assert crop_object(image, (0, 0, 20, 20), margin=0.5).size == (30, 30)
    assert crop_object(image, (9.99999, 10.00001, 20.00001, 20)).size == (10, 10)
    assert crop_object(image, (99.5, 49.5, 99.6, 49.6)).size == (1, 1)


def test_place_and_size():
    assert place_of((0, 0, 10, 10), SIZE) == "top left"
    assert place_of((60, 0, 70, 10), SIZE) == "top right"
    assert place_of((0, 30, 10, 50), SIZE) == "bottom left"
    assert place_of((0, 0, 100, 50), SIZE) == "bottom right"  # the centre itself
    assert size_of((0, 0, 50, 25), SIZE, 0.5) == "large"
    assert size_of((0, 0, 50, 24), SIZE, 0.5) == "small"


def test_drawing_enlarges_small_images_only():
    objects = [Object((5, 5, 40, 30), 0.87, "dog"), Object((50, 10, 99, 49))]
    small = Image.new("RGB", SIZE, "white")
    drawn = draw_objects(small, objects)
    assert min(drawn.size) >= 400
    assert drawn.width * SIZE[1] == drawn.height * SIZE[0]
    assert small.getextrema() == ((255, 255),) * 3  # the image itself is untouched
    assert len(set(drawn.get_flattened_data())) > 3
    large = Image.new("RGB", (800, 600))
    assert draw_objects(large, objects).size == (800, 600)
    assert draw_objects(Image.new("RGB", (1, 1)), []).width >= 400
    assert max(draw_objects(Image.new("RGB", (3000, 2)), objects[:1]).size) <= 3200
