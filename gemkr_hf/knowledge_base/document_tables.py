"""Documents as Arrow tables: from what users have, checked, and in Parquet."""

from collections.abc import Iterable, Iterator, Mapping
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

BATCH = 1000
ROW, PRIMARY = "_row", "_primary"
"""Columns of the table of further ids: the document's row, and whether the record stands for it."""
IN_MEMORY_BELOW = 256 * 2**20
"""Parquet up to this size (bytes) is read into memory; more is memory-mapped by `datasets`."""


def number_of(documents: Documents) -> int | None:
    """How many there are, where that is known beforehand."""
    try:
        return len(documents)  # type: ignore[arg-type]
    except TypeError:
        return None


def record_batches(documents: Documents, known: pa.Schema | None = None) -> Iterator[pa.Table]:
    """Documents as checked tables of one schema, with an `id` and a `text` in every row.

    The columns are those of ``known``, or of the first thousand documents; a column that is empty
    there gets its kind where it is first filled.

    Raises:
        ValueError: if something is no document, or an `id` or `text` is missing.
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
                    else f"The column '{new[0]}' is first met behind document {row}: give it, if "
                    "only as None, in the first document"
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
        yield from documents.with_format("arrow").iter(BATCH)
        return
    iterator, first_row = iter(documents), 0
    while records := list(islice(iterator, BATCH)):
        for row, record in enumerate(records, start=first_row):
            if not isinstance(record, Mapping):
                raise ValueError(
                    "Documents must be records such as {'id': ..., 'text': ...}, and document "
                    f"{row} is {str(record)[:60]!r}"
                )
        # A column may be given in some documents only, the first not among them.
        columns = dict.fromkeys(column for record in records for column in record)
        try:
            yield pa.table(
                {column: [record.get(column) for record in records] for column in columns}
            )
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Behind document {first_row} a text is no Unicode (a lone surrogate): {error}"
            ) from None
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ValueError(
                "Documents must be records such as {'id': ..., 'text': ...}, each column of one "
                f"kind: {error}"
            ) from None
        first_row += len(records)


def _check_columns(names: Iterable[str]) -> None:
    names = list(names)
    for column in ("id", "text"):
        if column not in names:
            raise ValueError(
                f"Every document needs the column '{column}': there are {', '.join(names)}"
            )
    for column in (ROW, PRIMARY):
        if column in names:
            raise ValueError(f"The column '{column}' is the knowledge base's own: rename yours")


def _like(table: pa.Table, schema: pa.Schema, row: int) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        if pa.types.is_null(field.type):
            columns.append(table.column(field.name))
            continue
        try:
            columns.append(table.column(field.name).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"The column '{field.name}' is of another kind behind document {row}: {error}"
            ) from None
    return pa.table(columns, names=schema.names)


def join_tables(tables: list[pa.Table]) -> pa.Table:
    """Tables of `record_batches`, one behind the other."""
    return pa.concat_tables(tables, promote_options="default")


def _check_rows(table: pa.Table, first_row: int) -> None:
    ids, texts = table.column("id"), table.column("text")
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        wrong = 0 if len(texts) == 0 else _first(pc.is_valid(texts)) or 0
        value = texts[wrong].as_py() if len(texts) else None
        raise ValueError(
            f"The text of document {first_row + wrong} (id {_value(ids, wrong)!r}) is {value!r}, "
            "not words"
        )
    missing = _first(pc.is_null(texts))
    if missing is not None:
        raise ValueError(
            f"The text of document {first_row + missing} (id {_value(ids, missing)!r}) is None, "
            "not words"
        )
    missing = _first(pc.is_null(ids))
    if missing is not None:
        raise ValueError(f"Document {first_row + missing} has no id")
    kind = ids.type
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    ):
        raise ValueError(
            f"The id of document {first_row} is {_value(ids, 0)!r}: ids are texts or whole numbers"
        )


def _first(mask: pa.ChunkedArray) -> int | None:
    """The first row that is true."""
    found = pc.index(mask, True).as_py()
    return None if found < 0 else found


def _value(column: pa.ChunkedArray, row: int) -> Any:
    return column[row].as_py() if row < len(column) else None


def write_table(table: pa.Table, folder: Path, name: str) -> dict[str, Any]:
    """Write Parquet as ``name-<digest>.parquet``; its record."""
    unnamed = folder / f".{name}.parquet"
    with atomic_file(unnamed) as temporary:
        pq.write_table(table, temporary)
    record = file_record(unnamed)
    path = folder / f"{name}-{record['sha256'][:12]}.parquet"
    unnamed.replace(path)
    return {"file": path.name, "num_rows": len(table), **record}


def read_dataset(path: Path) -> Dataset:
    """Read Parquet.

    Raises:
        ValueError: if it is broken.
    """
    try:
        if path.stat().st_size <= IN_MEMORY_BELOW:
            # Leaves no copy in the user's cache, as `Dataset.from_parquet` would.
            return Dataset(pq.read_table(path))
        return Dataset.from_parquet(str(path))
    except pa.ArrowException as error:
        raise ValueError(f"'{path}' is broken: {error}") from None


def read_table(path: Path) -> pa.Table:
    """`read_dataset` of a small table."""
    try:
        return pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"'{path}' is broken: {error}") from None


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
    "BATCH",
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
