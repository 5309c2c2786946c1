"""From what a user hands over to rows of token ids: batches, prompts, clues, padding."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .call_gemkr import is_truncating
from .detection_gemkr import is_box
from .prompt_gemkr import escape_tokens


def batch_of(
    images: Any, text: Any, objects: Any, clues: Any
) -> tuple[list[Any], list[str] | None, list[Any], list[Any] | None]:
    """Make lists of equal length of images, questions (or None), objects and clues (or None).

    Raises:
        ValueError: if the numbers do not match or a question is empty.
    """
    single = not _is_batch(images)
    rows = [images] if single else [_only(image) for image in images]
    questions = None
    if text is not None:
        if not isinstance(text, str) and not hasattr(text, "__iter__"):
            raise ValueError(f"A question is a text, not a {type(text).__name__}.")
        questions = [text] if isinstance(text, str) else list(text)
        if images is None:
            rows = [None] * len(questions)
        if len(rows) != len(questions):
            raise ValueError(
                f"{len(rows)} images do not match {len(questions)} questions: give one "
                "image, or None, a question."
            )
        for row, question in enumerate(questions):
            if question is None and rows[row] is not None:
                questions[row] = ""  # an image alone
                continue
            if not isinstance(question, str):
                raise ValueError(f"Question {row} is a {type(question).__name__}, not a text.")
            if not question.strip():
                raise ValueError(f"Question {row} is empty.")
    if not rows:
        raise ValueError("The batch is empty: give at least one query.")
    return rows, questions, _objects(objects, len(rows), single), _clues(clues, questions)


def _is_batch(images: Any) -> bool:
    if isinstance(images, list | tuple):
        return True
    return isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4


def _only(image: Any) -> Any:
    """The image of a query's own list, as several libraries nest them."""
    if not isinstance(image, list | tuple):
        return image
    if len(image) > 1:
        raise ValueError(f"A question is about one image, not {len(image)}.")
    return image[0] if image else None


def _objects(objects: Any, number: int, single: bool) -> list[Any]:
    if objects is None:
        return [None] * number
    if is_box(objects) or not hasattr(objects, "__iter__") or isinstance(objects, str | dict):
        raise ValueError(
            "objects is a list of boxes (x0, y0, x1, y1), or one such list for each image, not "
            f"{str(objects)[:60]!r}."
        )
    rows = list(objects)
    if single and number == 1 and (not rows or all(is_box(row) for row in rows)):
        return [rows]
    if len(rows) != number:
        raise ValueError(f"{len(rows)} lists of objects do not match {number} images.")
    for row, boxes in enumerate(rows):
        if boxes is not None and (hasattr(boxes, "box") or not hasattr(boxes, "__len__")):
            raise ValueError(f"The objects of query {row} are not a list of objects: {boxes!r}.")
    return rows


def captions_of(captions: Any, number: int) -> list[str]:
    """One caption a query, empty where there is none.

    Raises:
        ValueError: if they are not as many as queries, or one is no text.
    """
    if captions is None:
        return [""] * number
    rows = [captions] if isinstance(captions, str) else list(captions)
    if len(rows) != number:
        raise ValueError(f"{len(rows)} captions do not match {number} questions.")
    for row, caption in enumerate(rows):
        if caption is not None and not isinstance(caption, str):
            raise ValueError(f"Caption {row} is a {type(caption).__name__}, not a text.")
    return [(caption or "").strip() for caption in rows]


def _clues(clues: Any, questions: list[str] | None) -> list[Any] | None:
    if clues is None:
        return None
    rows = [clues] if isinstance(clues, str) else list(clues)
    if questions is None:
        raise ValueError("Clues answer questions: give text.")
    if len(questions) == 1 and rows and isinstance(rows[0], int | np.integer):
        rows = [rows]  # the token ids of the one clue
    if len(rows) != len(questions):
        raise ValueError(f"{len(rows)} clues do not match {len(questions)} questions.")
    return rows


