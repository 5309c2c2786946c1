"""The documents of a knowledge base as a `datasets.Dataset`, in memory and in Parquet."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, IterableDataset

from gemkr_hf.index.storage import write_renamed

IN_MEMORY_BELOW = 256 * 2**20
"""Parquet up to this size (bytes) is read into memory; more is memory-mapped by `datasets`."""


def validated_dataset(
    documents: Iterable[Mapping[str, Any]] | Dataset | IterableDataset,
) -> Dataset:
    """Documents as a dataset with an `id` and a `text` in every row.

    Raises
    ------
    ValueError
        If there is no document, an `id` or `text` is missing, or an `id` occurs twice.
    """
    if isinstance(documents, Dataset):
        dataset = documents
    else:
        try:
            records = [dict(document) for document in documents]
            # A column may be given in some documents only, the first not among them.
            columns = dict.fromkeys(column for record in records for column in record)
            dataset = Dataset.from_dict(
                {column: [record.get(column) for record in records] for column in columns}
            )
        except (TypeError, ValueError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(
                f"Documents must be records such as {{'id': ..., 'text': ...}}: {error}"
            ) from None
    if len(dataset) == 0:
        raise ValueError("A knowledge base needs at least one document, got none")
    for column in ("id", "text"):
        if column not in dataset.column_names:
            raise ValueError(
                f"Every document needs the column '{column}': there are "
                f"{', '.join(dataset.column_names)}"
            )
    _check_rows(dataset)
    return dataset


def _check_rows(dataset: Dataset) -> None:
    seen: set[Any] = set()
    row = 0
    for batch in dataset.select_columns(["id", "text"]).iter(10_000):
        for identifier, text in zip(batch["id"], batch["text"], strict=True):
            if not isinstance(text, str):
                raise ValueError(
                    f"The text of document {row} (id {identifier!r}) is {text!r}, not words"
                )
            if identifier is None:
                raise ValueError(f"Document {row} has no id")
            if identifier in seen:
                raise ValueError(f"The id {identifier!r} occurs twice: ids must be unique")
            seen.add(identifier)
            row += 1


def write_documents(dataset: Dataset, path: Path) -> None:
    """Write Parquet under a temporary name and rename it."""
    write_renamed(path, lambda temporary: dataset.to_parquet(str(temporary)))


def read_documents(path: Path) -> Dataset:
    """Read Parquet.

    Raises
    ------
    ValueError
        If it is broken.
    """
    try:
        if path.stat().st_size <= IN_MEMORY_BELOW:
            # Leaves no copy in the user's cache, as `Dataset.from_parquet` would.
            return Dataset(pq.read_table(path))
        return Dataset.from_parquet(str(path))
    except pa.ArrowException as error:
        raise ValueError(f"'{path}' is broken: {error}") from None


__all__ = ["read_documents", "validated_dataset", "write_documents"]
