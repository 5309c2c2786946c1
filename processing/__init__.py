"""The processor: ``GeMKRProcessor``, whose files ``*_gemkr.py`` travel with every checkpoint."""

import warnings
from typing import Any

from .detection_gemkr import (
    Detector,
    TransformersDetector,
    YoloDetector,
    import_ultralytics,
    is_ultralytics_available,
)
from .drawing import draw_objects
from .images_gemkr import Box, ImageInput, Object, load_image
from .object_cache import ObjectCache
from .processing_gemkr import (
    DEFAULT_OBJECT_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    IMAGE_TOKEN,
    OBJECT_TOKEN,
    GeMKRProcessor,
)
from .tokenizer_setup import add_image_tokens, chat_prompt_template


def __getattr__(name: str) -> Any:
    new = {"load_picture": load_image, "Picture": ImageInput}
    if name not in new:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    right = "load_image" if name == "load_picture" else "ImageInput"
    warnings.warn(f"'{__name__}.{name}' is deprecated: use '{right}'", FutureWarning, stacklevel=2)
    return new[name]


__all__ = [
    "DEFAULT_OBJECT_TEMPLATE",
    "DEFAULT_PROMPT_TEMPLATE",
    "IMAGE_TOKEN",
    "OBJECT_TOKEN",
    "Box",
    "Detector",
    "GeMKRProcessor",
    "ImageInput",
    "Object",
    "ObjectCache",
    "TransformersDetector",
    "YoloDetector",
    "add_image_tokens",
    "chat_prompt_template",
    "draw_objects",
    "import_ultralytics",
    "is_ultralytics_available",
    "load_image",
]
