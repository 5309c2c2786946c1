"""What `gemkr data check` prints."""

from gemkr_hf.data.data_check import DataCheck, SplitCheck

_ROWS = {
    "questions": "questions",
    "answers": "with answers",
    "documents": "with relevant documents",
    "all_found": "  all of them there",
    "some_found": "  some of them there",
    "none_found": "  none of them there",
    "clues": "with clues",
    "images": "with an image that is there",
}
_WIDTH = 88


def describe(check: DataCheck) -> str:
    """Figures, examples and warnings, for people."""
    documents = check.documents
    images = "none named" if check.images is None else f"{check.images:,}"
    lines = [
        *_table(check.splits),
        "",
        f"documents  {documents.number:,} in '{documents.name}'; {documents.repeated:,} with an id "
        f"that was there before, {documents.empty:,} without a text",
        f"images   {images}",
    ]
    for row, text in check.examples:
        answers = ", ".join(row["answers"][:3]) or ", ".join(row["clues"][:1]) or "no answer"
        lines += [
            "",
            f"{row['question_id']}, image {row['image_id']}: {row['question']} -> {answers}",
        ]
        if text:
            lines.append(f"  {row['relevant_ids'][0]}: {_beginning(text)}")
    if check.warnings:
        lines += ["", *(f"Warning: {warning}" for warning in check.warnings)]
    return "\n".join(lines)


def _table(splits: list[SplitCheck]) -> list[str]:
    width = max(len(label) for label in _ROWS.values())
    columns = [max(len(split.name), 9) for split in splits]
    lines = [
        " " * width
        + "".join(f"  {split.name:>{n}}" for split, n in zip(splits, columns, strict=True))
    ]
    for name, label in _ROWS.items():
        values = [getattr(split, name) for split in splits]
        lines.append(
            f"{label:<{width}}"
            + "".join(f"  {value:>{n},}" for value, n in zip(values, columns, strict=True))
        )
    return lines


def _beginning(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


__all__ = ["describe"]
