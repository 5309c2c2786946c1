"""The expected answers of the index, by brute force over all positions of all documents."""

from collections.abc import Sequence

Documents = Sequence[Sequence[int]]


def occurrences(documents: Documents, sequence: Sequence[int]) -> list[tuple[int, int]]:
    """(document, offset) of every occurrence; the empty sequence occurs everywhere."""
    sequence, length = list(sequence), len(sequence)
    return [
        (row, offset)
        for row, document in enumerate(documents)
        for offset in range(len(document) - length + 1)
        if list(document[offset : offset + length]) == sequence
    ]


def get_next(documents: Documents, sequence: Sequence[int]) -> list[int]:
    places = [(row, offset + len(sequence)) for row, offset in occurrences(documents, sequence)]
    return sorted({documents[row][at] for row, at in places if at < len(documents[row])})


def lookup_doc(documents: Documents, sequence: Sequence[int]) -> int:
    rows = {row for row, _ in occurrences(documents, sequence)}
    return rows.pop() if len(rows) == 1 else -1
