"""Records of a JSON file, each with its number and line for error messages."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class Record:
    """An object of a file; error messages contain its number, line and field.

    Args:
        fields: The object.
        place: Number, line and file of the object, for messages.
    """

    def __init__(self, fields: dict[str, Any], place: str) -> None:
        self._fields, self.place = fields, place

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def get(self, name: str) -> Any:
        """Return a field unchanged; None if it is missing."""
        return self._fields.get(name)

    def require(self, *names: str) -> Any:
        """Return the first of these fields that exists; it is an error if none does."""
        for name in names:
            if name in self:
                return self._fields[name]
        wanted = " or ".join(f"'{name}'" for name in names)
        present = ", ".join(map(str, self._fields)) or "none"
        raise ValueError(f"{self.place} has no {wanted}: its fields are {present}")

    def text(self, *names: str) -> str:
        """Return `require` as non-empty text; integers are converted, as ids occur as both."""
        value = self.require(*names)
        name = next(name for name in names if name in self)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.wrong_type(name, "a string")
        text = str(value).strip()
        if not text:
            raise ValueError(f"{self.place} has an empty '{name}'")
        return text

    def optional_text(self, name: str) -> str:
        """Return a field as text; "" if it is missing or empty."""
        return self.text(name) if self.get(name) else ""

    def records(self, name: str) -> list["Record"]:
        """Return a list of objects; empty if it is missing."""
        values = self.get(name) or []
        if not isinstance(values, list):
            raise self.wrong_type(name, "a list")
        return [
            Record(
                value if isinstance(value, dict) else {"id": value},
                f"{self.place}: item {number} of '{name}'",
            )
            for number, value in enumerate(values, start=1)
        ]

    def answers(self, name: str) -> list[tuple[str, float]]:
        """Return answers with scores, from an object answer -> score, a list, or one answer."""
        value = self.get(name)
        if value is None:
            return []
        if isinstance(value, dict):
            pairs = list(value.items())
        else:
            pairs = [(answer, 1.0) for answer in (value if isinstance(value, list) else [value])]
        for answer, score in pairs:
            if isinstance(answer, bool) or not isinstance(answer, str | int | float):
                raise self.wrong_type(name, "an object answer -> score, or a list of answers")
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise ValueError(
                    f"{self.place}: the score of '{answer}' in '{name}' must be a number, got "
                    f"{score!r}"
                )
            if not math.isfinite(score):
                raise ValueError(f"{self.place}: the score of '{answer}' in '{name}' is {score}")
        return [(str(answer), float(score)) for answer, score in pairs if str(answer).strip()]

    def wrong_type(self, name: str, expected: str) -> ValueError:
        """Return an error that says what a field should be."""
        return ValueError(
            f"{self.place}: '{name}' must be {expected}, got {str(self.get(name))[:60]!r}"
        )


def read_records(path: Path) -> Iterator[Record]:
    """Read the objects of a JSON list, or of JSON lines; errors name the number and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not valid UTF-8: {error}") from None
    position = _skip_space(text, 0)
    is_list = text.startswith("[", position)
    position = _skip_space(text, position + 1) if is_list else position
    number = 0
    line, counted = 1, 0  # the line at the position ``counted``
    while position < len(text) and not (is_list and text[position] == "]"):
        number += 1
        line, counted = line + text.count("\n", counted, position), position
        place = f"Record {number} (line {line}) of '{path}'"
        try:
            value, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{place} is not valid JSON: {error.msg} at line {error.lineno}, column "
                f"{error.colno}"
            ) from None
        if not isinstance(value, dict):
            raise ValueError(f'{place} is not an object such as {{"question": ...}}')
        yield Record(value, place)
        position = _skip_space(text, position)
        if is_list:
            position = _next_item(text, position, path, number)
    if number == 0:
        raise ValueError(f"No questions in '{path}'")
    if is_list and position >= len(text):
        raise ValueError(f"'{path}' is truncated after record {number}")
    if is_list and _skip_space(text, position + 1) < len(text):
        line = text.count("\n", 0, position) + 1
        raise ValueError(f"'{path}' has content after the list, which ends in line {line}")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _next_item(text: str, position: int, path: Path, number: int) -> int:
    """Return the position of the next item of a list, or of the list's end."""
    if text.startswith(",", position):
        following = _skip_space(text, position + 1)
        if not text.startswith("]", following):
            return following
    elif position >= len(text) or text[position] == "]":
        return position
    line = text.count("\n", 0, position) + 1
    raise ValueError(
        f"'{path}' is not valid JSON after record {number} (line {line}): expected another record "
        "or the end of the list"
    )


__all__ = ["Record", "read_records"]
