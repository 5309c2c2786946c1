"""A knowledge base as a folder: a header, and the files that it names.

No file but the header ever changes: their names hold digests of their contents. Writing over an
older knowledge base therefore only adds files, until the new header takes the old one's place, in
one step; what only the old one named is then deleted.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from gemkr_hf.index.index_storage import stored_files
from gemkr_hf.utils.io import (
    atomic_copy,
    check_file,
    file_record,
    read_json_header,
    write_json_header,
)

HEADER_FILE = "knowledge_base.json"
FORMAT, FORMAT_VERSION = "gemkr-knowledge-base", 3


def read_header(folder: Path) -> dict[str, Any]:
    """The header of the knowledge base in a folder.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it is broken or of another version.
    """
    header = read_json_header(folder / HEADER_FILE, FORMAT, FORMAT_VERSION, "knowledge base")
    parts, records = header.get("documents"), header.get("index", {})
    if (
        not isinstance(parts, list)
        or not isinstance(records, dict)
        or not isinstance(records.get("shards"), list)
        or not isinstance(header.get("tokenizer_files", {}), dict)
    ):
        raise ValueError(f"'{folder / HEADER_FILE}' is broken: it names no documents or no index")
    for record in [*parts, header.get("duplicates") or {"file": "none"}]:
        name = record.get("file") if isinstance(record, dict) else None
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"'{folder / HEADER_FILE}' is broken: it names no documents")
    for name in header.get("tokenizer_files", {}):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"'{folder / HEADER_FILE}' is broken: it names '{name}'")
    return header


def write_header(folder: Path, content: Mapping[str, Any]) -> None:
    """Make a folder the knowledge base of this header, and delete what an older one left."""
    old: set[str] = set()
    if (folder / HEADER_FILE).is_file():
        try:
            old = named_files(read_header(folder))
        except (ValueError, KeyError, TypeError):
            old = set()  # of another version: nothing is known of its files
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    write_json_header(folder / HEADER_FILE, header)
    for name in old - named_files(header):
        (folder / name).unlink(missing_ok=True)
        if "/" in name and not any((folder / name).parent.iterdir()):
            (folder / name).parent.rmdir()


def named_files(header: Mapping[str, Any]) -> set[str]:
    """All files besides the header, relative to the folder."""
    names = {record["file"] for record in header["documents"]}
    names |= set(stored_files(header["index"]["shards"]))
    names |= set(header.get("tokenizer_files", {}))
    if header.get("duplicates"):
        names.add(header["duplicates"]["file"])
    return names


def counts(shards: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Documents and tokens of some shards, without what was removed from them."""
    totals = dict.fromkeys(("num_documents", "num_tokens"), 0)
    for record in shards:
        for name in totals:
            totals[name] += record[name] - (record.get("removed") or {}).get(name, 0)
    return totals


def check_target(target: Path) -> None:
    """Raise ValueError where no knowledge base can be written."""
    if target.is_file():
        raise ValueError(f"'{target}' is a file: a knowledge base is saved as a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / HEADER_FILE).is_file():
        raise ValueError(
            f"'{target}' holds something that is no knowledge base: name a new or an empty folder"
        )


def write_tokenizer(
    tokenizer: PreTrainedTokenizerBase, fingerprint: str, folder: Path
) -> dict[str, Any]:
    """Save the tokenizer beside the index; the records of its files by their names."""
    subfolder = f"tokenizer-{fingerprint[:12]}"
    (folder / subfolder).mkdir(exist_ok=True)
    name, tokenizer.name_or_path = tokenizer.name_or_path, ""
    try:
        tokenizer.save_pretrained(folder / subfolder)
    finally:
        tokenizer.name_or_path = name
    paths = sorted(path for path in (folder / subfolder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_record(path) for path in paths}


def copy_tokenizer(source: Path, records: Mapping[str, Any], target: Path) -> None:
    """Have a knowledge base's tokenizer in another folder too."""
    for name in records:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        atomic_copy(source / name, target / name)


def check_files(folder: Path, header: Mapping[str, Any], verify: bool | None) -> None:
    """Compare the files besides the index's with their records; errors as `check_file`."""
    for record in [*header["documents"], header.get("duplicates")]:
        if record is not None:
            check_file(folder / record["file"], record, verify)
    for name, record in header.get("tokenizer_files", {}).items():
        check_file(folder / name, record, verify)


def move_in(new: Path, target: Path) -> None:
    """Make the knowledge base in the folder ``new`` that in ``target``, in one step; ``new`` is
    gone then."""
    if not target.exists():
        new.replace(target)
        return
    header = read_header(new)
    for name in sorted(named_files(header)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).replace(target / name)
    content = {key: value for key, value in header.items() if not key.startswith("format")}
    write_header(target, content)
    shutil.rmtree(new)


__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER_FILE",
    "check_files",
    "check_target",
    "copy_tokenizer",
    "counts",
    "move_in",
    "named_files",
    "read_header",
    "write_header",
    "write_tokenizer",
]
