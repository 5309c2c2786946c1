"""Whether the weights of a checkpoint are still those that a run was made with."""

import hashlib
import json
from pathlib import Path

_BEGINNING = 256
"""Bytes read of each tensor: training changes them, and 7 billion weights are known in a second."""


def weights_digest(place: str) -> str | None:
    """A digest of a checkpoint's weights, from the beginning of each tensor; of other files with
    weights, from their sizes.

    Args:
        place: folder; two of them with a comma between.

    Returns:
        None for what is not a folder on this machine.
    """
    folders = [Path(name.strip()) for name in place.split(",")]
    if not all(folder.is_dir() for folder in folders):
        return None
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".safetensors", ".bin", ".pt"}:
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            if path.suffix == ".safetensors":
                _add_tensors(digest, path)
    return digest.hexdigest()[:16]


def _add_tensors(digest: "hashlib._Hash", path: Path) -> None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                begin, end = tensor["data_offsets"]
                file.seek(8 + length + begin)
                digest.update(file.read(min(_BEGINNING, end - begin)))


__all__ = ["weights_digest"]
