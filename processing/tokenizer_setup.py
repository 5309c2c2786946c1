"""Preparation of a language model's tokenizer for a new model. It stays in the library."""

from typing import Any

from .processing_gemkr import (
    DEFAULT_PROMPT_TEMPLATE,
    IMAGE_TOKEN,
    OBJECT_TOKEN,
    check_prompt_template,
    special_strings,
)


def add_image_tokens(tokenizer: Any) -> int:
    """Add ``<image>`` and ``<object>`` to a tokenizer where they are missing.

    Returns:
        int: the number of tokens added. If it is not 0, resize the model's embeddings:
        ``model.resize_token_embeddings(len(tokenizer))``.
    """
    known = special_strings(tokenizer)
    missing = [token for token in (IMAGE_TOKEN, OBJECT_TOKEN) if token not in known]
    if not missing:
        return 0
    return tokenizer.add_special_tokens(
        {"extra_special_tokens": missing}, replace_extra_special_tokens=False
    )


def chat_prompt_template(tokenizer: Any, instruction: str = DEFAULT_PROMPT_TEMPLATE) -> str:
    """Make a prompt template in the format of a chat model.

    Args:
        tokenizer: tokenizer of the chat model.
        instruction: a prompt template, which becomes the user's message.

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
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"The tokenizer's chat template cannot be applied: {reason}.") from error
    begin = tokenizer.bos_token_id
    if begin is not None and list(tokenizer("")["input_ids"])[:1] == [begin]:
        text = text.removeprefix(tokenizer.bos_token)  # tokenizing a prompt adds it again
    try:
        check_prompt_template(text)
    except ValueError as error:
        raise ValueError(
            f"The tokenizer's chat template does not keep the instruction whole: {error}"
        ) from None
    return text


__all__ = ["add_image_tokens", "chat_prompt_template"]
