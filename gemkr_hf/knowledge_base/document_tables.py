"""Documents as Arrow tables: conversion, checks, and Parquet files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from gemkr_hf.utils.io import atomic_file, file_record

Documents: TypeAlias = Iterable[Mapping[str, Any]] | Dataset | IterableDataset

_BATCH = 1000
# Parquet files up to this size (bytes) are read into memory; larger ones are memory-mapped.
_IN_MEMORY_BELOW = 256 * 2**20
ROW, PRIMARY = "_row", "_primary"
"""Columns of a table of duplicates: the document's row, and whether the record represents it."""


def number_of(documents: Documents) -> int | None:
    """Number of documents; None if unknown."""
    try:
        return len(documents)  # type: ignore[arg-type]
    except TypeError:
        return None


def record_batches(documents: Documents, known: pa.Schema | None = None) -> Iterator[pa.Table]:
    """Convert documents to checked tables of one schema, with an `id` and a `text` in every row.

    The columns are those of ``known``, or of the first thousand documents; a column that is empty
    there gets its type from the first value.
    """
    schema, row = known, 0
    for table in _tables(documents):
        if row == 0:
            _check_columns(table.column_names)
        if schema is None:
            schema = table.schema
        else:
            new = [name for name in table.column_names if name not in schema.names]
            if new:
                raise ValueError(
                    f"The knowledge base has no column '{new[0]}': it has {', '.join(schema.names)}"
                    if known is not None
                    else f"The column '{new[0]}' first occurs after document {row}: add it to the "
                    "first document, with None if it has no value"
                )
            table = _like(table, schema, row)
            schema = table.schema
        _check_rows(table, row)
        row += len(table)
        if len(table):
            yield table


def _tables(documents: Documents) -> Iterator[pa.Table]:
    if isinstance(documents, Dataset | IterableDataset):
        names = documents.column_names
        if names is not None:
            _check_columns(names)
        yield from documents.with_format("arrow").iter(_BATCH)
        return
    iterator, first_row = iter(documents), 0
    while records := list(islice(iterator, _BATCH)):
        for row, record in enumerate(records, start=first_row):
            if not isinstance(record, Mapping):
                raise ValueError(
                    "Documents must be records such as {'id': ..., 'text': ...}, and document "
                    f"{row} is {str(record)[:60]!r}"
                )
        # A column may occur in some documents only, and not in the first.
        columns = dict.fromkeys(column for record in records for column in record)
        try:
            yield pa.table(
                {column: [record.get(column) for record in records] for column in columns}
            )
        except UnicodeEncodeError as error:
            raise ValueError(
                f"A text after document {first_row} is not valid Unicode: {error}"
            ) from None
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ValueError(
                "Documents must be records such as {'id': ..., 'text': ...}, each column of one "
                f"type: {error}"
            ) from None
        first_row += len(records)


def _check_columns(names: list[str]) -> None:
    for column in ("id", "text"):
        if column not in names:
            raise ValueError(
                f"Every document needs the column '{column}', but they have {', '.join(names)}"
            )
    for column in (ROW, PRIMARY):
        if column in names:
            raise ValueError(f"The column name '{column}' is reserved: rename the column")


def _like(table: pa.Table, schema: pa.Schema, row: int) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        try:
            columns.append(column if pa.types.is_null(field.type) else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"The column '{field.name}' has another type after document {row}: {error}"
            ) from None
    return pa.table(columns, names=schema.names)


def join_tables(tables: list[pa.Table]) -> pa.Table:
    """Concatenate tables of `record_batches`."""
    return pa.concat_tables(tables, promote_options="default")


def _check_rows(table: pa.Table, first_row: int) -> None:
    ids, texts = table.column("id"), table.column("text")
    if _is_string(texts.type):
        wrong = pc.index(pc.is_null(texts), True).as_py()
    else:
        wrong = max(0, pc.index(pc.is_valid(texts), True).as_py())
    if wrong >= 0:
        identifier, value = (
            column[wrong].as_py() if len(column) else None for column in (ids, texts)
        )
        raise ValueError(
            f"The text of document {first_row + wrong} (id {identifier!r}) is {value!r}, not a "
            "string"
        )
    missing = pc.index(pc.is_null(ids), True).as_py()
    if missing >= 0:
        raise ValueError(f"Document {first_row + missing} has no id")
    if not (_is_string(ids.type) or pa.types.is_integer(ids.type)):
        value = ids[0].as_py() if len(ids) else None
        raise ValueError(
            f"The id of document {first_row} is {value!r}: ids must be strings or integers"
        )


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def write_table(table: pa.Table, folder: Path, name: str) -> dict[str, Any]:
    """Write a table as ``name-<digest>.parquet``; return the record of the file."""
    unnamed = folder / f".{name}.parquet"
    with atomic_file(unnamed) as temporary:
        pq.write_table(table, temporary)
    record = file_record(unnamed)
    path = folder / f"{name}-{record['sha256'][:12]}.parquet"
    unnamed.replace(path)
    return {"file": path.name, "num_rows": len(table), **record}


def read_dataset(path: Path) -> Dataset:
    """Read a Parquet file as a dataset.

    Raises:
        ValueError: if it is not valid.
    """
    if path.stat().st_size <= _IN_MEMORY_BELOW:
        # Writes no copy to the user's cache, as `Dataset.from_parquet` does.
        return Dataset(read_table(path))
    return read_table(path, Dataset.from_parquet)


def read_table(path: Path, read: Callable[[str], Any] = pq.read_table) -> Any:
    """Read a Parquet file into memory, as an Arrow table; errors as `read_dataset`."""
    try:
        return read(str(path))
    except pa.ArrowException as error:
        raise ValueError(f"'{path}' is not a valid Parquet file: {error}") from None


def with_primary(duplicates: pa.Table) -> pa.Table:
    """Add the column `PRIMARY` to a table of duplicates: none represents its document yet."""
    return duplicates.append_column(PRIMARY, pa.array([False] * len(duplicates), pa.bool_()))


def duplicates_of_rows(duplicates: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Keep the duplicates of some documents only, whose rows become 0, 1, ...

    Args:
        duplicates: with the columns `ROW` and `PRIMARY`.
        rows: int64[n], sorted.
    """
    old = duplicates.column(ROW).to_numpy()
    kept = np.isin(old, rows)
    new = pa.array(np.searchsorted(rows, old[kept]), pa.int64())
    column = duplicates.column_names.index(ROW)
    return duplicates.filter(pa.array(kept)).set_column(column, ROW, new)


__all__ = [
    "PRIMARY",
    "ROW",
    "Documents",
    "duplicates_of_rows",
    "join_tables",
    "number_of",
    "read_dataset",
    "read_table",
    "record_batches",
    "with_primary",
    "write_table",
]
