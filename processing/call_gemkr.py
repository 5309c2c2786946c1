"""Arguments of a call that would pass without effect, told before any work."""

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

OWN_SETTINGS = (
    "detector",
    "prompt_template",
    "max_objects",
    "max_object_slots",
    "object_cache",
    "object_margin",
    "object_template",
    "object_separator",
    "large_object",
)
"""Settings of the processor itself, which tokenizer and image processor do not know."""

# Near misses, which transformers would pass over with a line in the log.
_MISTAKEN = {
    "image": "images",
    "question": "text",
    "questions": "text",
    "object": "objects",
    "boxes": "objects",
    "clue": "clues",
    "caption": "captions",
}


def check_call_settings(given: Mapping[str, Any]) -> None:
    """Raise unless the keyword arguments of a processor's call can have their effect.

    A `max_length` that nothing uses is warned of, as tokenizers do.

    Raises:
        TypeError: for a near miss of an argument's name, or a setting of the processor itself.
        ValueError: for padding on the right.
    """
    for wrong, right in _MISTAKEN.items():
        if wrong in given:
            raise TypeError(f"GeMKRProcessor takes {right}=, not {wrong}=.")
    for name in OWN_SETTINGS:
        if name in given:
            raise TypeError(
                f"{name} is a setting of the processor, not of a call: set processor.{name}, or "
                "give it to from_pretrained."
            )
    # In one of the dicts that transformers sorts arguments by, perhaps.
    groups = (given, given.get("text_kwargs") or {}, given.get("common_kwargs") or {})
    text = {name: value for group in groups for name, value in group.items()}
    if text.get("padding_side") not in (None, "left"):
        raise ValueError(
            f"padding_side={text['padding_side']!r} is not possible: prompts are continued, and so "
            "padded on the left."
        )
    if (
        text.get("max_length") is not None
        and not is_truncating(text)
        and text.get("padding") != "max_length"
    ):
        logger.warning(
            "max_length=%s has no effect without truncation=True, which cuts questions, or "
            'padding="max_length".',
            text["max_length"],
        )


def is_truncating(settings: Mapping[str, Any]) -> bool:
    """Whether `truncation` says so, in one of the forms that tokenizers take."""
    return settings.get("truncation") not in (None, False, "do_not_truncate")


__all__ = ["OWN_SETTINGS", "check_call_settings", "is_truncating"]
