"""The report that ``gemkr data check`` prints."""

import pandas as pd

from gemkr_hf.data.data_check import DataCheck

_ROWS = {
    "questions": "questions",
    "with_answers": "with answers",
    "with_documents": "with relevant documents",
    "all_found": "  all of them found",
    "some_found": "  some of them found",
    "none_found": "  none of them found",
    "with_clues": "with clues",
    "with_image": "with an existing image",
}
_WIDTH = 88


def describe(check: DataCheck) -> str:
    """Format counts, examples and warnings as text."""
    documents = check.documents
    counts = {
        split.name: {label: f"{getattr(split, name):,}" for name, label in _ROWS.items()}
        for split in check.splits
    }
    lines = [
        pd.DataFrame(counts).to_string(),
        "",
        f"documents  {documents.number:,} in '{documents.name}'; {documents.repeated:,} with a "
        f"duplicate id, {documents.empty:,} without text",
        f"images     {'not configured' if check.images is None else f'{check.images:,}'}",
    ]
    for row, text in check.examples:
        answers = ", ".join(row["answers"][:3]) or ", ".join(row["clues"][:1]) or "no answer"
        question = f"{row['question_id']}, image {row['image_id']}: {row['question']}"
        lines += ["", f"{question} -> {answers}"]
        if text:
            lines.append(f"  {row['relevant_ids'][0]}: {_beginning(text)}")
    if check.warnings:
        lines += ["", *(f"Warning: {warning}" for warning in check.warnings)]
    return "\n".join(lines)


def _beginning(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


__all__ = ["describe"]
