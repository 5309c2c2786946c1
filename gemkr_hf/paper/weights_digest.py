"""A digest of a checkpoint's weights, to notice that a checkpoint changed after a run."""

import hashlib
import json
from pathlib import Path

_PREFIX = 256
"""Bytes read of each tensor: training changes them, and 7 billion weights take a second."""


def weights_digest(checkpoint: str) -> str | None:
    """Return a digest of the first bytes of each tensor and of the sizes of weight files.

    Args:
        checkpoint: a folder, or two folders separated by a comma.

    Returns:
        None if it is not a local folder.
    """
    folders = [Path(name.strip()) for name in checkpoint.split(",")]
    if not all(folder.is_dir() for folder in folders):
        return None
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".safetensors", ".bin", ".pt"}:
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            if path.suffix == ".safetensors":
                with path.open("rb") as file:
                    length = int.from_bytes(file.read(8), "little")
                    header = json.loads(file.read(length))
                    header.pop("__metadata__", None)
                    for tensor in header.values():
                        begin, end = tensor["data_offsets"]
                        file.seek(8 + length + begin)
                        digest.update(file.read(min(_PREFIX, end - begin)))
    return digest.hexdigest()[:16]


__all__ = ["weights_digest"]
