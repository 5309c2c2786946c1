"""Example images and questions of the demo."""

from pathlib import Path

from gemkr_hf.processing import load_image
from gemkr_hf.utils.io import read_json

EXAMPLES_FILE = "examples.json"
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}


def read_examples(folder: Path) -> list[tuple[Path, str]]:
    """Read example images and their questions.

    ``examples.json`` is a list of ``{"image": file name, "question": text}``. Without it, every
    image of the folder is an example without a question.

    Args:
        folder: contains the images.

    Returns:
        Paths of images with their questions.

    Raises:
        FileNotFoundError: the folder or an image does not exist, or the folder has no images.
        ValueError: ``examples.json`` is invalid, or an image cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder with examples not found: '{folder}'")
    listed = folder / EXAMPLES_FILE
    if listed.is_file():
        examples = _read_list(listed)
    else:
        images = (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        examples = [(path, "") for path in sorted(images)]
    if not examples:
        raise FileNotFoundError(f"No images found in '{folder}'")
    for path, _ in examples:
        load_image(path)
    return examples


def _read_list(path: Path) -> list[tuple[Path, str]]:
    records = read_json(path)
    if not isinstance(records, list):
        raise ValueError(f"'{path}' must be a list of examples, not a {type(records).__name__}")
    examples = []
    for number, record in enumerate(records, start=1):
        image = record.get("image") if isinstance(record, dict) else None
        question = record.get("question", "") if isinstance(record, dict) else None
        if not isinstance(image, str) or not isinstance(question, str):
            raise ValueError(
                f"Example {number} of '{path}' is invalid: write "
                '{"image": "scene.png", "question": "What is it?"}'
            )
        examples.append((path.parent / image, question))
    return examples


__all__ = ["EXAMPLES_FILE", "read_examples"]
