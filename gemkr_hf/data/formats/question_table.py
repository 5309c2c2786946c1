"""Questions in a custom table: CSV, TSV, JSON lines or Parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemkr_hf.data.features import question_row
from gemkr_hf.data.formats.json_records import Record
from gemkr_hf.knowledge_base.document_sources import RecordFile
from gemkr_hf.utils.deprecation import warn_renamed

if TYPE_CHECKING:
    from gemkr_hf.data.data_config import DataConfig


def read_table(path: Path, config: "DataConfig") -> Iterator[dict[str, Any]]:
    """Read questions from the columns that the configuration names.

    A cell of documents or answers contains one value, several with the separator between them, or a
    list (JSON lines, Parquet). The columns ``question_id`` and ``caption`` are optional; without
    ids the questions are numbered.

    Raises:
        ValueError: If a column is missing, or a question or its image is empty, with the row's
            number.
    """
    file = RecordFile(path, "question")
    image_column, columns = config.image_column, file.column_names
    if image_column == "image" and "picture" in columns and "image" not in columns:
        warn_renamed("picture", "image")
        image_column = "picture"
    required = {"question_column": config.question_column, "image_column": image_column}
    if not {config.documents_column, config.answers_column} & set(columns):
        required["documents_column"] = config.documents_column
    for setting, column in required.items():
        if column not in columns:
            raise ValueError(
                f"No column '{column}' in '{path}', which has {', '.join(columns)}: set {setting}"
            )
    for number, fields in enumerate(file, start=1):
        record = Record(fields, f"Record {number} of '{path}'")
        yield question_row(
            record.optional_text("question_id") or f"{path.stem}-{number}",
            record.text(image_column),
            record.text(config.question_column),
            record.optional_text("caption"),
            answers=[(answer, 1.0) for answer in _cell(record, config.answers_column, config)],
            relevant_ids=_cell(record, config.documents_column, config),
        )


def _cell(record: Record, column: str, config: "DataConfig") -> list[str]:
    value = record.get(column)
    if value is None:
        return []
    values = value if isinstance(value, list) else str(value).split(config.separator)
    return [text for text in (str(part).strip() for part in values if part is not None) if text]


__all__ = ["read_table"]
