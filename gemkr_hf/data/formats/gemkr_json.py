"""Questions in the JSON of the paper's released code: ``input``, ``output``, ``image``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemkr_hf.data.features import question_row
from gemkr_hf.data.formats.json_records import read_records

if TYPE_CHECKING:
    from gemkr_hf.data.data_config import DataConfig


def split_input(text: str) -> tuple[str, str]:
    """Split an ``input`` into the question and the caption that follows it.

    >>> split_input("What toy is this? a man with a teddy bear.")
    ('What toy is this?', 'a man with a teddy bear.')
    """
    question, mark, caption = text.strip().rpartition("? ")
    return (question + "?", caption.strip()) if mark else (text.strip(), "")


def read_gemkr(path: Path, config: "DataConfig") -> Iterator[dict[str, Any]]:
    """Read questions whose ``output`` is a list of answers or, in training files, a clue.

    Clues of the same question (equal ``input`` and ``image``) are collected in one row. Rows are
    numbered, since the format has neither question ids nor document ids.
    """
    rows: list[dict[str, Any]] = []
    rows_with_clues: dict[tuple[str, str], dict[str, Any]] = {}
    for number, record in enumerate(read_records(path), start=1):
        text, image = record.text("input"), record.text("image")
        output = record.require("output")
        question, caption = split_input(text)
        answers = record.answers("output") if isinstance(output, list) else []
        row = question_row(f"{path.stem}-{number}", image, question, caption, answers)
        if isinstance(output, str):
            row = rows_with_clues.setdefault((text, image), row)
            row["clues"].append(record.text("output"))
            if len(row["clues"]) > 1:
                continue
        elif not isinstance(output, list):
            raise record.wrong_type("output", "a list of answers or a clue")
        rows.append(row)
    yield from rows


__all__ = ["read_gemkr", "split_input"]
