"""Files of an index: a safetensors file for each shard, and a JSON header that names them.

A shard's file never changes: its name contains a digest of its content. Removed documents are
recorded in a file of their own. Saving over another index therefore only adds files until the new
header replaces the old one, in one step.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.index.mapped_safetensors import map_safetensors, write_safetensors
from gemkr_hf.index.shard import DTYPES, REMOVED_DTYPES, Shard
from gemkr_hf.utils.io import (
    atomic_copy,
    atomic_file,
    check_file,
    file_record,
    read_json_header,
    recorded_name,
    write_json_header,
)

HEADER_FILE = "index.json"
FORMAT, FORMAT_VERSION = "gemkr-fm-index", 3


@dataclass(frozen=True)
class StoredFile:
    """A file in a folder, with its record in a header: name, counts, size and checksum."""

    folder: Path
    record: Mapping[str, Any]

    def exists(self) -> bool:
        """Whether the file still exists."""
        return (self.folder / self.record["file"]).is_file()

    def put(self, folder: Path) -> Mapping[str, Any]:
        """Copy the file to another folder, unless it is there; return its record."""
        atomic_copy(self.folder / self.record["file"], folder / self.record["file"])
        return self.record


def read_header(folder: Path) -> dict[str, Any]:
    """Read the header of an index.

    Raises:
        FileNotFoundError: if there is no index.
        ValueError: if the header is broken or of another version.
    """
    return read_json_header(folder / HEADER_FILE, FORMAT, FORMAT_VERSION, "FM-index")


def write_header(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the header of an index, atomically."""
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **record}
    write_json_header(folder / HEADER_FILE, header)


def store_shard(shard: Shard, folder: Path, list_threshold: int) -> StoredFile:
    """Write a shard's file."""
    arrays = shard.arrays(list_threshold)
    counts = {"num_documents": shard.num_documents, "num_tokens": shard.num_tokens}
    return _store("shard", arrays, folder, {}, counts)


def store_removed(shard: Shard, folder: Path, shard_identity: str) -> StoredFile:
    """Write the file that records a shard's removed documents."""
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
    digest = hashlib.sha256(metadata.get("shard", "").encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    identity = digest.hexdigest()[:32]
    path = folder / f"{kind}-{identity[:12]}.safetensors"
    with atomic_file(path) as temporary:
        write_safetensors(temporary, arrays, {"identity": identity, **metadata})
    return StoredFile(
        folder, {"file": path.name, "identity": identity, **counts, **file_record(path)}
    )


def read_stored(
    folder: Path, record: Any, kind: str, verify: bool | None, shard_identity: str | None = None
) -> dict[str, NDArray[Any]]:
    """Memory-map the arrays of a file, and check their names and dtypes.

    Args:
        folder: folder of the index.
        record: record of the file, from the header.
        kind: "shard" or "removed".
        verify: see `check_file`.
        shard_identity: identity of the shard that the removed documents belong to.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is truncated, changed, or not the file that the record describes.
    """
    dtypes = {"shard": DTYPES, "removed": REMOVED_DTYPES}[kind]
    name = recorded_name(record, f"The index in '{folder}'")
    counts = ("num_documents", "num_tokens")
    if not all(isinstance(record.get(count), int) and record[count] >= 0 for count in counts):
        raise ValueError(f"The index in '{folder}' is corrupt: its header has no counts of {name}")
    path = folder / name
    check_file(path, record, verify)
    metadata, arrays = map_safetensors(path)
    if metadata.get("identity") != record.get("identity") or (
        shard_identity is not None and metadata.get("shard") != shard_identity
    ):
        raise ValueError(
            f"The files in '{folder}' belong to two indexes: {name} is not that of the header"
        )
    for array, dtype in dtypes.items():
        if array not in arrays or arrays[array].dtype != dtype:
            raise ValueError(f"'{path}' is corrupt: the array '{array}' is missing")
    return arrays


def stored_files(records: Iterable[Mapping[str, Any]], header: str = "A header") -> list[str]:
    """Names of all files that records of shards name.

    Raises:
        ValueError: if a record names none, or one in another folder.
    """
    names = []
    for record in records:
        names.append(recorded_name(record, header))
        if record.get("removed"):
            names.append(recorded_name(record["removed"], header))
    return names


__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER_FILE",
    "StoredFile",
    "read_header",
    "read_stored",
    "store_removed",
    "store_shard",
    "stored_files",
    "write_header",
]
