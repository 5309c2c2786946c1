"""Example images and questions of the demo."""

from pathlib import Path

from gemkr_hf.processing import load_image
from gemkr_hf.utils.io import read_json

EXAMPLES_FILE = "examples.json"
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
_QUICKSTART_QUESTION = "What does the sign in the picture mean?"


def read_examples(folder: Path) -> list[tuple[Path, str]]:
    """Read example images and their questions.

    ``examples.json`` is a list of ``{"image": file name, "question": text}``. Without it, every
    image of the folder is an example without a question; of a quickstart's folder, only the scenes.

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
        images = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        scenes = [path for path in images if path.stem.startswith("scene-")]
        # A quickstart also saves example-N.png, which shows the answers for scene-N.png.
        answers = {path.name.replace("scene-", "example-", 1) for path in scenes}
        if scenes and {path.name for path in images if path not in scenes} <= answers:
            examples = [(path, _QUICKSTART_QUESTION) for path in scenes]
        else:
            examples = [(path, "") for path in images]
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