def encode_clues(
    tokenizer: Any, clues: Sequence[Any], special_tokens: Sequence[str]
) -> list[list[int]]:
    """Token ids of clues, each with the end token.

    A text is encoded with one leading space, as the documents of a knowledge base are: its first
    token has the form that it has within a sentence.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("The tokenizer has no end token (eos_token), which ends a clue.")
    rows = []
    for row, clue in enumerate(clues):
        if isinstance(clue, str):
            clue = " " + escape_tokens(clue.strip(), special_tokens)
            clue = tokenizer(clue, add_special_tokens=False)["input_ids"] if clue.strip() else []
        ids = [int(token) for token in clue]
        if not ids:
            raise ValueError(f"Clue {row} is empty.")
        rows.append([*ids, tokenizer.eos_token_id])
    return rows


def encode_prompts(
    tokenizer: Any,
    questions: list[str],
    fill: Callable[[int, str], str],
    reserved: list[int],
    settings: dict[str, Any],
) -> list[list[int]]:
    """Token ids of the prompts ``fill(row, question)``, with what the tokenizer puts before them.

    With ``truncation`` and ``max_length`` in ``settings`` a question loses its end, so that prompt
    and ``reserved`` tokens fit; instruction, slots and clue stay whole.
    """
    add = settings.get("add_special_tokens", True)

    def encode(texts: list[str]) -> list[list[int]]:
        rows = tokenizer(texts, add_special_tokens=add)["input_ids"]
        # A prompt is to be continued: an end token that the tokenizer closes it with goes.
        end = tokenizer.eos_token_id
        return [list(ids[:-1]) if len(ids) > 1 and ids[-1] == end else list(ids) for ids in rows]

    rows = encode([fill(row, question) for row, question in enumerate(questions)])
    limit = settings.get("max_length")
    if limit is None or not is_truncating(settings):
        return rows
    for row, question in enumerate(questions):
        kept = tokenizer(question, add_special_tokens=False)["input_ids"]
        while (excess := len(rows[row]) + reserved[row] - limit) > 0:
            if not kept:
                raise ValueError(
                    f"Query {row} does not fit into max_length={limit} even without its question."
                )
            kept = kept[: max(0, len(kept) - excess)]
            [rows[row]] = encode([fill(row, tokenizer.decode(kept).strip())])
    return rows


def check_slots(
    prompts: Sequence[Sequence[int]], ids: dict[str, int], expected: Sequence[dict[str, int]]
) -> None:
    """Raise :class:`ValueError` unless each prompt holds each token as often as expected."""
    for row, (prompt, numbers) in enumerate(zip(prompts, expected, strict=True)):
        for token, number in numbers.items():
            count = list(prompt).count(ids[token])
            if count != number:
                raise ValueError(
                    f"The prompt of query {row} has {count} {token} instead of {number}: the "
                    "tokenizer does not read it as a special token."
                )


def pad_left(
    tokenizer: Any,
    queries: Sequence[tuple[list[int], list[int]]],
    settings: dict[str, Any],
) -> dict[str, torch.Tensor]:
    """Join prompts and clues, pad on the left, and label the clues (-100 elsewhere).

    ``queries`` are B pairs of prompt and clue; without clues there are no labels. Returns int64
    tensors (B, T): ``input_ids``, ``attention_mask``, ``labels``.
    """
    rows = [prompt + ending for prompt, ending in queries]
    length = max(map(len, rows))
    padding = settings.get("padding", True)
    if padding in (False, None, "do_not_pad") and any(len(row) != length for row in rows):
        raise ValueError("Prompts of different lengths make no tensor without padding=True.")
    if padding == "max_length" and settings.get("max_length") is not None:
        length = max(length, settings["max_length"])
    multiple = settings.get("pad_to_multiple_of")
    if multiple:
        length = -(-length // multiple) * multiple
    pad = tokenizer.pad_token_id
    pad = tokenizer.eos_token_id if pad is None else pad  # never read: the mask hides it
    input_ids = torch.full((len(rows), length), 0 if pad is None else pad, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, -100)
    for row, (ids, (_, ending)) in enumerate(zip(rows, queries, strict=True)):
        input_ids[row, length - len(ids) :] = torch.tensor(ids)
        attention_mask[row, length - len(ids) :] = 1
        labels[row, length - len(ending) :] = torch.tensor(ending, dtype=torch.int64)
    batch = {"input_ids": input_ids, "attention_mask": attention_mask}
    return {**batch, "labels": labels} if any(ending for _, ending in queries) else batch


__all__ = ["batch_of", "captions_of", "check_slots", "encode_clues", "encode_prompts", "pad_left"]
