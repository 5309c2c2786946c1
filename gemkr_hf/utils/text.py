"""Words and sentences of documents and questions, and small text formatting."""

import re

WORD = re.compile(r"\w+(?:[-']\w+)*")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

# Words that do not distinguish one sentence from another.
STOP_WORDS = frozenset((
    "a", "about", "an", "and", "are", "as", "at", "be", "been", "being", "by", "can", "could",
    "did", "do", "does", "for", "from", "had", "has", "have", "how", "i", "in", "into", "is",
    "it", "its", "me", "my", "no", "not", "of", "on", "one", "or", "shall", "she", "so", "some",
    "such", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they",
    "this", "those", "to", "was", "we", "were", "what", "when", "where", "which", "who", "whom",
    "whose", "why", "will", "with", "would", "you", "your",
))  # fmt: skip


def first_sentence(text: str) -> str:
    """Return the text up to the first full stop, question or exclamation mark before a space.

    >>> first_sentence(" It is red. It is old.")
    'It is red.'
    """
    return SENTENCE_END.split(text.strip(), maxsplit=1)[0]


def slug(label: str) -> str:
    """Return a label in a form that fits in a file name.

    >>> slug("w/o (Obj. Prefix & Lora)")
    'w-o-obj-prefix-lora'
    """
    words = "".join(letter if letter.isalnum() else " " for letter in label.lower()).split()
    return "-".join(words)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where needed.

    >>> count(1, "shard"), count(1200, "document")
    ('1 shard', '1,200 documents')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def mark_clue(text: str, clue: str) -> str:
    """Return a text with the first occurrence of a clue between ``>>`` and ``<<``.

    >>> mark_clue("a ram with horns", "ram with")
    'a >>ram with<< horns'
    """
    return text.replace(clue, f">>{clue}<<", 1) if clue else text


__all__ = ["SENTENCE_END", "STOP_WORDS", "WORD", "count", "first_sentence", "mark_clue", "slug"]
