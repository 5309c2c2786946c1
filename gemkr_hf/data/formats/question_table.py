"""Questions in a table of one's own: CSV, TSV, JSON lines or Parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.features import question_row
from gemkr_hf.data.formats.json_records import Record
from gemkr_hf.knowledge_base.document_sources import RecordFile


def read_table(path: Path, config: DataConfig) -> Iterator[dict[str, Any]]:
    """Questions whose columns are named in the configuration.

    A cell of documents or answers holds one, several with the separator between them, or a list
    (JSON lines, Parquet). The columns ``question_id`` and ``caption`` are read where they are
    there; without ids the questions are numbered.

    Raises:
        ValueError: if a column is missing, or a question or its image is empty, with the row's
            number.
    """
    file = RecordFile(path, "question")
    for setting in ("question_column", "image_column"):
        _check_column(file, path, getattr(config, setting), setting)
    if not {config.documents_column, config.answers_column} & set(file.columns):
        _check_column(file, path, config.documents_column, "documents_column")
    for number, fields in enumerate(file, start=1):
        record = Record(fields, f"Record {number} of '{path}'")
        identifier = record.words("question_id") if record.get("question_id") else None
        yield question_row(
            identifier or f"{path.stem}-{number}",
            record.words(config.image_column),
            record.words(config.question_column),
            record.words("caption") if record.get("caption") else "",
            answers=[(answer, 1.0) for answer in _cell(record, config.answers_column, config)],
            relevant_ids=_cell(record, config.documents_column, config),
        )


def _check_column(file: RecordFile, path: Path, column: str, setting: str) -> None:
    if column not in file.columns:
        raise ValueError(
            f"There is no column '{column}' in '{path}': there are {', '.join(file.columns)}; "
            f"name one with {setting}"
        )


def _cell(record: Record, column: str, config: DataConfig) -> list[str]:
    value = record.get(column)
    if value is None:
        return []
    values = value if isinstance(value, list) else str(value).split(config.separator)
    return [text for text in (str(part).strip() for part in values if part is not None) if text]


__all__ = ["read_table"]
