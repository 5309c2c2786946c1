"""Images and questions that the demo offers."""

import json
from pathlib import Path

from gemkr_hf.processing import load_image

EXAMPLES_FILE = "examples.json"
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
_QUICKSTART_QUESTION = "What does the sign in the picture mean?"


def read_examples(folder: Path) -> list[tuple[Path, str]]:
    """Images of a folder, with their questions.

    ``examples.json`` is a list of ``{"image": name of a file, "question": text}``; without it every
    image of the folder is an example without a question. In a quickstart's folder these are its
    scenes, not the boards that show its answers.

    Raises:
        FileNotFoundError: no such folder, no image in it, or one that is named is missing.
        ValueError: ``examples.json`` is not of that form, or an image cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}' with examples")
    listed = folder / EXAMPLES_FILE
    if listed.is_file():
        examples = _read_list(listed)
    else:
        images = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        scenes = [path for path in images if path.stem.startswith("scene-")]
        boards = {path.name.replace("scene-", "example-", 1) for path in scenes}
        if scenes and {path.name for path in images if path not in scenes} <= boards:
            examples = [(path, _QUICKSTART_QUESTION) for path in scenes]
        else:
            examples = [(path, "") for path in images]
    if not examples:
        raise FileNotFoundError(f"There is no image in the folder '{folder}'")
    for path, _ in examples:
        load_image(path)
    return examples


def _read_list(path: Path) -> list[tuple[Path, str]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON and of UTF-8
        raise ValueError(f"'{path}' is no JSON: {error}") from None
    if not isinstance(records, list):
        raise ValueError(f"'{path}' is a list of examples, not a {type(records).__name__}")
    examples = []
    for number, record in enumerate(records, start=1):
        image = record.get("image") if isinstance(record, dict) else None
        question = record.get("question", "") if isinstance(record, dict) else None
        if not isinstance(image, str) or not isinstance(question, str):
            raise ValueError(
                f'Example {number} of \'{path}\' is not of the form {{"image": "scene.png", '
                '"question": "What is it?"}'
            )
        examples.append((path.parent / image, question))
    return examples


__all__ = ["EXAMPLES_FILE", "read_examples"]
