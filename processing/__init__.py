"""Images, questions and objects: what travels to the Hub as ``GeMKRProcessor``."""

from .cache_gemkr import ObjectCache
from .detection_gemkr import Box, Detector, Object
from .drawing_gemkr import draw_objects
from .images_gemkr import ImageInput, load_image
from .processing_gemkr import GeMKRProcessor
from .prompt_gemkr import (
    DEFAULT_OBJECT_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    IMAGE_TOKEN,
    OBJECT_TOKEN,
    add_image_tokens,
    chat_prompt_template,
)
from .transformers_detector_gemkr import TransformersDetector
from .ultralytics_gemkr import import_ultralytics, is_ultralytics_available
from .yolo_gemkr import YoloDetector

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
