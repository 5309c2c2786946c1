"""The corpus of a benchmark: its documents with the same columns for every format, read lazily."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.formats import DOCUMENT_IDS
from gemkr_hf.knowledge_base.document_sources import RecordFile, open_documents

_ID_COLUMNS = ("kid", "id")


def document_id_of(data_format: str) -> Callable[[str], str]:
    """Return the function that normalizes the document ids of a format."""
    return DOCUMENT_IDS.get(data_format, str.strip)


class Corpus:
    """Records of `DOCUMENT_FEATURES`: id, title and text.

    Args:
        source: File, folder of a saved dataset, or dataset on the Hub.
        config: Its columns, and the format, which determines how ids are normalized.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If a column is missing; during iteration, if a record is invalid, with its
            number.
    """

    def __init__(self, source: str, config: DataConfig) -> None:
        self.name = source
        self._document_id = document_id_of(config.format)
        id_column = config.id_column
        if id_column is None:
            columns = RecordFile(Path(source)).column_names if Path(source).is_file() else []
            id_column = next((name for name in _ID_COLUMNS if name in columns), "id")
        self._documents = open_documents(source, id_column, config.text_column)

    def __len__(self) -> int:
        """Return the approximate number of documents, see `RecordFile`."""
        return len(self._documents)

    def __iter__(self) -> Iterator[dict[str, str]]:
        for number, record in enumerate(self._documents, start=1):
            for field in ("id", "text"):
                if record[field] is None:
                    raise ValueError(f"Document {number} of '{self.name}' has no {field}")
            title = record.get("title")
            yield {
                "id": self._document_id(str(record["id"])),
                "title": "" if title is None else str(title),
                "text": str(record["text"]),
            }


__all__ = ["Corpus", "document_id_of"]
