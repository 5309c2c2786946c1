"""Select shards of a knowledge base, with or without their documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.knowledge_base.storage import named_files


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

    Raises:
        ValueError: if a shard does not exist, or none is selected.
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


__all__ = ["Selection", "select"]
