"""Words and sentences of documents and questions."""

import re

WORD = re.compile(r"\w+(?:[-']\w+)*")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

# Words that say nothing of what is asked for; a hit on them would score every sentence alike.
STOP_WORDS = frozenset((
    "a", "about", "an", "and", "are", "as", "at", "be", "been", "being", "by", "can", "could",
    "did", "do", "does", "for", "from", "had", "has", "have", "how", "i", "in", "into", "is",
    "it", "its", "me", "my", "no", "not", "of", "on", "one", "or", "shall", "she", "so", "some",
    "such", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they",
    "this", "those", "to", "was", "we", "were", "what", "when", "where", "which", "who", "whom",
    "whose", "why", "will", "with", "would", "you", "your",
))  # fmt: skip


def first_sentence(text: str) -> str:
    """What stands before the first full stop, question or exclamation mark that a space follows.

    >>> first_sentence(" It is red. It is old.")
    'It is red.'
    """
    return SENTENCE_END.split(text.strip(), maxsplit=1)[0]


def slug(label: str) -> str:
    """A label as part of a file's name.

    >>> slug("w/o (Obj. Prefix & Lora)")
    'w-o-obj-prefix-lora'
    """
    words = "".join(letter if letter.isalnum() else " " for letter in label.lower()).split()
    return "-".join(words)


__all__ = ["SENTENCE_END", "STOP_WORDS", "WORD", "first_sentence", "slug"]
