"""Fixtures of the processor's tests."""

import pytest
from PIL import Image
from transformers import CLIPImageProcessor, PreTrainedTokenizerFast

from gemkr_hf.processing import GeMKRProcessor, YoloDetector, add_image_tokens
from tests.unit.processing.processing_parts import make_image, make_tokenizer, make_yolo


@pytest.fixture
def bare_tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    add_image_tokens(tokenizer)
    return tokenizer


@pytest.fixture
def image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})


@pytest.fixture
def processor(image_processor, tokenizer) -> GeMKRProcessor:
    return GeMKRProcessor(image_processor, tokenizer)


@pytest.fixture
def image() -> Image.Image:
    return make_image()


@pytest.fixture
def yolo() -> YoloDetector:
    return YoloDetector.from_ultralytics(make_yolo(), image_size=64, confidence=0.4)
