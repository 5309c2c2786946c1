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
from gemkr_hf.knowledge_base.storage import (
    HEADER_FILE,
    Selection,
    check_files,
    check_target,
    counts,
    move_in,
    write_header,
    write_tokenizer,
)
from gemkr_hf.knowledge_base.tokenization import TokenizerIdentity
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
    """Write a knowledge base to a folder; see `KnowledgeBase.save_pretrained`."""
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
    saved, index, duplicates = knowledge_base.saved, knowledge_base.index, knowledge_base.duplicates
    parts = [stored.put(folder) for stored in takewhile(StoredFile.exists, saved.documents)]
    rows = sum(part["num_rows"] for part in parts)
    # One file per shard, so that a shard can be downloaded with its documents only.
    for last in index.first_rows[1:].tolist():
        if last > rows or not parts:
            table = knowledge_base.dataset.select(range(rows, last)).with_format("arrow")[:]
            parts.append(write_table(table, folder, f"documents-{len(parts):05d}"))
            rows = last
    source, tokenizer_files = saved.tokenizer_folder, saved.tokenizer_files
    if source and tokenizer_files and all((source / name).is_file() for name in tokenizer_files):
        for name in tokenizer_files:
            atomic_copy(source / name, folder / name)
    elif knowledge_base.has_tokenizer:
        tokenizer, fingerprint = knowledge_base.tokenizer, knowledge_base.tokenizer_fingerprint
        tokenizer_files = write_tokenizer(tokenizer, fingerprint, folder)
    header = {
        "num_documents": len(knowledge_base),
        "num_tokens": index.num_tokens,
        "tokenizer": asdict(knowledge_base.tokenizer_identity),
        "tokenizer_files": tokenizer_files,
        "documents": parts,
        "duplicates": duplicates and write_table(duplicates, folder, "duplicates"),
        "index": index.store(folder),
    }
    write_header(folder, header)
    return header


def load(
    cls: type[KnowledgeBase],
    folder: Path,
    selection: Selection,
    backend: str,
    verify: bool | None,
    threads: int | None,
) -> KnowledgeBase:
    """Load the selected part of a knowledge base; see `KnowledgeBase.from_pretrained`."""
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


__all__ = ["SavedFiles", "load", "save", "write_files"]
