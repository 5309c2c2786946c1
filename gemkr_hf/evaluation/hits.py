"""Decide which retrieved documents are hits, under each preset of `gemkr_hf.utils.hit_presets`.

The text presets are pseudo-relevance: a document counts as relevant if it contains an answer.
``gold`` requires a document that the benchmark names.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import regex

from gemkr_hf.utils.deprecation import renamed_attributes
from gemkr_hf.utils.hit_presets import GOLD, HIT_PRESETS, check_preset

# The tokens of DPR's evaluation: runs of letters, digits and marks, or any other single character
# that is neither a separator nor a control character.
_DPR_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def reads_texts(preset: str) -> bool:
    """Return whether a preset looks for answers in texts, rather than comparing ids."""
    return check_preset(preset) != GOLD


def dpr_tokens(text: str) -> tuple[str, ...]:
    """Split a text into the tokens that DPR's evaluation compares.

    >>> dpr_tokens("Rock 'n' Roll-era")
    ('rock', "'", 'n', "'", 'roll', '-', 'era')
    """
    # Each token is lowercased on its own, as in the original: lowercasing may add characters.
    return tuple(token.lower() for token in _DPR_TOKEN.findall(unicodedata.normalize("NFD", text)))


@lru_cache(maxsize=4096)
def _dpr_text(text: str) -> str:
    """Join the tokens by a separator, so that consecutive tokens are a substring."""
    return "\0" + "".join(f"{token}\0" for token in dpr_tokens(text))


@lru_cache(maxsize=65536)
def _dpr_answer(answer: str) -> str:
    # An answer without tokens becomes two separators, which no text contains next to each other.
    return "\0" + "\0".join(dpr_tokens(answer)) + "\0"


@lru_cache(maxsize=65536)
def _whole_words(answer: str) -> Any:
    return regex.compile(rf"(?<!\w){regex.escape(answer.strip())}(?!\w)", regex.IGNORECASE)


def _lowered(text: str) -> str:
    return text.lower().strip()


# Preset -> functions for the answer and the text; a hit is then a substring test.
_NORMALIZERS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "vrr": (str, str.lower),
    "dpr": (_dpr_answer, _dpr_text),
    "preflmr": (_lowered, _lowered),
    "gemkr": (str, str),
}


def contains_answer(preset: str, answers: Iterable[str], text: str) -> bool:
    """Return whether a text is a hit under a text preset.

    Args:
        preset: Any preset except ``gold``.
        answers: Answers of the question; blank ones are ignored, since any text contains them.
        text: Text of the document.

    >>> [contains_answer(preset, ["Ram"], "the ramp") for preset in ("preflmr", "word")]
    [True, False]
    """
    answers = [answer for answer in answers if answer.strip()]
    if preset == "word":
        return any(_whole_words(answer).search(text) is not None for answer in answers)
    normalize_answer, normalize_text = _NORMALIZERS[preset]
    normalized = normalize_text(text)
    return any(normalize_answer(answer) in normalized for answer in answers)


def is_hit(
    preset: str, question: Mapping[str, Any], document_ids: Iterable[str], text: str
) -> bool:
    """Return whether one retrieved document is a hit.

    Args:
        preset: Name of the hit preset.
        question: Record with ``relevant_ids`` (``gold``) or ``answers`` (other presets).
        document_ids: All ids of the document; any of them may be a relevant one.
        text: Text of the document.
    """
    preset = check_preset(preset)
    if preset == GOLD:
        return not set(question["relevant_ids"]).isdisjoint(document_ids)
    return contains_answer(preset, question["answers"], text)


def mark_hits(
    preset: str,
    record: Mapping[str, Any],
    documents: Sequence[str],
    texts: Mapping[str, str],
) -> list[bool]:
    """Return whether each retrieved document of a question is a hit, in the same order.

    Args:
        preset: Name of the hit preset.
        record: The question: ``relevant_ids`` for ``gold``, ``answers`` for the other presets.
        documents: Ids, best first. A relevant document that is retrieved twice is one hit under
            ``gold``; ``gemkr`` removes duplicates, so it returns fewer marks; the other presets
            count every occurrence.
        texts: Id -> text, for every preset except ``gold``; it is an error if one is missing.
    """
    if preset == GOLD:
        remaining = set(record["relevant_ids"])
        marks = []
        for document in documents:
            marks.append(document in remaining)
            remaining.discard(document)
        return marks
    if preset == "gemkr":
        documents = list(dict.fromkeys(documents))
    for document in documents:
        if document not in texts:
            raise ValueError(
                f"Document '{document}', retrieved for question '{record['question_id']}', is not "
                "in the corpus"
            )
    return [contains_answer(preset, record["answers"], texts[document]) for document in documents]


__getattr__ = renamed_attributes(
    __name__, {"PRESETS": "HIT_PRESETS", "holds_answer": "contains_answer"}
)

__all__ = [
    "GOLD",
    "HIT_PRESETS",
    "check_preset",
    "contains_answer",
    "dpr_tokens",
    "is_hit",
    "mark_hits",
    "reads_texts",
]
