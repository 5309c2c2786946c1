"""Atomic writes, locks, and JSON files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemkr_hf.utils.io import (
    atomic_copy,
    atomic_file,
    atomic_folder,
    atomic_write_bytes,
    atomic_write_text,
    file_lock,
    read_json,
    read_json_header,
    write_json,
    write_json_header,
)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_files_are_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    atomic_write_text(path, "first")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, path.suffix)
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    atomic_write_bytes(path, b"second")
    atomic_copy(path, tmp_path / "copy.txt")
    atomic_copy(path, path)
    assert path.read_text() == (tmp_path / "copy.txt").read_text() == "second"
    assert names(path.parent) == ["a.txt"]


def test_folders_are_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("first", "second"):
        with atomic_folder(path) as folder:
            assert not list(folder.iterdir())
            (folder / content).write_text(content)
        assert names(path) == [content]
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as folder:
        (folder / "third").write_text("half")
        raise ZeroDivisionError
    assert names(path) == ["second"]
    # Interrupted between the two renames of a replacement.
    path.rename(tmp_path / ".model.old")
    with pytest.raises(ZeroDivisionError), atomic_folder(path):
        raise ZeroDivisionError
    assert names(path) == ["second"]
    assert names(tmp_path) == ["model"]


def test_another_process_is_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "kb"
    code = (
        "import sys; from gemkr_hf.utils.io import file_lock; file_lock(sys.argv[1], 0).__enter__()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with file_lock(path), file_lock(path, timeout=0):
        other = subprocess.run(command, capture_output=True, text=True)
        assert f"BlockingIOError: Another process is writing '{path}'" in other.stderr
    assert names(tmp_path) == []
    assert subprocess.run(command).returncode == 0


def test_json_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": "é", "a": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "b": "é",\n  "a": 1\n}\n'
    assert read_json(path) == {"b": "é", "a": 1}
    write_json(path, {"b": "é", "a": 1}, indent=None, ensure_ascii=True, sort_keys=True)
    assert path.read_text() == '{"a": 1, "b": "\\u00e9"}\n'
    path.write_text("{")
    with pytest.raises(ValueError, match=r"a\.json' is not valid JSON"):
        read_json(path)


def test_headers_have_checksums(tmp_path: Path) -> None:
    path = tmp_path / "header.json"
    with pytest.raises(FileNotFoundError, match=r"No thing found in .*header\.json is missing"):
        read_json_header(path, "f", 2, "thing")
    record = {"format": "f", "format_version": 2, "count": 3}
    write_json_header(path, record)
    assert read_json_header(path, "f", 2, "thing") == record
    for name, version, message in (("g", 2, "not a header"), ("f", 3, "has format version 2")):
        with pytest.raises(ValueError, match=message):
            read_json_header(path, name, version, "thing")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"count": 4}))
    with pytest.raises(ValueError, match="was changed"):
        read_json_header(path, "f", 2, "thing")
