"""The corpus of a benchmark, as records of one shape, read as they are asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.formats.okvqa import okvqa_document_id
from gemkr_hf.knowledge_base.document_sources import RecordFile, open_documents

_ID_COLUMNS = ("kid", "id")


def document_id_of(data_format: str) -> Callable[[str], str]:
    """What makes the ids of a corpus and those that its questions name alike."""
    return okvqa_document_id if data_format == "okvqa" else str.strip


class Corpus:
    """Records of `DOCUMENT_FEATURES`: id, title and text.

    Args:
        source: a file, a saved data set's folder or a data set on the Hub.
        config: its columns, and the format that says how ids are written.

    Raises:
        FileNotFoundError: if it cannot be had.
        ValueError: if it lacks a column. While reading: if a line is broken, with its number.
    """

    def __init__(self, source: str, config: DataConfig) -> None:
        self.name = source
        self._document_id = document_id_of(config.format)
        id_column = config.id_column
        if id_column is None:
            columns = RecordFile(Path(source)).columns if Path(source).is_file() else []
            id_column = next((name for name in _ID_COLUMNS if name in columns), "id")
        self._documents = open_documents(source, id_column, config.text_column)

    def __len__(self) -> int:
        """Documents, about: see `RecordFile`."""
        return len(self._documents)

    def __iter__(self) -> Iterator[dict[str, str]]:
        for number, record in enumerate(self._documents, start=1):
            identifier, text = record["id"], record["text"]
            if identifier is None or text is None:
                missing = "id" if identifier is None else "text"
                raise ValueError(f"Document {number} of '{self.name}' has no {missing}")
            title = record.get("title")
            yield {
                "id": self._document_id(str(identifier)),
                "title": "" if title is None else str(title),
                "text": str(text),
            }


__all__ = ["Corpus", "document_id_of"]
