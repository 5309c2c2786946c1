"""Records of a JSON file, each with its number and line for messages."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class Record:
    """One object of a file; what is wrong with it is told with its number, line and field."""

    def __init__(self, fields: dict[str, Any], place: str) -> None:
        self._fields, self.place = fields, place

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def get(self, name: str) -> Any:
        """A field as it is; None where it is missing."""
        return self._fields.get(name)

    def require(self, *names: str) -> Any:
        """The first of these fields that is there.

        Raises:
            ValueError: if none is.
        """
        for name in names:
            if name in self:
                return self._fields[name]
        wanted = " or ".join(f"'{name}'" for name in names)
        there = ", ".join(map(str, self._fields)) or "nothing"
        raise ValueError(f"{self.place} has no {wanted}: it has {there}")

    def words(self, *names: str) -> str:
        """`require` of a text; whole numbers become one, for ids are written both ways."""
        value = self.require(*names)
        name = next(name for name in names if name in self)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.wrong(name, "a text")
        text = str(value).strip()
        if not text:
            raise ValueError(f"{self.place} has an empty '{name}'")
        return text

    def records(self, name: str) -> list["Record"]:
        """A field that is a list of objects; empty where it is missing."""
        values = self.get(name) or []
        if not isinstance(values, list):
            raise self.wrong(name, "a list")
        return [
            Record(
                value if isinstance(value, dict) else {"id": value},
                f"{self.place}: number {number} of '{name}'",
            )
            for number, value in enumerate(values, start=1)
        ]

    def answers(self, name: str) -> list[tuple[str, float]]:
        """Answers with their scores: an object answer -> score, a list, or one; none if missing."""
        value = self.get(name)
        if value is None:
            return []
        if isinstance(value, dict):
            pairs = list(value.items())
        elif isinstance(value, list):
            pairs = [(answer, 1.0) for answer in value]
        else:
            pairs = [(value, 1.0)]
        for answer, score in pairs:
            if isinstance(answer, bool) or not isinstance(answer, str | int | float):
                raise self.wrong(name, "an object answer -> score, or a list of answers")
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise ValueError(
                    f"{self.place}: the score of '{answer}' in '{name}' is {score!r}, no number"
                )
            if not math.isfinite(score):
                raise ValueError(f"{self.place}: the score of '{answer}' in '{name}' is {score}")
        return [(str(answer), float(score)) for answer, score in pairs if str(answer).strip()]

    def wrong(self, name: str, kind: str) -> ValueError:
        """The error that tells what a field should have been."""
        return ValueError(f"{self.place}: '{name}' is {str(self.get(name))[:60]!r}, not {kind}")


def read_records(path: Path) -> Iterator[Record]:
    """Objects of one JSON list, or of JSON lines.

    Raises:
        ValueError: if the file is broken, cut short, empty, or holds something else, with the
            record's number and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not in UTF-8: {error}") from None
    position = _skip(text, 0)
    listed = text.startswith("[", position)
    position = _skip(text, position + 1) if listed else position
    number = 0
    # The line of the record before, so that lines are counted once.
    line, counted = 1, 0
    while position < len(text) and not (listed and text[position] == "]"):
        number += 1
        line, counted = line + text.count("\n", counted, position), position
        place = f"Record {number} (line {line}) of '{path}'"
        try:
            value, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{place} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            ) from None
        if not isinstance(value, dict):
            raise ValueError(f'{place} is no object such as {{"question": ...}}')
        yield Record(value, place)
        position = _skip(text, position)
        if listed:
            position = _next_of_list(text, position, path, number)
    if number == 0:
        raise ValueError(f"There is no question in '{path}'")
    if listed and position >= len(text):
        raise ValueError(f"'{path}' is cut short behind record {number}")
    if listed and _skip(text, position + 1) < len(text):
        line = text.count("\n", 0, position) + 1
        raise ValueError(f"Behind the list, which ends at line {line}, '{path}' goes on")


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _next_of_list(text: str, position: int, path: Path, number: int) -> int:
    if text.startswith(",", position):
        following = _skip(text, position + 1)
        if not text.startswith("]", following):
            return following
    elif position >= len(text) or text[position] == "]":
        return position
    line = text.count("\n", 0, position) + 1
    raise ValueError(
        f"'{path}' is no JSON behind record {number} (line {line}): a record or the list's end is "
        "expected"
    )


__all__ = ["Record", "read_records"]
