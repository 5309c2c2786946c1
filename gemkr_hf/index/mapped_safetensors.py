"""Safetensors files whose arrays are aligned for cache lines and memory-mapped."""

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"U64": "uint64", "I64": "int64", "U32": "uint32", "I32": "int32", "U8": "uint8"}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def write_safetensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write arrays in their order, the first one aligned to a cache line (64 bytes) of the file.

    The format allows padding after its header, but none between arrays. safetensors' own writer
    aligns to 8 bytes only: half of the bit vectors' lines would then span two cache lines.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype.name],
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
    """Memory-map a safetensors file. (safetensors' own NumPy reader copies every array.)

    Returns:
        metadata: metadata of the file's header.
        arrays: read-only views of the file, by name.

    Raises:
        ValueError: if the file is truncated or not a valid safetensors file.
    """
    invalid = ValueError(f"'{path}' is truncated or not a valid safetensors file")
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            raise invalid from None
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        arrays = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            count = math.prod(entry["shape"])
            if not 0 <= start <= end or end - start != count * dtype.itemsize:
                raise invalid
            array = np.frombuffer(data, dtype, count, offset=8 + size + start)
            arrays[name] = array.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise invalid from None
    return metadata, arrays


__all__ = ["map_safetensors", "write_safetensors"]
