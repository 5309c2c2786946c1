"""Small files of the shape of the published ones."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

COLORS = {"1": (255, 0, 0), "2": (0, 255, 0), "3": (0, 0, 255)}


def okvqa_records(prefix: str = "", marked: bool = False) -> list[dict[str, Any]]:
    """Three questions; question n is of image n and document n, and finds document n + 1."""
    records = []
    for number in (1, 2, 3):
        contexts: list[dict[str, Any]] = [
            {"id": f"{prefix}{number}", "title": "", "text": f"Text {number}.", "score": "80.1"}
        ]
        if marked:
            contexts[0]["has_answer"] = True
            other = {"id": f"{prefix}{number + 1}", "text": "Other.", "has_answer": False}
            contexts.append(other)
        records.append(
            {
                "question_id": 2971475 + number,
                "img_id": f"COCO_val2014_{number:012d}",
                "question": f"What is number {number}? an image of {number}.",
                "caption": f"an image of {number}.",
                "answers": {"race": 1.0, "ride": 0.6},
                "ctxs": contexts,
            }
        )
    return records


def remuq_records() -> list[dict[str, Any]]:
    """Three questions; of image 3000000n, with the document `webqa_n` first."""
    return [
        {
            "question_id": f"d5bb_{number}",
            "img_id": 30000000 + number,
            "question": f"What is number {number}?",
            "answers": ["a bridge"],
            "ctxs": [{"id": f"webqa_{number}", "text": "Gold."}, {"id": "webqa_9", "text": "x"}],
        }
        for number in (1, 2, 3)
    ]


def gemkr_records() -> list[dict[str, Any]]:
    """Three questions with answers."""
    return [
        {
            "input": f"What is number {number}? an image of {number}.",
            "output": ["race", "ride"],
            "image": f"COCO_val2014_{number:012d}",
        }
        for number in (1, 2, 3)
    ]


def write_json(path: Path, value: Any, **options: Any) -> Path:
    path.write_text(json.dumps(value, **options), encoding="utf-8")
    return path


def write_okvqa_corpus(path: Path, prefix: str = "", number: int = 6) -> Path:
    rows = "".join(f'{prefix}{row},"Text {row}, with ""quotes""."\n' for row in range(number))
    path.write_text("kid,text\n" + rows, encoding="utf-8")
    return path


def image_bytes(color: tuple[int, int, int]) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 6), color).save(stream, "PNG")
    return stream.getvalue()


def write_images(folder: Path, name: str = "{}.png") -> Path:
    """Images 1, 2 and 3, each of its colour, under the names that the pattern gives."""
    for key, color in COLORS.items():
        path = folder / name.format(int(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(color))
    return folder


def write_tsv(path: Path, first: int = 30000000, index: bool = True) -> Path:
    """Images `first + 1` to `first + 3` behind one more, so that numbers are places of lines."""
    lines, offsets, position = [], [], 0
    for number, color in enumerate([(9, 9, 9), *COLORS.values()]):
        line = f"{first + number}\t{base64.b64encode(image_bytes(color)).decode()}\n"
        lines.append(line)
        offsets.append(position)
        position += len(line)
    path.write_text("".join(lines))
    if index:
        path.with_suffix(".lineidx").write_text("".join(f"{offset}\n" for offset in offsets))
    return path
