"""The quickstart's report: a table of metrics, and examples as text and as images."""

import textwrap
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.text import mark_clue

_COLUMNS = ("P@1", "P@5", "R@5", "R@10")


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Return one table per split: each system's metrics, seconds per query, P@1 by objects."""
    out = StringIO()
    console = Console(file=out, width=118)
    for split, content in metrics["splits"].items():
        table = Table(title=f"{split}: {content['questions']} questions (hit preset: gold)")
        table.add_column("system", no_wrap=True)
        for column in _COLUMNS:
            table.add_column(column, justify="right")
        table.add_column("s/query", justify="right")
        numbers = sorted({n for row in content["systems"].values() for n in row["P@1 by objects"]})
        for number in numbers:
            table.add_column(f"P@1 of\n{number} obj.", justify="right")
        for name, row in content["systems"].items():
            seconds = row["seconds per query"]
            table.add_row(
                name,
                *(f"{row[column]:.3f}" for column in _COLUMNS),
                "-" if seconds is None else f"{seconds:.3f}",
                *(f"{row['P@1 by objects'].get(number, float('nan')):.2f}" for number in numbers),
            )
        console.print(table)
    return out.getvalue().rstrip()


def example_lines(
    record: Mapping[str, Any], objects: Sequence[Any], hits: Sequence[Hit]
) -> list[str]:
    """Return question, objects and hits as lines of text, the best clue marked in its document."""
    lines = ["", f"  question: {record['question']}", f"  detected objects: {len(objects)}"]
    for detected in objects:
        box = ", ".join(f"{edge:.0f}" for edge in detected.box)
        lines.append(f"    box ({box}), confidence {detected.score:.2f}")
    for rank, hit in enumerate(hits, start=1):
        relevant = " (relevant)" if hit.document["id"] in record["relevant_ids"] else ""
        lines.append(f"  {rank}. {hit.document['id']}{relevant}, score {hit.score:.2f}")
        lines.append(f"     clue: {hit.clues[0].text}")
    if hits:
        marked = mark_clue(hits[0].document["text"], hits[0].clues[0].text)
        lines += textwrap.wrap(marked, 96, initial_indent="     ", subsequent_indent="     ")
    return lines


def draw_example(boxes: Image.Image, record: Mapping[str, Any], hits: Sequence[Hit]) -> Image.Image:
    """Draw an image with its boxes beside the question, the clues and the best document."""
    side = 480
    scale = side / max(boxes.size)
    left = boxes.resize((round(boxes.width * scale), round(boxes.height * scale)))
    lines = [*textwrap.wrap(f"Q: {record['question']}", 62), ""]
    for rank, hit in enumerate(hits, start=1):
        mark = " *" if hit.document["id"] in record["relevant_ids"] else ""
        lines.append(f"{rank}. {hit.document['id']}{mark}")
        lines += textwrap.wrap(
            f'"{hit.clues[0].text}"', 62, initial_indent="   ", subsequent_indent="   "
        )
    if hits:
        marked = mark_clue(hits[0].document["text"], hits[0].clues[0].text)
        lines += ["", *textwrap.wrap(marked, 62), "", "* relevant"]
    page = Image.new("RGB", (side + 580, side), "white")
    page.paste(left, (0, 0))
    font = ImageFont.load_default(size=16)
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines[: side // 22]):
        pen.text((side + 16, 12 + 22 * number), line, fill="black", font=font)
    return page
