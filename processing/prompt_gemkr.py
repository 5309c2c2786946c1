"""The prompt's template, the words for objects, and the tokens that images are put in."""

import re
from collections.abc import Sequence
from string import Formatter
from typing import Any

from .detection_gemkr import Object, place_of, size_of

IMAGE_TOKEN = "<image>"
OBJECT_TOKEN = "<object>"

DEFAULT_PROMPT_TEMPLATE = (
    "Below is a knowledge completion task. Please provide the knowledge keywords that can answer "
    "this question based on the Image.\n\n"
    "### Question:\n{question}\n\n### Image:\n{image}\n\n### Response:"
)
"""The instruction of the paper's released code. ``{caption}``, where the image's caption is to
stand, may be in a template too."""
DEFAULT_OBJECT_TEMPLATE = OBJECT_TOKEN

_OBJECT_FIELDS = {"place", "size", "label"}


def check_prompt_template(template: str) -> None:
    """Raise :class:`ValueError` unless ``{question}`` and ``{image}`` stand in it once each."""
    for name in ("{question}", "{image}"):
        if template.count(name) != 1:
            raise ValueError(
                f"The prompt template needs {name} exactly once, it has it "
                f"{template.count(name)} times."
            )
    if template.count("{caption}") > 1:
        raise ValueError("The prompt template may have {caption} once, not several times.")
    unknown = set(re.findall(r"\{(\w+)\}", template)) - {"question", "image", "caption"}
    if unknown:
        raise ValueError(
            f"The prompt template knows {{question}}, {{image}} and {{caption}}, not "
            f"{{{min(unknown)}}}."
        )
    for token in (IMAGE_TOKEN, OBJECT_TOKEN):
        if token in template:
            raise ValueError(f"The prompt template must not hold {token}: write {{image}} instead.")


def check_object_template(template: str) -> None:
    """Raise :class:`ValueError` unless it has one ``<object>`` and only known fields."""
    if template.count(OBJECT_TOKEN) != 1 or IMAGE_TOKEN in template:
        raise ValueError(f"The object template needs {OBJECT_TOKEN} exactly once: {template!r}.")
    try:
        fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"The object template {template!r} is malformed: {error}.") from error
    if not fields <= _OBJECT_FIELDS:
        raise ValueError(
            f"The object template knows {{place}}, {{size}} and {{label}}, "
            f"not {{{min(fields - _OBJECT_FIELDS)}}}."
        )


def fill_prompt(template: str, question: str, image: str, caption: str = "") -> str:
    """Put question, image section and caption into the template; braces in them mean nothing.

    A caption for which the template has no place follows the question, as in the released code.

    >>> fill_prompt("Q: {question} I: {image}", "What is it?", "<image>", "a {dog}")
    'Q: What is it? a {dog} I: <image>'
    """
    if caption and "{caption}" not in template:
        question = f"{question} {caption}"
    values = {"{question}": question, "{image}": image, "{caption}": caption}
    return re.sub(
        r"\{question\}|\{image\}|\{caption\}", lambda match: values[match.group()], template
    )


def chat_prompt_template(tokenizer: Any, instruction: str = DEFAULT_PROMPT_TEMPLATE) -> str:
    """A prompt template in the format of a chat model: the instruction as the user's message.

    Raises:
        ValueError: if the tokenizer has no chat template, or one that does not keep the instruction
            whole.
    """
    check_prompt_template(instruction)
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("The tokenizer has no chat template.")
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": instruction}], tokenize=False, add_generation_prompt=True
        )
    except ImportError:  # of jinja itself
        raise
    except Exception as error:  # of the template, or of what it runs
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"The tokenizer's chat template cannot be applied: {said}.") from error
    begin = tokenizer.bos_token_id
    if begin is not None and list(tokenizer("")["input_ids"])[:1] == [begin]:
        # Tokenizing a prompt puts it there again.
        text = text.removeprefix(tokenizer.bos_token)
    try:
        check_prompt_template(text)
    except ValueError as error:
        raise ValueError(
            f"The tokenizer's chat template makes no prompt template of the instruction: {error}"
        ) from None
    return text


def describe_objects(
    objects: Sequence[Object],
    size: tuple[int, int],
    template: str = DEFAULT_OBJECT_TEMPLATE,
    separator: str = "",
    large_object: float = 0.3,
    special_tokens: Sequence[str] = (),
) -> str:
    """The image section: ``<image>`` and one filled object template an object.

    ``size`` is the image's (width, height).
    """
    words = (
        template.format(
            place=place_of(found.box, size),
            size=size_of(found.box, size, large_object),
            label=escape_tokens(found.label, special_tokens),
        )
        for found in objects
    )
    return IMAGE_TOKEN + separator.join(words)


def special_strings(tokenizer: Any) -> list[str]:
    """All texts that the tokenizer reads as special tokens, longest first."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    strings = {str(token) for token in added if getattr(token, "special", False)}
    strings |= {str(token) for token in tokenizer.all_special_tokens}
    return sorted(strings - {""}, key=lambda text: (-len(text), text))


def escape_tokens(text: str, special_tokens: Sequence[str]) -> str:
    """Break special tokens in a user's text: ``<image>`` becomes ``< image>`` and makes no slot."""
    for token in special_tokens:
        while len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def add_image_tokens(tokenizer: Any) -> int:
    """Add ``<image>`` and ``<object>`` to a tokenizer where they are missing.

    Returns the number of tokens added. If it is not 0, give the model rows for them with
    ``model.resize_token_embeddings(len(tokenizer))``.
    """
    missing = [token for token in (IMAGE_TOKEN, OBJECT_TOKEN) if not has_token(tokenizer, token)]
    if not missing:
        return 0
    return tokenizer.add_special_tokens(
        {"extra_special_tokens": missing}, replace_extra_special_tokens=False
    )


def has_token(tokenizer: Any, token: str) -> bool:
    """Tell whether ``token`` is a special token of the tokenizer, read as one id."""
    return token in special_strings(tokenizer)


def check_image_tokens(tokenizer: Any) -> None:
    """Raise :class:`ValueError` unless the tokenizer has ``<image>`` and ``<object>``."""
    for token in (IMAGE_TOKEN, OBJECT_TOKEN):
        if not has_token(tokenizer, token):
            raise ValueError(
                f"The tokenizer has no special token {token}: call add_image_tokens(tokenizer) and "
                "then model.resize_token_embeddings(len(tokenizer))."
            )


__all__ = [
    "DEFAULT_OBJECT_TEMPLATE",
    "DEFAULT_PROMPT_TEMPLATE",
    "IMAGE_TOKEN",
    "OBJECT_TOKEN",
    "add_image_tokens",
    "chat_prompt_template",
    "check_image_tokens",
    "check_object_template",
    "check_prompt_template",
    "describe_objects",
    "escape_tokens",
    "fill_prompt",
    "has_token",
    "special_strings",
]
