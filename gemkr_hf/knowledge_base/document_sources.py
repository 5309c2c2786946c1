"""Documents from files and datasets: JSON lines, CSV, TSV, Parquet, the Hub."""

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from gemkr_hf.utils.deprecation import renamed_attributes
from gemkr_hf.utils.hub_ids import is_local

__getattr__ = renamed_attributes(
    __name__, {"DocumentFile": "open_documents", "DocumentDataset": "open_documents"}
)

_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
FILE_SUFFIXES = (*_KINDS, ".gz")


class RecordFile:
    """Records of a file, read while iterating.

    Formats: JSON lines (or one array of objects in a ``.json``), CSV and TSV with a header line,
    all of them also gzipped (``.gz``), and Parquet.

    Args:
        path: the file.
        what: what a record is, for messages.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is empty or of another format. While iterating: if a line is
            invalid, with its number.
    """

    def __init__(self, path: Path, what: str = "document") -> None:
        if not path.is_file():
            raise FileNotFoundError(f"File not found: '{path}'")
        self._path = path
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._gzipped = suffixes[-1:] == [".gz"]
        self._suffix = next(iter(suffixes[-2:-1] if self._gzipped else suffixes[-1:]), "")
        if self._suffix not in _KINDS or (self._gzipped and self._suffix == ".parquet"):
            raise ValueError(
                f"Unknown format of '{path}': {what}s are read from "
                f"{', '.join(kind[1:] for kind in _KINDS)} files"
            )
        first = next(iter(self), None)
        if first is None:
            raise ValueError(f"No {what}s in '{path}'")
        self.column_names = list(first)

    def __len__(self) -> int:
        """Approximate number of records: line breaks in CSV fields count too."""
        if self._suffix == ".parquet":
            return int(pq.read_metadata(self._path).num_rows)
        with gzip.open(self._path) if self._gzipped else self._path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
        return max(1, lines - (self._suffix in (".csv", ".tsv")))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._suffix == ".parquet":
            yield from self._parquet()
            return
        # One function opens both kinds of files in text mode.
        open_text: Any = gzip.open if self._gzipped else open
        with open_text(self._path, "rt", encoding="utf-8-sig", newline="") as file:
            try:
                yield from self._json(file) if "json" in self._suffix else self._rows(file)
            except UnicodeDecodeError as error:
                raise ValueError(f"'{self._path}' is not in UTF-8: {error}") from None
            except (EOFError, gzip.BadGzipFile):
                raise ValueError(f"'{self._path}' is truncated or not a gzip file") from None

    def _parquet(self) -> Iterator[dict[str, Any]]:
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(1000):
                    yield from batch.to_pylist()
        except pa.ArrowException as error:
            raise ValueError(f"'{self._path}' is not a valid Parquet file: {error}") from None

    def _json(self, file: TextIO) -> Iterator[dict[str, Any]]:
        is_array = self._suffix == ".json" and file.read(1) == "["
        file.seek(0)
        for number, text in enumerate([file.read()] if is_array else file, start=1):
            if not text.strip():
                continue
            where = f"'{self._path}'" if is_array else f"Line {number} of '{self._path}'"
            try:
                parsed = json.loads(text)
            except ValueError as error:
                raise ValueError(f"{where} is not valid JSON: {error}") from None
            for record in parsed if is_array else [parsed]:
                if not isinstance(record, dict):
                    where = f"A record in {where}" if is_array else where
                    raise ValueError(f'{where} is not an object such as {{"id": ..., "text": ...}}')
                yield record

    def _rows(self, file: TextIO) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        tabs = self._suffix == ".tsv"
        # TSV files are written with and without quoting: quotes around a whole field are removed,
        # any other quotation mark is kept.
        rows = (
            csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if tabs
            else csv.reader(file, strict=True)
        )
        try:
            names = [unquoted(name) if tabs else name for name in next(rows, [])]
            repeated = [name for name in names if names.count(name) > 1]
            if repeated:
                raise ValueError(f"The column '{repeated[0]}' of '{self._path}' occurs twice")
            for row in rows:
                if row and len(row) != len(names):
                    raise ValueError(
                        f"Line {rows.line_num} of '{self._path}' has {len(row)} fields, but the "
                        f"header has {len(names)}"
                    )
                if row:
                    yield dict(zip(names, map(unquoted, row) if tabs else row, strict=True))
        except csv.Error as error:
            raise ValueError(f"Line {rows.line_num} of '{self._path}': {error}") from None


