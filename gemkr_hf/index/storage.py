"""An index on disk: arrays in safetensors, a JSON header beside them; no pickle.

``index.safetensors`` holds the arrays and, in its own header, the identity of the index.
``index.json`` holds format, version, counts, that identity, size and checksum of the file. A load
reads the headers and maps the rest.
"""

import hashlib
import json
import math
import mmap
import uuid
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from gemkr_hf.index.bits import LINE_BITS

INDEX_FILE, HEADER_FILE = "index.safetensors", "index.json"
FORMAT, FORMAT_VERSION = "gemkr-fm-index", 1
VERIFY_BELOW = 64 * 2**20
"""Files up to this size (bytes) are compared with their checksum whenever they are loaded."""

DTYPES: dict[str, type[np.generic]] = {
    "levels": np.uint64,
    "zeros": np.int64,
    "counts": np.int64,
    "shifts": np.int64,
    "alphabet": np.int32,
    "same_document": np.uint64,
    "marks": np.uint64,
    "samples": np.uint32,
    "end_rows": np.uint32,
    "starts": np.int64,
}
_CODES = {"U64": np.uint64, "I64": np.int64, "U32": np.uint32, "I32": np.int32}


def save_index(
    folder: str | PathLike[str], arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]
) -> None:
    """Write both files of an index into a folder, the header last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(arrays)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_renamed(
        folder / INDEX_FILE,
        lambda path: save_file(contiguous, path, metadata={"identity": identity}),
    )
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **header,
        "identity": identity,
        "file": file_record(folder / INDEX_FILE),
    }
    write_json(folder / HEADER_FILE, record)


def load_index(
    folder: str | PathLike[str], verify: bool | None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and memory-mapped, read-only arrays; see `FMIndex.load` for the errors."""
    folder = Path(folder)
    header = read_json(folder / HEADER_FILE, FORMAT, FORMAT_VERSION, "FM-index")
    counts = ("num_documents", "num_tokens", "vocab_size", "sample_rate")
    if not all(isinstance(header.get(name), int) and header[name] >= 0 for name in counts):
        raise ValueError(f"The index in '{folder}' is corrupt: {HEADER_FILE} lacks a count")
    check_file(folder / INDEX_FILE, header.get("file"), verify)
    metadata, arrays = map_safetensors(folder / INDEX_FILE)
    if metadata.get("identity") != header.get("identity"):
        raise ValueError(
            f"The index in '{folder}' is mixed from two: {INDEX_FILE} and {HEADER_FILE} do not "
            "belong together"
        )
    for name, dtype in DTYPES.items():
        if name not in arrays or arrays[name].dtype != dtype:
            raise ValueError(f"The index in '{folder}' is corrupt: array '{name}' is missing")
    _check_shapes(folder, header, arrays)
    return header, {name: arrays[name] for name in DTYPES}


def _check_shapes(folder: Path, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """That no kernel reads outside of its arrays: every size and every base is what it must be."""
    rows = header["num_tokens"] + header["num_documents"]
    documents, sigma, lines = (
        header["num_documents"],
        len(arrays["alphabet"]),
        rows // LINE_BITS + 1,
    )
    depth = max(1, sigma.bit_length())
    shapes = {
        "levels": (depth, lines, 8),
        "zeros": (depth,),
        "counts": (sigma + 2,),
        "shifts": (sigma + 1,),
        "alphabet": (sigma,),
        "same_document": (lines, 8),
        "marks": (lines, 8),
        "samples": arrays["samples"].shape,
        "end_rows": (documents,),
        "starts": (documents + 1,),
    }
    alphabet, starts = arrays["alphabet"], arrays["starts"]
    sound = (
        all(arrays[name].shape == shape for name, shape in shapes.items())
        and header["sample_rate"] >= 1
        and bool((np.diff(arrays["counts"]) >= 0).all())
        and (arrays["counts"][0], arrays["counts"][-1]) == (0, rows)
        and bool(((arrays["zeros"] >= 0) & (arrays["zeros"] <= rows)).all())
        and bool((np.diff(alphabet) > 0).all())
        and (sigma == 0 or 0 <= alphabet[0] <= alphabet[-1] < header["vocab_size"])
        and (starts[0], starts[-1]) == (0, rows)
        and bool((np.diff(starts) > 0).all())
        and (documents == 0 or int(arrays["end_rows"].max()) < rows)
    )
    if not sound:
        raise ValueError(f"The index in '{folder}' is corrupt: its arrays do not fit together")


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
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON header."""
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
    return record


def file_record(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, as headers keep them."""
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def check_file(path: Path, record: Any, verify: bool | None) -> None:
    """Compare a file with its header's record: the size always, the checksum as `verify` says.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, cut short or changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"'{path}' is missing: the folder is not complete")
    if not isinstance(record, dict) or path.stat().st_size != record.get("bytes"):
        raise ValueError(f"'{path}' is cut short or was replaced: its size is not its header's")
    if verify is None:
        verify = path.stat().st_size <= VERIFY_BELOW
    if verify and _sha256(path) != record.get("sha256"):
        raise ValueError(f"'{path}' was changed: its checksum is not its header's")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        return digest.hexdigest()


def _identity(arrays: Mapping[str, NDArray[Any]]) -> str:
    """What tells two indexes apart without reading their large arrays."""
    digest = hashlib.sha256()
    for name in ("alphabet", "counts", "starts", "end_rows"):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()[:32]


__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER_FILE",
    "INDEX_FILE",
    "check_file",
    "file_record",
    "load_index",
    "map_safetensors",
    "read_json",
    "save_index",
    "write_json",
    "write_renamed",
]
