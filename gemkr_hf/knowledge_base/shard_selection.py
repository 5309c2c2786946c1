"""Some shards of a knowledge base, with or without their documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.index.index_storage import stored_files


@dataclass(frozen=True)
class Selection:
    """Which files of a knowledge base are wanted, and which of its rows they hold.

    Attributes:
        header: that of a knowledge base of these shards alone, as far as its files are concerned.
        names: of all files, relative to the folder.
        kept: rows of the whole that are wanted, int64[n]; None for all of them.
        in_parts: places of these rows among the rows of ``header["documents"]``, int64[n]; None
            where they are all of them.
    """

    header: Mapping[str, Any]
    names: tuple[str, ...]
    kept: NDArray[np.int64] | None
    in_parts: NDArray[np.int64] | None


def select(
    header: Mapping[str, Any], shards: Sequence[int] | None, documents: bool, folder: Path | str
) -> Selection:
    """Choose shards by their numbers.

    Args:
        header: of the whole.
        shards: None for all.
        documents: whether the documents themselves are wanted.
        folder: for the message.

    Raises:
        ValueError: there is no such shard, or none is named.
    """
    records = header["index"]["shards"]
    numbers = _checked(shards, len(records), folder)
    sizes = [record["num_documents"] for record in records]
    firsts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    kept = [np.arange(firsts[number], firsts[number + 1]) for number in numbers]
    whole = len(numbers) == len(records)
    parts, in_parts, offset, first = [], [], 0, 0
    for part in header["documents"]:
        rows = np.arange(first, first + part["num_rows"])
        wanted = np.isin(rows, np.concatenate(kept))
        if wanted.any() or whole:
            parts.append(part)
            in_parts.append(np.flatnonzero(wanted) + offset)
            offset += len(rows)
        first += len(rows)
    chosen = {
        **header,
        "index": {**header["index"], "shards": [records[number] for number in numbers]},
        "documents": parts if documents else [],
        "duplicates": header.get("duplicates") if documents else None,
    }
    names = [part["file"] for part in chosen["documents"]]
    names += stored_files(chosen["index"]["shards"])
    names += list(header.get("tokenizer_files", {}))
    if chosen["duplicates"]:
        names.append(chosen["duplicates"]["file"])
    rows_of_parts = sum(part["num_rows"] for part in parts)
    places = np.concatenate(in_parts) if in_parts else np.empty(0, np.int64)
    return Selection(
        chosen,
        tuple(names),
        None if whole else np.concatenate(kept),
        None if len(places) == rows_of_parts else places,
    )


def _checked(shards: Sequence[int] | None, number: int, folder: Path | str) -> list[int]:
    if shards is None:
        return list(range(number))
    chosen = sorted(set(shards))
    if not chosen:
        raise ValueError("shards names none: name one, or leave it out for all")
    wrong = [shard for shard in chosen if not 0 <= shard < number]
    if wrong:
        raise ValueError(
            f"The knowledge base in '{folder}' has {number} shard(s), counted from 0: there is no "
            f"shard {wrong[0]}"
        )
    return chosen


__all__ = ["Selection", "select"]
