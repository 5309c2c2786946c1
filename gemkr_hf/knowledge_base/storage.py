"""Layout of a knowledge base folder: a header, and the files that it names.

Files other than the header never change: their names contain digests of their contents. Saving over
an older knowledge base therefore only adds files until the new header replaces the old one, in one
step; then the files that only the old header names are deleted.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from gemkr_hf.index.index_storage import stored_files
from gemkr_hf.utils.io import (
    check_file,
    file_record,
    read_json_header,
    recorded_name,
    write_json_header,
)

HEADER_FILE = "knowledge_base.json"
FORMAT, FORMAT_VERSION = "gemkr-knowledge-base", 3


def read_header(folder: Path) -> dict[str, Any]:
    """Read and check the header of the knowledge base in a folder.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is broken or of another version.
    """
    path = folder / HEADER_FILE
    header = read_json_header(path, FORMAT, FORMAT_VERSION, "knowledge base")
    parts, index = header.get("documents"), header.get("index", {})
    files = header.get("tokenizer_files", {})
    if not (
        isinstance(parts, list)
        and isinstance(index, dict)
        and isinstance(index.get("shards"), list)
        and isinstance(files, dict)
    ):
        raise ValueError(f"'{path}' is broken: it names no documents or no index")
    for record in [*parts, *filter(None, [header.get("duplicates")])]:
        recorded_name(record, f"'{path}'")
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"'{path}' is broken: it names '{name}'")
    stored_files(index["shards"], f"'{path}'")  # checks their names
    return header


def write_header(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the header, then delete the files that only an older header named."""
    old: set[str] = set()
    # The files of another version are unknown.
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        old = named_files(read_header(folder))
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    write_json_header(folder / HEADER_FILE, header)
    for name in old - named_files(header):
        (folder / name).unlink(missing_ok=True)
        if "/" in name and not any((folder / name).parent.iterdir()):
            (folder / name).parent.rmdir()


def named_files(header: Mapping[str, Any]) -> set[str]:
    """Paths of all files besides the header, relative to the folder."""
    names = {record["file"] for record in header["documents"]}
    names |= set(stored_files(header["index"]["shards"]))
    names |= set(header.get("tokenizer_files", {}))
    if header.get("duplicates"):
        names.add(header["duplicates"]["file"])
    return names


def counts(shards: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Numbers of documents and tokens of some shards, without removed ones."""
    shards = list(shards)
    return {
        name: sum(shard[name] - (shard.get("removed") or {}).get(name, 0) for shard in shards)
        for name in ("num_documents", "num_tokens")
    }


@dataclass(frozen=True)
class Selection:
    """Selected files of a knowledge base and the rows in them.

    Attributes:
        header: that of a knowledge base of the selected shards, as far as files are concerned.
        names: names of all its files, relative to the folder.
        kept: selected rows of the whole knowledge base, int64[n]; None if all are.
        in_parts: indices of these rows among the rows of ``header["documents"]``, int64[n]; None
            if they are all of them.
    """

    header: Mapping[str, Any]
    names: tuple[str, ...]
    kept: NDArray[np.int64] | None
    in_parts: NDArray[np.int64] | None


def select(
    header: Mapping[str, Any], shards: Sequence[int] | None, documents: bool, folder: Path | str
) -> Selection:
    """Select shards by their numbers.

    Args:
        header: header of the whole knowledge base.
        shards: numbers from 0; None for all.
        documents: whether to select the documents too.
        folder: for the message.
    """
    records = header["index"]["shards"]
    numbers = list(range(len(records))) if shards is None else sorted(set(shards))
    if not numbers:
        raise ValueError("shards is empty: name at least one shard, or omit it for all")
    wrong = [number for number in numbers if not 0 <= number < len(records)]
    if wrong:
        raise ValueError(
            f"The knowledge base in '{folder}' has {len(records)} shard(s), numbered from 0: no "
            f"shard {wrong[0]}"
        )
    sizes = [record["num_documents"] for record in records]
    firsts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    kept = np.concatenate([np.arange(firsts[number], firsts[number + 1]) for number in numbers])
    all_shards = len(numbers) == len(records)
    parts, in_parts, offset, first = [], [np.empty(0, np.int64)], 0, 0
    for part in header["documents"]:
        wanted = np.isin(np.arange(first, first + part["num_rows"]), kept)
        if wanted.any() or all_shards:
            parts.append(part)
            in_parts.append(np.flatnonzero(wanted) + offset)
            offset += len(wanted)
        first += len(wanted)
    selected = {
        **header,
        "index": {**header["index"], "shards": [records[number] for number in numbers]},
        "documents": parts if documents else [],
        "duplicates": header.get("duplicates") if documents else None,
    }
    rows = np.concatenate(in_parts)
    return Selection(
        selected,
        tuple(sorted(named_files(selected))),
        None if all_shards else kept,
        None if len(rows) == offset else rows,
    )


def check_target(target: Path) -> None:
    """Check that a knowledge base can be saved to a folder.

    Raises:
        ValueError: if it is a file, or a folder with other content.
    """
    if target.is_file():
        raise ValueError(f"'{target}' is a file: a knowledge base is saved as a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / HEADER_FILE).is_file():
        raise ValueError(
            f"'{target}' is not empty and not a knowledge base: choose a new or an empty folder"
        )


def write_tokenizer(
    tokenizer: PreTrainedTokenizerBase, fingerprint: str, folder: Path
) -> dict[str, Any]:
    """Save a tokenizer in a subfolder; return records of its files by their paths."""
    subfolder = folder / f"tokenizer-{fingerprint[:12]}"
    subfolder.mkdir(exist_ok=True)
    name, tokenizer.name_or_path = tokenizer.name_or_path, ""
    try:
        tokenizer.save_pretrained(subfolder)
    finally:
        tokenizer.name_or_path = name
    paths = sorted(path for path in subfolder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_record(path) for path in paths}


def check_files(folder: Path, header: Mapping[str, Any], verify: bool | None) -> None:
    """Compare documents and tokenizer with their records; arguments and errors as `check_file`."""
    records = {record["file"]: record for record in header["documents"]}
    if header.get("duplicates"):
        records[header["duplicates"]["file"]] = header["duplicates"]
    for name, record in (records | header.get("tokenizer_files", {})).items():
        check_file(folder / name, record, verify)


def move_in(new: Path, target: Path) -> None:
    """Move the knowledge base in the folder ``new`` to ``target``, in one step."""
    if not target.exists():
        new.replace(target)
        return
    header = read_header(new)
    for name in sorted(named_files(header)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).replace(target / name)
    write_header(target, {key: header[key] for key in header if not key.startswith("format")})
    shutil.rmtree(new)


__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER_FILE",
    "Selection",
    "check_files",
    "check_target",
    "counts",
    "move_in",
    "named_files",
    "read_header",
    "select",
    "write_header",
    "write_tokenizer",
]
