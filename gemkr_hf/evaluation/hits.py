"""What counts as a hit: presets by name, since every paper has its own.

Pseudo-relevance takes a document for relevant that holds an answer; `gold` asks for a document that
the benchmark names. Figures of two presets cannot be compared: a preset's name stands beside them.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import regex

GOLD = "gold"

PRESETS: dict[str, str] = {
    "gold": "the document's id is among the relevant ones",
    "vrr": "an answer, as it is written, stands in the lowercased text (Luo et al. 2021)",
    "dpr": "an answer's tokens stand in a row in the text's, uncased, NFD (Karpukhin et al. 2020)",
    "preflmr": "an answer stands in the text, both lowercased and stripped (Lin et al. 2024)",
    "word": "an answer stands in the text as whole words, uncased",
    "gemkr": "an answer stands in the text, case-sensitive, after documents that came back twice "
    "are removed (the released code of GeMKR)",
}
"""Name -> what it says. The text is a document's ``text``, without its title."""

# Runs of letters, digits and marks, or single other characters that are neither space nor control:
# what the tokenizer of DPR's evaluation matches.
_DPR_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def check_preset(name: str) -> None:
    """Raise ValueError where there is no such preset."""
    if name not in PRESETS:
        raise ValueError(f"The hit preset is one of {', '.join(PRESETS)}, not '{name}'")


def reads_texts(preset: str) -> bool:
    """Whether a preset looks into the documents' texts, instead of at their ids alone."""
    check_preset(preset)
    return preset != GOLD


def dpr_tokens(text: str) -> tuple[str, ...]:
    """The tokens that DPR's evaluation compares.

    >>> dpr_tokens("Rock 'n' Roll-era")
    ('rock', "'", 'n', "'", 'roll', '-', 'era')
    """
    # Uncased by token, as the original does it: a letter's lower case may be several characters.
    return tuple(token.lower() for token in _DPR_TOKEN.findall(unicodedata.normalize("NFD", text)))


@lru_cache(maxsize=4096)
def _dpr_text(text: str) -> str:
    """Tokens between separators that no token holds: tokens in a row are a substring."""
    return "\0" + "".join(f"{token}\0" for token in dpr_tokens(text))


@lru_cache(maxsize=65536)
def _dpr_answer(answer: str) -> str:
    # Without tokens it is two separators, which stand side by side in no text.
    return "\0" + "\0".join(dpr_tokens(answer)) + "\0"


@lru_cache(maxsize=65536)
def _whole_words(answer: str) -> Any:
    return regex.compile(rf"(?<!\w){regex.escape(answer.strip())}(?!\w)", regex.IGNORECASE)


def _lowered(text: str) -> str:
    return text.lower().strip()


# What an answer and a text are made into, so that the one is a substring of the other.
_FORMS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "vrr": (str, str.lower),
    "dpr": (_dpr_answer, _dpr_text),
    "preflmr": (_lowered, _lowered),
    "gemkr": (str, str),
}


def holds_answer(preset: str, answers: Iterable[str], text: str) -> bool:
    """Whether a text is a hit by its words.

    Args:
        preset: any but ``gold``.
        answers: of the question; blank ones count for nothing, as any text would hold them.
        text: of the document.

    >>> [name for name in PRESETS if name != "gold" and holds_answer(name, ["Ram"], "the ramp")]
    ['preflmr']
    """
    asked = [answer for answer in answers if answer.strip()]
    if preset == "word":
        return any(_whole_words(answer).search(text) is not None for answer in asked)
    of_answer, of_text = _FORMS[preset]
    within = of_text(text)
    return any(of_answer(answer) in within for answer in asked)


def mark_hits(
    preset: str,
    record: Mapping[str, Any],
    documents: Sequence[str],
    texts: Mapping[str, str],
) -> list[bool]:
    """Whether each retrieved document of a question is a hit, in their order.

    Args:
        preset: what a hit is.
        record: the question: ``relevant_ids`` for ``gold``, ``answers`` for the others.
        documents: ids, best first. A relevant document that came back twice is one hit for
            ``gold``; ``gemkr`` removes what came back twice, so there are fewer marks; the others
            count it at every place.
        texts: id -> text, for every preset but ``gold``.

    Raises:
        ValueError: the text of a document is not there.
    """
    if preset == "gemkr":
        documents = list(dict.fromkeys(documents))
    if preset == GOLD:
        left = set(record["relevant_ids"])
        marks = []
        for document in documents:
            marks.append(document in left)
            left.discard(document)
        return marks
    for document in documents:
        if document not in texts:
            raise ValueError(
                f"The document '{document}' that was retrieved for question "
                f"'{record['question_id']}' is not in the corpus"
            )
    return [holds_answer(preset, record["answers"], texts[document]) for document in documents]


__all__ = [
    "GOLD",
    "PRESETS",
    "check_preset",
    "dpr_tokens",
    "holds_answer",
    "mark_hits",
    "reads_texts",
]