class SourceDocuments:
    """Documents of a file or a dataset, with two of its columns renamed to `id` and `text`.

    Args:
        records: the file or the dataset.
        name: its location, for messages.
        id_column: column that becomes `id`; with None, documents are numbered "0", "1", ...
        text_column: column that becomes `text`.

    Raises:
        ValueError: if a column is missing; while iterating, if a renamed column would overwrite
            another one.
    """

    def __init__(
        self,
        records: RecordFile | datasets.Dataset,
        name: str,
        id_column: str | None,
        text_column: str,
    ) -> None:
        self._records, self._id, self._text = records, id_column, text_column
        columns = records.column_names
        for column, part in ((id_column, "id"), (text_column, "text")):
            if column is not None and column not in columns:
                raise ValueError(
                    f"No column '{column}' in '{name}', which has {', '.join(columns)}: choose one "
                    f"with --{part}-column, or data.{part}_column in a configuration"
                )

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(self._records):
            document: dict[str, Any] = {
                "id": str(number) if self._id is None else record.get(self._id),
                "text": record.get(self._text),
            }
            others = {n: v for n, v in record.items() if n not in (self._id, self._text)}
            if taken := sorted(others.keys() & document.keys()):
                raise ValueError(f"Another column is named '{taken[0]}' already: rename it")
            yield document | others


def unquoted(field: str) -> str:
    """Remove the quotes around a whole field of a tab-separated file.

    >>> unquoted('"so ""called"" words"'), unquoted('"so" and "so"')
    ('so "called" words', '"so" and "so"')
    """
    if len(field) < 2 or not (field[0] == field[-1] == '"'):
        return field
    inside = field[1:-1]
    return field if '"' in inside.replace('""', "") else inside.replace('""', '"')


def open_dataset(
    name: str, split: str | None = None, config: str | None = None
) -> datasets.Dataset:
    """Open a dataset on the Hub, or one saved by `Dataset.save_to_disk`.

    Args:
        name: Hub id or folder.
        split: by default all splits, concatenated.
        config: configuration of a dataset on the Hub.

    Raises:
        FileNotFoundError: if it is not found.
        ValueError: if it lacks the split.
    """
    try:
        if Path(name).is_dir():
            found = datasets.load_from_disk(name)
            if split is not None and isinstance(found, datasets.DatasetDict):
                found = found[split]
        else:
            found = datasets.load_dataset(name, config, split=split)
    except KeyError:
        raise ValueError(f"The dataset '{name}' has no split '{split}'") from None
    except ValueError as error:
        raise ValueError(f"The dataset '{name}': {str(error).splitlines()[0]}") from None
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise FileNotFoundError(
            f"'{name}' is neither a readable file or folder nor a dataset that can be downloaded "
            f"from the Hub ({type(error).__name__})"
        ) from None
    if isinstance(found, datasets.DatasetDict):
        return datasets.concatenate_datasets(list(found.values()))
    return found


def open_documents(
    source: str,
    id_column: str | None = "id",
    text_column: str = "text",
    split: str = "train",
    config: str | None = None,
) -> SourceDocuments:
    """Open the documents of a file, a saved dataset's folder, or a dataset on the Hub.

    Args:
        source: file, folder or Hub id.
        id_column: see `SourceDocuments`.
        text_column: see `SourceDocuments`.
        split: of a dataset.
        config: of a dataset.

    Raises:
        FileNotFoundError, ValueError: see `RecordFile`, `open_dataset` and `SourceDocuments`.
    """
    local = is_local(source, bare_ids=True, file_suffixes=FILE_SUFFIXES)
    is_file = local and not Path(source).is_dir()
    records = RecordFile(Path(source)) if is_file else open_dataset(source, split, config)
    return SourceDocuments(records, source, id_column, text_column)


__all__ = ["FILE_SUFFIXES", "RecordFile", "SourceDocuments", "open_dataset", "open_documents"]
