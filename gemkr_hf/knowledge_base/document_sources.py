"""Documents in files and data sets: JSON lines, CSV, TSV, Parquet, the Hub."""

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

from gemkr_hf.utils.hub_ids import is_local

KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
FILE_SUFFIXES = (*KINDS, ".gz")


class RecordFile:
    """Records of a file, read as they are asked for.

    JSON lines (one object a line, or one array of objects in a ``.json``), CSV and TSV with a first
    line of names, all three also gzipped (``.gz``), or Parquet.

    Args:
        path: the file.
        what: what a record is, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is of another kind or empty. While reading: if a line is broken,
            with its number.
    """

    def __init__(self, path: Path, what: str = "document") -> None:
        if not path.is_file():
            raise FileNotFoundError(f"There is no file '{path}'")
        self._path = path
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._packed = suffixes[-1:] == [".gz"]
        kind = next(iter(suffixes[-2:-1] if self._packed else suffixes[-1:]), "")
        if kind not in KINDS or (self._packed and kind == ".parquet"):
            raise ValueError(
                f"'{path}' is none of the files that {what}s are read from: "
                f"{', '.join(kind[1:] for kind in KINDS)}"
            )
        self._suffix = kind
        first = next(iter(self._records()), None)
        if first is None:
            raise ValueError(f"There is no {what} in '{path}'")
        self.columns = list(first)

    def __len__(self) -> int:
        """Records, about: a line break in a CSV field counts too."""
        if self._suffix == ".parquet":
            return int(pq.read_metadata(self._path).num_rows)
        with self._binary() as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
        return max(1, lines - (self._suffix in (".csv", ".tsv")))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._records()

    def _binary(self) -> Any:
        return gzip.open(self._path) if self._packed else self._path.open("rb")

    def _open(self) -> TextIO:
        if self._packed:
            return gzip.open(self._path, "rt", encoding="utf-8-sig", newline="")
        return self._path.open(encoding="utf-8-sig", newline="")

    def _records(self) -> Iterator[dict[str, Any]]:
        if self._suffix == ".parquet":
            yield from self._parquet()
            return
        with self._open() as file:
            try:
                yield from self._lines(file) if "json" in self._suffix else self._rows(file)
            except UnicodeDecodeError as error:
                raise ValueError(f"'{self._path}' is not in UTF-8: {error}") from None
            except (EOFError, gzip.BadGzipFile):
                raise ValueError(f"'{self._path}' is cut short or not packed by gzip") from None

    def _parquet(self) -> Iterator[dict[str, Any]]:
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(1000):
                    yield from batch.to_pylist()
        except pa.ArrowException as error:
            raise ValueError(f"'{self._path}' is broken: {error}") from None

    def _lines(self, file: TextIO) -> Iterator[dict[str, Any]]:
        if self._suffix == ".json":
            start = file.read(1)
            file.seek(0)
            if start == "[":
                try:
                    records = json.load(file)
                except ValueError as error:
                    raise ValueError(f"'{self._path}' is no JSON: {error}") from None
                yield from (self._object(record, None) for record in records)
                return
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise ValueError(
                        f"Line {number} of '{self._path}' is no JSON: {error}"
                    ) from None
                yield self._object(record, number)

    def _object(self, record: Any, line: int | None) -> dict[str, Any]:
        if not isinstance(record, dict):
            place = f"Line {line} of" if line else "A record in"
            raise ValueError(
                f'{place} \'{self._path}\' is no object such as {{"id": ..., "text": ...}}'
            )
        return record

    def _rows(self, file: TextIO) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        tabs = self._suffix == ".tsv"
        # Tab-separated files are written with and without quotes: a field in quotes loses them, any
        # other quotation mark is one.
        rows = (
            csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if tabs
            else csv.reader(file, strict=True)
        )
        names = [unquoted(name) if tabs else name for name in next(rows, [])]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"The column '{repeated[0]}' of '{self._path}' occurs twice")
        try:
            for row in rows:
                if row and len(row) != len(names):
                    raise ValueError(
                        f"Line {rows.line_num} of '{self._path}' has {len(row)} fields, and the "
                        f"first line names {len(names)}"
                    )
                if row:
                    fields = map(unquoted, row) if tabs else row
                    yield dict(zip(names, fields, strict=True))
        except csv.Error as error:
            raise ValueError(f"Line {rows.line_num} of '{self._path}': {error}") from None


