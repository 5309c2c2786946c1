"""The most frequent keywords of clues (paper, Table 5)."""

from collections import Counter
from collections.abc import Iterable

from gemkr_hf.utils.text import STOP_WORDS, WORD


def top_keywords(clues: Iterable[str], n: int = 10) -> list[tuple[str, int]]:
    """Return the words that occur in most clues, with the number of clues.

    Stop words and single characters are ignored. A clue may start or end within a word; the
    fragment is counted like a word.

    >>> top_keywords(["the red sign of danger", "a red circle", "Red sign"], n=2)
    [('red', 3), ('sign', 2)]
    """
    counts: Counter[str] = Counter()
    for clue in clues:
        words = {word.lower() for word in WORD.findall(clue)}
        counts.update(word for word in words if len(word) > 1 and word not in STOP_WORDS)
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:n]


__all__ = ["top_keywords"]
