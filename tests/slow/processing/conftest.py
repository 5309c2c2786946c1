"""The fixtures of the fast tests."""

from tests.unit.processing.conftest import (  # noqa: F401
    bare_tokenizer,
    image,
    image_processor,
    processor,
    tokenizer,
    yolo,
)