class DocumentFile(RecordFile):
    """Documents of a `RecordFile`.

    Args:
        path: the file.
        id_column, text_column: columns that become `id` and `text`; with `id_column=None` documents
            are numbered, "0", "1", ...

    Raises:
        ValueError: besides those of `RecordFile`: if the first record lacks a column.
    """

    def __init__(self, path: Path, id_column: str | None = "id", text_column: str = "text") -> None:
        super().__init__(path)
        self._id, self._text = id_column, text_column
        check_columns(str(path), self.columns, id_column, text_column)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(self._records()):
            yield renamed(record, self._id, self._text, number)


def check_columns(name: str, columns: list[str], id_column: str | None, text_column: str) -> None:
    """Raise ValueError if a source of documents lacks the column of ids or texts."""
    for column, option in ((id_column, "--id-column"), (text_column, "--text-column")):
        if column is not None and column not in columns:
            raise ValueError(
                f"There is no column '{column}' in '{name}': there are {', '.join(columns)}; "
                f"name one with {option}"
            )


def unquoted(field: str) -> str:
    """A field of a tab-separated file without the quotes around it.

    >>> unquoted('"so ""called"" words"'), unquoted('"so" and "so"')
    ('so "called" words', '"so" and "so"')
    """
    if len(field) < 2 or not (field[0] == field[-1] == '"'):
        return field
    inside = field[1:-1]
    return field if '"' in inside.replace('""', "") else inside.replace('""', '"')


def renamed(
    record: dict[str, Any], id_column: str | None, text_column: str, number: int
) -> dict[str, Any]:
    """A record with an `id` and a `text`; a column that would be overwritten is refused."""
    result: dict[str, Any] = {
        "id": str(number) if id_column is None else record.get(id_column),
        "text": record.get(text_column),
    }
    for name, value in record.items():
        if name in (id_column, text_column):
            continue
        if name in result:
            raise ValueError(
                f"There is a column '{name}' besides the one that is to become it: rename it"
            )
        result[name] = value
    return result


class DocumentDataset:
    """Records of a data set on the Hub, or of one saved by `Dataset.save_to_disk`.

    Raises:
        FileNotFoundError: if it cannot be had.
        ValueError: if it lacks a column or the split.
    """

    def __init__(
        self,
        name: str,
        id_column: str | None = "id",
        text_column: str = "text",
        split: str = "train",
        config: str | None = None,
    ) -> None:
        self._id, self._text = id_column, text_column
        self._dataset = open_dataset(name, split, config)
        check_columns(name, self._dataset.column_names, id_column, text_column)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(self._dataset):
            yield renamed(record, self._id, self._text, number)


def open_dataset(
    name: str, split: str | None = None, config: str | None = None
) -> datasets.Dataset:
    """A data set on the Hub, or one saved by `Dataset.save_to_disk`; of no split named, all.

    Raises:
        FileNotFoundError: if it cannot be had.
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
        raise ValueError(f"The data set '{name}' has no split '{split}'") from None
    except ValueError as error:
        raise ValueError(f"The data set '{name}': {str(error).splitlines()[0]}") from None
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise FileNotFoundError(
            f"'{name}' is neither a file or folder that can be read nor a data set on the Hub that "
            f"can be reached ({type(error).__name__})"
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
) -> DocumentFile | DocumentDataset:
    """Documents of a file, a saved data set's folder, or a data set on the Hub."""
    local = is_local(source, bare_ids=True, file_suffixes=FILE_SUFFIXES)
    if local and not Path(source).is_dir():
        return DocumentFile(Path(source), id_column, text_column)
    return DocumentDataset(source, id_column, text_column, split, config)


__all__ = [
    "FILE_SUFFIXES",
    "KINDS",
    "DocumentDataset",
    "DocumentFile",
    "RecordFile",
    "open_dataset",
    "open_documents",
]
