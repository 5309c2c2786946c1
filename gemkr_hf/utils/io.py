"""Atomic writes, file locks, JSON files, and checksums.

A file or folder written here is either complete or absent: it gets a temporary name in the same
folder, reaches the disk, and is then renamed.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

VERIFY_BELOW = 64 * 2**20
"""Files up to this size (bytes) are compared with their checksum whenever they are loaded."""


# -- atomic writes ---------------------------------------------------------------------------------


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file that is complete or absent.

    Yields a temporary path in the same folder, with the same suffix; after the block, the file
    written there replaces ``path``. If the block raises, ``path`` stays as it was.

    Example:
        >>> with atomic_file(path) as temporary:  # doctest: +SKIP
        ...     torch.save(state, temporary)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        # Data reaches the disk before its name does: a header must not precede the files it names.
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file that is complete or absent."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a binary file that is complete or absent."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def atomic_copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a file, unless both paths are the same file."""
    if not (Path(target).exists() and Path(target).samefile(source)):
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder that is complete or absent.

    Yields an empty temporary folder beside ``path``, which replaces ``path`` after the block. If
    the block raises, ``path`` stays as it was. Other processes that write the same folder wait.

    Example:
        >>> with atomic_folder("model") as temporary:  # doctest: +SKIP
        ...     model.save_pretrained(temporary)
    """
    path = Path(path).resolve()
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    with file_lock(path):
        if old.exists() and not path.exists():  # interrupted between the two renames below
            old.rename(path)
        remove(new)
        new.mkdir(parents=True)
        try:
            yield new
            for file in new.rglob("*"):
                if not file.is_symlink():
                    _sync(file)
            remove(old)
            if path.exists():
                path.rename(old)
            new.rename(path)
            _sync(path.parent)
            remove(old)
        finally:
            remove(new)


def remove(path: str | os.PathLike[str]) -> None:
    """Delete a file or a folder, if it exists."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def file_lock(path: str | os.PathLike[str], timeout: float = -1) -> Iterator[None]:
    """Keep other processes and threads from writing the same file or folder.

    The lock is a file beside ``path``, deleted on release. It is reentrant: a thread that has it
    can take it again.

    Args:
        path: the file or folder that is written; it need not exist.
        timeout: seconds to wait for another process; 0 to fail at once, -1 for no limit.

    Raises:
        BlockingIOError: if another process holds the lock after ``timeout`` seconds.
    """
    from filelock import FileLock, Timeout  # the index's other uses of this module need no filelock

    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The folder of a mounted volume may be writable although its parent is not.
    folder = path if path.is_dir() and not os.access(path.parent, os.W_OK) else path.parent
    lock = FileLock(folder / f".{path.name}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise BlockingIOError(f"Another process is writing '{path}'") from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # A process that waits notices that the file is gone and creates a new one. Windows
            # refuses to delete an open file: it is then left behind.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- JSON ------------------------------------------------------------------------------------------


def write_json(path: str | os.PathLike[str], content: Any, **options: Any) -> None:
    """Write a JSON file with a line break at its end, atomically.

    Args:
        path: the file.
        content: what `json.dumps` takes.
        **options: for `json.dumps`; by default ``indent=2, ensure_ascii=False``.
    """
    options = {"indent": 2, "ensure_ascii": False, **options}
    atomic_write_text(path, json.dumps(content, **options) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{path}' is not valid JSON: {error}") from None


def write_json_header(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON header with a checksum of itself, atomically."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    write_json(path, {**content, "checksum": _checksum(content)})


def read_json_header(path: Path, format_name: str, version: int, kind: str) -> dict[str, Any]:
    """Read a JSON header, without its checksum, and check its format and version.

    Args:
        path: the file.
        format_name: required value of its ``format``.
        version: required value of its ``format_version``.
        kind: what the folder holds ("knowledge base"), for messages.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is not valid JSON, of another format or version, or was changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No {kind} found in '{path.parent}': {path.name} is missing")
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != format_name:
        raise ValueError(f"'{path}' is not a header of a {kind}")
    if record.get("format_version") != version:
        raise ValueError(
            f"The {kind} in '{path.parent}' has format version {record.get('format_version')}, but "
            f"this version of gemkr_hf reads version {version}: rebuild it"
        )
    return verified(record, path)


def verified(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the checksum of a record that `write_json_header` wrote, and return it without.

    Raises:
        ValueError: if the checksum differs.
    """
    content = {name: value for name, value in record.items() if name != "checksum"}
    if record.get("checksum") != _checksum(content):
        raise ValueError(f"'{path}' was changed: its checksum does not match")
    return content


def _checksum(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# -- checksums of files ----------------------------------------------------------------------------


def file_record(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file, as headers store them."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def recorded_name(record: Any, header: str = "A header") -> str:
    """The name of a file in its record, which a header names.

    Args:
        record: the record.
        header: the header, as the beginning of the message.

    Raises:
        ValueError: there is none, or it is a path to another folder.
    """
    name = record.get("file") if isinstance(record, dict) else None
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"{header} is corrupt: it names {name!r} instead of a file in its folder")
    return name


def check_file(path: Path, record: Any, verify: bool | None) -> None:
    """Compare a file with its `file_record`.

    Args:
        path: the file.
        record: its record. The size is always compared.
        verify: also compare the checksum; None: only of files up to `VERIFY_BELOW` bytes.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is truncated or was changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"'{path}' is missing: the folder is incomplete")
    if not isinstance(record, dict) or path.stat().st_size != record.get("bytes"):
        raise ValueError(f"'{path}' is truncated or was replaced: its size differs from its header")
    if verify is None:
        verify = path.stat().st_size <= VERIFY_BELOW
    if verify and sha256(path) != record.get("sha256"):
        raise ValueError(f"'{path}' was changed: its checksum differs from its header")


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


__all__ = [
    "VERIFY_BELOW",
    "atomic_copy",
    "atomic_file",
    "atomic_folder",
    "atomic_write_bytes",
    "atomic_write_text",
    "check_file",
    "file_lock",
    "file_record",
    "read_json",
    "read_json_header",
    "recorded_name",
    "remove",
    "sha256",
    "verified",
    "write_json",
    "write_json_header",
]
