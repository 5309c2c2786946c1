"""Files that are written whole or not at all: safetensors that can be mapped, JSON headers."""

import hashlib
import json
import math
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERIFY_BELOW = 64 * 2**20
"""Files up to this size (bytes) are compared with their checksum whenever they are loaded."""

_CODES = {"U64": "uint64", "I64": "int64", "U32": "uint32", "I32": "int32", "U8": "uint8"}
_NAMES = {name: code for code, name in _CODES.items()}


def write_safetensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write arrays so that the first begins on a cache line's border, also when it is mapped.

    The format allows no holes between arrays, but spaces behind its header; safetensors' own
    writer aligns to 8 bytes, and half of the bit vectors' lines would then lie in two cache lines.
    Arrays are written in their order.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            np.ascontiguousarray(array).tofile(file)


def map_safetensors(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Metadata and arrays of a safetensors file, memory-mapped.

    safetensors' own NumPy reader copies every array; the format is a length, a JSON header and the
    arrays' bytes, which NumPy can look at where they are.
    """
    broken = ValueError(f"'{path}' is cut short or no safetensors file")
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            raise broken from None
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        arrays = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            dtype = np.dtype(_CODES[entry["dtype"]])
            count = math.prod(entry["shape"])
            if not 0 <= start <= end or end - start != count * dtype.itemsize:
                raise broken
            array = np.frombuffer(data, dtype, count, offset=8 + size + start)
            arrays[name] = array.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise broken from None
    return metadata, arrays


def write_renamed(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file under a temporary name in the same folder, then rename it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            # A header must not reach the disk before the files that it names.
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def copy_renamed(source: Path, target: Path) -> None:
    """Copy a file, unless it is there already."""
    if not (target.exists() and target.samefile(source)):
        write_renamed(target, lambda temporary: shutil.copyfile(source, temporary))


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON header with a checksum of itself."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    record = {**content, "checksum": _checksum(content)}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_renamed(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path, format_name: str, version: int, what: str) -> dict[str, Any]:
    """Read a JSON header and check that it is of this format and of a version known here."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no {what} in '{path.parent}': {path.name} is missing")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"'{path}' is broken: it is no JSON") from None
    if not isinstance(record, dict) or record.get("format") != format_name:
        raise ValueError(f"'{path}' is no header of a {what}")
    if record.get("format_version") != version:
        raise ValueError(
            f"The {what} in '{path.parent}' has format version {record.get('format_version')}, and "
            f"this version of gemkr_hf reads version {version}: build it anew"
        )
    return checked(record, path)


def checked(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """What `write_json` wrote, without its checksum.

    Raises:
        ValueError: if the checksum is another one.
    """
    content = {name: value for name, value in record.items() if name != "checksum"}
    if record.get("checksum") != _checksum(content):
        raise ValueError(f"'{path}' was changed: its checksum is not its own")
    return content


def _checksum(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_record(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as headers keep them."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def check_file(path: Path, record: Any, verify: bool | None) -> None:
    """Compare a file with its header's record: the size always, the checksum as `verify` says.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, cut short or changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"'{path}' is missing: the folder is not complete")
    if not isinstance(record, dict) or path.stat().st_size != record.get("bytes"):
        raise ValueError(f"'{path}' is cut short or was replaced: its size is not its header's")
    if verify is None:
        verify = path.stat().st_size <= VERIFY_BELOW
    if verify and sha256(path) != record.get("sha256"):
        raise ValueError(f"'{path}' was changed: its checksum is not its header's")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


__all__ = [
    "VERIFY_BELOW",
    "check_file",
    "checked",
    "copy_renamed",
    "file_record",
    "map_safetensors",
    "read_json",
    "sha256",
    "sync_folder",
    "write_json",
    "write_renamed",
    "write_safetensors",
]
