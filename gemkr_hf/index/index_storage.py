"""An index on disk: a safetensors file for each shard, and a JSON record that names them.

A shard's file never changes: its name holds a digest of its content. What was removed from a shard
is a file of its own. Writing an index over another therefore only adds files, until the header that
names them is replaced, in one step.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.index.mapped_safetensors import map_safetensors, write_safetensors
from gemkr_hf.index.shard import DTYPES, REMOVED_DTYPES, Shard
from gemkr_hf.utils.io import atomic_copy, atomic_file, check_file, file_record

HEADER_FILE = "index.json"
FORMAT, FORMAT_VERSION = "gemkr-fm-index", 3


class StoredFile:
    """A file of arrays that stands somewhere on disk, with its record."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record

    def exists(self) -> bool:
        """Whether the file is still there."""
        return (self.folder / self.record["file"]).is_file()

    def moved(self, old: Path, new: Path) -> None:
        """The folder ``old`` has got another name."""
        if self.folder == old:
            self.folder = new

    def put(self, folder: Path) -> dict[str, Any]:
        """Have it in another folder too; its record."""
        atomic_copy(self.folder / self.record["file"], folder / self.record["file"])
        return self.record


def _digest(arrays: Mapping[str, NDArray[Any]], owner: str) -> str:
    digest = hashlib.sha256(owner.encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def store_shard(shard: Shard, folder: Path, list_threshold: int) -> StoredFile:
    """Write a shard's file."""
    arrays = shard.arrays(list_threshold)
    counts = {"num_documents": shard.num_documents, "num_tokens": shard.num_tokens}
    return _store("shard", arrays, folder, {}, counts)


def store_removed(shard: Shard, folder: Path, shard_identity: str) -> StoredFile:
    """Write what was removed from a shard."""
    documents = shard.removed.documents
    tokens = int(shard.lengths()[documents].sum())
    counts = {"num_documents": len(documents), "num_tokens": tokens}
    return _store("removed", shard.removed_arrays(), folder, {"shard": shard_identity}, counts)


def _store(
    kind: str,
    arrays: Mapping[str, NDArray[Any]],
    folder: Path,
    metadata: dict[str, str],
    counts: dict[str, int],
) -> StoredFile:
    identity = _digest(arrays, metadata.get("shard", ""))
    path = folder / f"{kind}-{identity[:12]}.safetensors"
    metadata = {"identity": identity, **metadata}
    with atomic_file(path) as temporary:
        write_safetensors(temporary, arrays, metadata)
    return StoredFile(
        folder, {"file": path.name, "identity": identity, **counts, **file_record(path)}
    )


def read_stored(
    folder: Path, record: Any, kind: str, verify: bool | None, shard_identity: str | None = None
) -> tuple[StoredFile, dict[str, NDArray[Any]]]:
    """A file's arrays, memory-mapped and of the right kinds.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, cut short, changed, or not the one
            that the record means.
    """
    names = {"shard": DTYPES, "removed": REMOVED_DTYPES}[kind]
    name = record.get("file") if isinstance(record, dict) else None
    counts = ("num_documents", "num_tokens")
    if (
        not isinstance(name, str)
        or Path(name).name != name
        or not all(isinstance(record.get(count), int) and record[count] >= 0 for count in counts)
    ):
        raise ValueError(f"The index in '{folder}' is corrupt: its header names no {kind} file")
    path = folder / name
    check_file(path, record, verify)
    metadata, arrays = map_safetensors(path)
    if metadata.get("identity") != record.get("identity") or (
        shard_identity is not None and metadata.get("shard") != shard_identity
    ):
        raise ValueError(
            f"The index in '{folder}' is mixed from two: {name} does not belong to its header"
        )
    for array, dtype in names.items():
        if array not in arrays or arrays[array].dtype != dtype:
            raise ValueError(f"'{path}' is corrupt: the array '{array}' is missing")
    return StoredFile(folder, record), arrays


def stored_files(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all files that the records of shards name."""
    names = []
    for record in records:
        names.append(record["file"])
        if record.get("removed"):
            names.append(record["removed"]["file"])
    return names


__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER_FILE",
    "StoredFile",
    "read_stored",
    "store_removed",
    "store_shard",
    "stored_files",
]
