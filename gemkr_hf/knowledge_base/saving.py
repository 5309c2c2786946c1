"""Writing a knowledge base to a folder, loading it, and verifying what is there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import concatenate_datasets

from gemkr_hf.index.fm_index import FMIndex
from gemkr_hf.index.index_storage import StoredFile
from gemkr_hf.knowledge_base.document_tables import (
    duplicates_of_rows,
    read_dataset,
    read_table,
    write_table,
)
from gemkr_hf.knowledge_base.shard_selection import Selection
from gemkr_hf.knowledge_base.storage import (
    HEADER_FILE,
    check_files,
    check_target,
    counts,
    move_in,
    read_header,
    write_header,
    write_tokenizer,
)
from gemkr_hf.knowledge_base.tokenization import TokenizerIdentity, encode_documents
from gemkr_hf.utils.io import atomic_copy, file_lock

if TYPE_CHECKING:
    from gemkr_hf.knowledge_base.knowledge_base import KnowledgeBase


@dataclass(frozen=True)
class SavedFiles:
    """Files of a knowledge base that exist already and need not be written again.

    Attributes:
        folder: holds exactly this knowledge base; None if no folder does.
        documents: Parquet files of its first rows.
        tokenizer_folder: knowledge base folder that has the tokenizer; None if none has.
        tokenizer_files: records of the tokenizer's files by their paths in that folder.
    """

    folder: Path | None = None
    documents: tuple[StoredFile, ...] = ()
    tokenizer_folder: Path | None = None
    tokenizer_files: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, header: Mapping[str, Any]) -> SavedFiles:
        """All files that a header names."""
        documents = tuple(StoredFile(folder, record) for record in header["documents"])
        return cls(folder, documents, folder, header.get("tokenizer_files", {}))


def save(knowledge_base: KnowledgeBase, target: Path) -> SavedFiles:
    """Write a knowledge base to a folder, atomically; it replaces an older one there.

    Raises:
        ValueError: if the folder holds anything else.
    """
    with file_lock(target):
        check_target(target)
        if (target / HEADER_FILE).is_file():
            header = write_files(knowledge_base, target)
        else:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
                new = Path(name, "new")
                new.mkdir()
                header = write_files(knowledge_base, new)
                move_in(new, target)
    knowledge_base.index.stored_in(target, header["index"])
    return SavedFiles.of(target, header)


def write_files(knowledge_base: KnowledgeBase, folder: Path) -> dict[str, Any]:
    """Write the files that are not in the folder yet, then the header; return the header."""
    saved, index, records = knowledge_base.saved, knowledge_base.index, knowledge_base.records
    parts = [stored.put(folder) for stored in takewhile(StoredFile.exists, saved.documents)]
    rows = sum(part["num_rows"] for part in parts)
    # One file per shard, so that a shard can be downloaded with its documents only.
    for last in index.first_rows[1:].tolist():
        if last > rows or not parts:
            table = records.dataset.select(range(rows, last)).with_format("arrow")[:]
            parts.append(write_table(table, folder, f"documents-{len(parts):05d}"))
            rows = last
    header = {
        "num_documents": len(knowledge_base),
        "num_tokens": index.num_tokens,
        "tokenizer": asdict(knowledge_base.tokenizer_identity),
        "tokenizer_files": _write_tokenizer(knowledge_base, folder),
        "documents": parts,
        "duplicates": (
            None
            if records.duplicates is None
            else write_table(records.duplicates, folder, "duplicates")
        ),
        "index": index.store(folder),
    }
    write_header(folder, header)
    return header


def _write_tokenizer(knowledge_base: KnowledgeBase, folder: Path) -> Mapping[str, Any]:
    saved = knowledge_base.saved
    source, records = saved.tokenizer_folder, saved.tokenizer_files
    if source is not None and records and all((source / name).is_file() for name in records):
        for name in records:
            atomic_copy(source / name, folder / name)
        return records
    if not knowledge_base.has_tokenizer:
        return {}
    return write_tokenizer(knowledge_base.tokenizer, knowledge_base.tokenizer_fingerprint, folder)


def load(
    cls: type[KnowledgeBase],
    folder: Path,
    selection: Selection,
    backend: str,
    verify: bool | None,
    threads: int | None,
) -> KnowledgeBase:
    """Load the selected part of a knowledge base; see `KnowledgeBase.from_pretrained`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is broken, or the files belong to two knowledge bases.
    """
    header, all_shards = selection.header, selection.kept is None
    try:
        identity = TokenizerIdentity(**header["tokenizer"])
    except (KeyError, TypeError):
        raise ValueError(f"'{folder / HEADER_FILE}' is broken: it has no tokenizer") from None
    check_files(folder, header, verify)
    record = header["index"] if all_shards else header["index"] | counts(header["index"]["shards"])
    index = FMIndex.from_record(folder, record, backend, verify, threads)
    saved, dataset, duplicates = SavedFiles.of(folder, header), None, None
    if header["documents"]:
        parts = [read_dataset(folder / part["file"]) for part in header["documents"]]
        dataset = parts[0] if len(parts) == 1 else concatenate_datasets(parts)
        if selection.in_parts is not None:
            dataset = dataset.select(selection.in_parts)
        number = header.get("num_documents") if all_shards else len(index)
        if len(dataset) != index.num_rows or number != len(index):
            raise ValueError(
                f"The files in '{folder}' belong to two knowledge bases: {len(dataset)} documents "
                f"and an index of {index.num_rows}"
            )
    if header.get("duplicates"):
        duplicates = read_table(folder / header["duplicates"]["file"])
        if selection.kept is not None:
            duplicates = duplicates_of_rows(duplicates, selection.kept)
    if not all_shards or dataset is None:
        stored = saved.documents if selection.in_parts is None else ()
        saved = SavedFiles(None, stored, folder, saved.tokenizer_files)
    return cls(dataset, index, identity, duplicates, saved=saved)


def verify(knowledge_base: KnowledgeBase, sample: int) -> None:
    """Check files, index and documents; see `KnowledgeBase.verify`."""
    index, records, folder = (
        knowledge_base.index, knowledge_base.records, knowledge_base.saved.folder,
    )  # fmt: skip
    if folder is not None:
        check_files(folder, read_header(folder), True)
    index.verify()
    if not (records.loaded and knowledge_base.has_tokenizer):
        return
    live = records.live_rows()
    rows = live[:: max(1, len(live) // sample)].tolist()
    texts = [records.dataset[row]["text"] for row in rows]
    for row, tokens in zip(rows, encode_documents(texts, knowledge_base.tokenizer), strict=True):
        if index.extract(row).tolist() != tokens:
            raise ValueError(
                f"The text of document {row} (id {records[row]['id']!r}) differs from the index: "
                "the documents or the tokenizer were replaced"
            )


__all__ = ["SavedFiles", "load", "save", "verify", "write_files"]
