"""Tokenize records and group them into parts for shards, without duplicates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from gemkr_hf.knowledge_base.digest_table import DigestTable, digests
from gemkr_hf.knowledge_base.document_tables import ROW, Documents, record_batches
from gemkr_hf.knowledge_base.tokenization import encode_documents

Tokens = NDArray[np.int32]
Keys = NDArray[np.uint64]


@dataclass
class Part:
    """Documents of one shard.

    Attributes:
        tables: records of the documents.
        tokens: int32[length] of each document.
        duplicates: records whose text a document has already, with its row.
        num_records: number of documents and duplicates.
        num_tokens: number of tokens of the documents.
        text_keys, id_keys: digests of the documents' tokens, and of the ids of all records.
    """

    tables: list[pa.Table] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    duplicates: list[pa.Table] = field(default_factory=list)
    num_records: int = 0
    num_tokens: int = 0
    text_keys: list[Keys] = field(default_factory=list)
    id_keys: list[Keys] = field(default_factory=list)


class Collector:
    """Groups records into parts of at most ``shard_tokens`` tokens, and at least one document.

    Records with the same tokens become one document with several ids.

    Args:
        tokenizer: tokenizer of the index.
        shard_tokens: maximum number of tokens per part.
        first_row: row of the next document.
        indexed: returns the rows of indexed documents with these tokens, -1 for new ones.
        schema: required columns; by default those of the first documents.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        shard_tokens: int,
        first_row: int = 0,
        indexed: Callable[[list[Tokens]], NDArray[np.int64]] | None = None,
        schema: pa.Schema | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._shard_tokens = shard_tokens
        self._indexed = indexed
        self._schema = schema
        self._texts, self._ids = DigestTable(), DigestTable()
        self._next_row = first_row

    def register_ids(self, ids: list[Any]) -> None:
        """Register existing ids."""
        self.register(np.empty((0, 2), np.uint64), _id_keys(ids))

    def register(self, text_keys: Keys, id_keys: Keys) -> None:
        """Register documents that were collected earlier."""
        self._texts.insert(text_keys, self._next_row)
        self._ids.insert(id_keys, 0)
        self._next_row += len(text_keys)

    def parts(
        self,
        documents: Documents,
        skip: int = 0,
        on_batch: Callable[[pa.Table], None] | None = None,
    ) -> Iterator[Part]:
        """Iterate over the parts; there is at least one, and the last may be small.

        Args:
            documents: the records.
            skip: number of records to skip, which `register` was given.
            on_batch: called with every batch of records, including skipped ones.
        """
        part, seen = Part(), 0
        for table in record_batches(documents, self._schema):
            if on_batch is not None:
                on_batch(table)
            skipped = min(len(table), max(0, skip - seen))
            seen += len(table)
            table = table.slice(skipped)
            if len(table) == 0:
                continue
            encoded = encode_documents(table.column("text").to_pylist(), self._tokenizer)
            tokens = [np.array(ids, dtype=np.int32) for ids in encoded]
            ends = np.cumsum([len(ids) for ids in tokens])
            first = 0
            while first < len(table):
                before = int(ends[first - 1]) if first else 0
                room = self._shard_tokens - part.num_tokens + before
                last = int(np.searchsorted(ends, room, side="right"))
                if last <= first:
                    if part.tokens:
                        yield part
                        part = Part()
                        continue
                    last = first + 1
                self._add(part, table.slice(first, last - first), tokens[first:last])
                first = last
        yield part

    def _add(self, part: Part, table: pa.Table, tokens: list[Tokens]) -> None:
        ids = table.column("id").to_pylist()
        id_keys = _id_keys(ids)
        taken = np.flatnonzero(self._ids.insert(id_keys, 0) >= 0)
        if len(taken):
            raise ValueError(f"The id {ids[taken[0]]!r} occurs twice: ids must be unique")
        known = np.full(len(ids), -1, dtype=np.int64)
        if self._indexed is not None:
            known = self._indexed(tokens)
        text_keys = digests(array.tobytes() for array in tokens)
        unknown = np.flatnonzero(known < 0)
        known[unknown] = self._texts.insert(text_keys[unknown], self._next_row)
        self._next_row += int((known < 0).sum())
        new, repeated = np.flatnonzero(known < 0), np.flatnonzero(known >= 0)
        part.tables.append(table.take(new))
        part.tokens += [tokens[number] for number in new]
        part.num_tokens += sum(len(tokens[number]) for number in new)
        if len(repeated):
            rows = pa.array(known[repeated], pa.int64())
            part.duplicates.append(table.take(repeated).add_column(0, ROW, rows))
        part.num_records += len(table)
        part.text_keys.append(text_keys[new])
        part.id_keys.append(id_keys)


def _id_keys(ids: list[Any]) -> Keys:
    return digests(f"{type(identifier).__name__} {identifier}".encode() for identifier in ids)


__all__ = ["Collector", "Part"]
