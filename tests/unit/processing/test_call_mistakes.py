"""Arguments of a call without effect, and what a round trip must not change."""

import numpy as np
import pytest
import torch
from PIL import Image

from gemkr_hf.processing import GeMKRProcessor, load_image
from tests.unit.processing.processing_parts import QUESTION


@pytest.mark.parametrize(
    "template",
    [
        "Q: {question}\r\nI: {image}\r\n\r\nR:",
        "{question}\n{image}\r\n",
        "{question}\r{image}\n\n",
    ],
)
def test_a_template_keeps_its_line_breaks(image_processor, tokenizer, tmp_path, template):
    processor = GeMKRProcessor(image_processor, tokenizer, prompt_template=template)
    for name in ("once", "twice"):
        processor.save_pretrained(tmp_path / name)
        processor = GeMKRProcessor.from_pretrained(tmp_path / name)
        assert processor.prompt_template == template


def test_the_line_break_of_an_editor_belongs_to_the_file(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    (tmp_path / "prompt_template.txt").write_bytes(b"{question}\r\n{image}\r\n")
    loaded = GeMKRProcessor.from_pretrained(tmp_path)
    assert loaded.prompt_template == "{question}\r\n{image}"


@pytest.mark.parametrize("wrap", [False, True], ids=["bare", "in text_kwargs"])
def test_right_padding_is_rejected(processor, wrap):
    def call(**given):
        return processor(text=["a", QUESTION], **({"text_kwargs": given} if wrap else given))

    with pytest.raises(ValueError, match="padding_side='right' is not possible"):
        call(padding_side="right")
    assert call(padding_side="left")["attention_mask"][0, 0] == 0
    processor.tokenizer.padding_side = "right"  # as many tokenizers have it
    assert call()["attention_mask"][0, 0] == 0


@pytest.mark.parametrize("name", ["max_objects", "detector", "object_template", "object_cache"])
def test_processor_settings_are_rejected_in_a_call(processor, image, name):
    with pytest.raises(TypeError, match=f"{name} is a setting of the processor.* processor.{name}"):
        processor(images=image, text=QUESTION, **{name: 1})


def test_captions_need_a_text(processor, image):
    with pytest.raises(
        ValueError, match="Captions accompany or replace images of questions: give text"
    ):
        processor(images=image, captions="a cat")


def test_max_length_without_effect_warns(processor, caplog):
    long = processor(text=QUESTION * 9)["input_ids"].shape[1]
    for idle in ({}, {"truncation": False}, {"truncation": "do_not_truncate"}, {"padding": True}):
        caplog.clear()
        batch = processor(text=QUESTION * 9, max_length=50, **idle)
        assert batch["input_ids"].shape[1] == long
        assert "max_length=50 has no effect without truncation=True" in caplog.text
    caplog.clear()
    for used in ({"truncation": True}, {"truncation": "longest_first"}):
        batch = processor(text=QUESTION * 9, max_length=long - 5, **used)
        assert batch["input_ids"].shape[1] <= long - 5
    batch = processor(text=QUESTION, padding="max_length", max_length=long)
    assert batch["input_ids"].shape[1] == long
    assert not caplog.text


FLOATS = np.linspace(-1, 1, 300, dtype=np.float32).reshape(10, 10, 3)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_negative_floats_are_rejected(make):
    with pytest.raises(
        ValueError, match=r"floats from -1 to 1, but they must lie in 0\.\.1 or 0\.\.255"
    ):
        load_image(make(FLOATS))
    loaded = np.asarray(load_image(make((FLOATS + 1) / 2)))
    assert loaded[0, 0, 0] == 0 and loaded[-1, -1, -1] == 255
    rounded = np.where(FLOATS < 0, -1e-3, FLOATS).astype(np.float32)
    assert np.asarray(load_image(make(rounded))).min() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_pixels_are_rejected(bad, tmp_path):
    pixels = np.zeros((9, 9), dtype=np.float32)
    pixels[3, 3] = bad
    with pytest.raises(ValueError, match="The image has non-finite pixels"):
        load_image(pixels)
    Image.fromarray(pixels).save(tmp_path / "heights.tiff")
    with pytest.raises(ValueError, match=r"heights\.tiff has non-finite pixels"):
        load_image(tmp_path / "heights.tiff")
