"""Files of a checkpoint: found in a folder or on the Hub, and replaced only when complete."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

_WHERE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def split_location(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keyword arguments into those that say where a file lies, and the others."""
    where = {key: options[key] for key in _WHERE if options.get(key) is not None}
    return where, {key: value for key, value in options.items() if key not in _WHERE}


def find_file(folder: str | os.PathLike, name: str, where: dict[str, Any]) -> str | None:
    """The path of a checkpoint's file, fetched from the Hub if need be; None if it has none."""
    return cached_file(str(folder), name, **where, _raise_exceptions_for_missing_entries=False)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to, and rename it to ``path`` when that went well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    with replace_file(path) as partial:
        partial.write_bytes(text.encode())  # line breaks as they are


def write_json(path: Path, content: Any) -> None:
    """Write JSON as a whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The settings in a JSON file.

    Raises:
        ValueError: if it is damaged or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON's and UTF-8's are of it
        raise ValueError(f"{path} is no JSON, or a damaged file: {error}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings, but a {type(content).__name__}.")
    return content


__all__ = ["find_file", "read_json", "replace_file", "split_location", "write_json", "write_text"]
