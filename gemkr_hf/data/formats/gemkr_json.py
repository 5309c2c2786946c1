"""Questions as the paper's released code has them: ``input``, ``output``, ``image``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemkr_hf.data.features import question_row
from gemkr_hf.data.formats.json_records import read_records


def split_input(words: str) -> tuple[str, str]:
    """The question, and the caption behind it.

    >>> split_input("What toy is this? a man with a teddy bear.")
    ('What toy is this?', 'a man with a teddy bear.')
    """
    question, mark, caption = words.strip().rpartition("? ")
    return (question + "?", caption.strip()) if mark else (words.strip(), "")


def read_gemkr(path: Path) -> Iterator[dict[str, Any]]:
    """Questions whose ``output`` is a list of answers, or a clue in words, as in training files.

    Clues of one question (the same ``input`` and ``image``) are gathered in one row. The rows are
    numbered, for the format has no ids of questions and none of documents.
    """
    rows: list[dict[str, Any]] = []
    with_clues: dict[tuple[str, str], dict[str, Any]] = {}
    for number, record in enumerate(read_records(path), start=1):
        words, image = record.words("input"), record.words("image")
        output = record.require("output")
        question, caption = split_input(words)
        row = question_row(f"{path.stem}-{number}", image, question, caption)
        if isinstance(output, str):
            row = with_clues.setdefault((words, image), row)
            clue = record.words("output")
            if row["clues"]:
                row["clues"].append(clue)
                continue
            row["clues"] = [clue]
        elif isinstance(output, list):
            answers = record.answers("output")
            row["answers"] = [answer for answer, _ in answers]
            row["answer_scores"] = [score for _, score in answers]
        else:
            raise record.wrong("output", "a list of answers or a clue")
        rows.append(row)
    yield from rows


__all__ = ["read_gemkr", "split_input"]
