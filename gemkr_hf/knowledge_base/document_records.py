"""The records of a knowledge base: documents, their duplicates, and the ids of both."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from gemkr_hf.knowledge_base.document_tables import PRIMARY, ROW


class Records:
    """Documents by row and by id; the base class of `KnowledgeBase`.

    Args:
        dataset: one row per document, including removed ones; None if loaded without documents.
        duplicates: records whose text is that of an earlier document, with its row (`ROW`) and
            whether they represent it since the first record was removed (`PRIMARY`); None if there
            are none.
        removed: int64[n], rows of removed documents, sorted.
    """

    def __init__(
        self, dataset: Dataset | None, duplicates: pa.Table | None, removed: NDArray[np.int64]
    ) -> None:
        self._dataset = dataset
        self.duplicates = duplicates if duplicates is not None and len(duplicates) else None
        self.removed = removed
        self._primaries: dict[int, dict[str, Any]] = {}
        if self.duplicates is not None:
            for record in self.duplicates.filter(self.duplicates.column(PRIMARY)).to_pylist():
                row, _ = record.pop(ROW), record.pop(PRIMARY)
                self._primaries[row] = record

    @property
    def has_documents(self) -> bool:
        """Whether documents were loaded, not only the index of their tokens."""
        return self._dataset is not None

    @property
    def dataset(self) -> Dataset:
        """One row per document, including removed ones.

        Raises:
            ValueError: if the knowledge base was loaded without documents.
        """
        if self._dataset is None:
            raise ValueError(
                "This knowledge base was loaded without its documents: load it with documents=True"
            )
        return self._dataset

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self._primaries.get(row) or self.dataset[row]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        removed = set(self.removed.tolist())
        for row, document in enumerate(self.dataset):
            if row not in removed:
                yield self._primaries.get(row) or document

    def live_rows(self) -> NDArray[np.int64]:
        """Rows of the documents that are not removed, int64[n]."""
        return np.setdiff1d(np.arange(len(self.dataset)), self.removed)

    @property
    def documents(self) -> Dataset:
        """The documents as a `datasets.Dataset`, each with its first remaining id.

        Removed documents are left out: after `remove`, its rows differ from those of `kb[row]`
        until `compact`.
        """
        dataset = self.dataset
        if self._primaries:
            table = pa.Table.from_pylist(
                [self._primaries.get(row) or document for row, document in enumerate(dataset)],
                schema=dataset.features.arrow_schema,
            )
            dataset = Dataset(table)
        return dataset.select(self.live_rows()) if len(self.removed) else dataset

    def ids(self, row: int) -> list[Any]:
        """All ids of a document; the first is that of `kb[row]`."""
        first = self[row]["id"]
        if self.duplicates is None:
            return [first]
        own = self.duplicates.filter(pc.equal(self.duplicates.column(ROW), int(row))).column("id")
        return [first, *(other for other in own.to_pylist() if other != first)]

    def further_ids(self) -> dict[str, str]:
        """First id of the document for each further id, as strings."""
        duplicates = self._duplicate_ids()
        if not duplicates:
            return {}
        rows = sorted({row for _, row in duplicates})
        first = dict(zip(rows, self.dataset.select(rows)["id"], strict=True))
        first |= {row: record["id"] for row, record in self._primaries.items()}
        return {str(name): str(first[row]) for name, row in duplicates if name != first[row]}

    def row_ids(self) -> dict[Any, int]:
        """Row of the document for each id."""
        return self._rows

    @cached_property
    def _rows(self) -> dict[Any, int]:
        hidden, ids = set(self._hidden_rows().tolist()), enumerate(self.dataset["id"])
        own = {name: row for row, name in ids if row not in hidden}
        return own | dict(self._duplicate_ids())

    def rows_of(self, identifiers: Sequence[Any]) -> NDArray[np.int64]:
        """Rows of many documents, in one pass over all ids.

        Args:
            identifiers: n ids, compared as strings: 7 is "7".

        Returns:
            int64[n]: -1 for unknown ids.
        """
        names = [str(identifier) for identifier in identifiers]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        wanted = pa.array(list(numbers), pa.string())
        rows = np.full(len(numbers), -1, dtype=np.int64)
        hidden, first = self._hidden_rows(), 0
        for table in self.dataset.select_columns("id").with_format("arrow").iter(100_000):
            matches = pc.index_in(table.column("id").cast(pa.string()), value_set=wanted)
            own = np.flatnonzero(matches.is_valid().to_numpy()) + first
            kept = ~np.isin(own, hidden)
            rows[matches.drop_null().to_numpy()[kept]] = own[kept]
            first += len(table)
        for name, row in self._duplicate_ids():
            if str(name) in numbers:
                rows[numbers[str(name)]] = row
        return rows[np.array([numbers[name] for name in names], dtype=np.int64)]

    def without(self, identifiers: set[Any]) -> tuple[set[int], pa.Table | None]:
        """Remove records by their ids.

        Returns:
            rows: rows of the documents that have no record left.
            duplicates: the remaining duplicates; one represents each document whose first record
                was removed.
        """
        known = self.row_ids()
        dead = {known[identifier] for identifier in identifiers}
        if self.duplicates is None:
            return dead, None
        ids = self.duplicates.column("id").to_pylist()
        kept = pa.array([name not in identifiers for name in ids], pa.bool_())
        duplicates = self.duplicates.filter(kept)
        rows = duplicates.column(ROW).to_pylist()
        primary = duplicates.column(PRIMARY).to_pylist()
        for row in list(dead):
            if self[row]["id"] not in identifiers:
                dead.discard(row)
            elif row in rows:
                primary[rows.index(row)] = True
                dead.discard(row)
        column = duplicates.column_names.index(PRIMARY)
        return dead, duplicates.set_column(column, PRIMARY, pa.array(primary, pa.bool_()))

    def _duplicate_ids(self) -> list[tuple[Any, int]]:
        if self.duplicates is None:
            return []
        names, rows = (self.duplicates.column(name).to_pylist() for name in ("id", ROW))
        return list(zip(names, rows, strict=True))

    def _hidden_rows(self) -> NDArray[np.int64]:
        """Rows whose own id is no longer that of a document."""
        return np.array(sorted({*self._primaries, *self.removed.tolist()}), dtype=np.int64)


__all__ = ["Records"]
