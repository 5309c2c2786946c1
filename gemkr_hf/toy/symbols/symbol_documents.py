"""Symbols and their documents: prose from ``data/*.yaml``, catalogue entries from Unicode.

To add a symbol, add an entry to one of the YAML files (or a new file beside them): its character,
its name, and one text of 30 to 80 words for each aspect. Nothing else has to change.
"""

import hashlib
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from gemkr_hf.toy.symbols.glyphs import drawable_characters

ASPECTS = ("meaning", "origin", "use")
"""What a document tells of its symbol; each symbol with prose has one document for each."""

UNSEEN_NAMES = frozenset(
    {
        "libra",
        "pisces",
        "neptune",
        "chess bishop",
        "die three",
        "flat sign",
        "cross of lorraine",
        "wind trigram",
        "shamrock",
        "biohazard sign",
        "cloud",
        "anchor",
        "gear",
        "scissors",
        "victory hand",
    }
)
"""Symbols whose documents never occur in instruction tuning: the ``unseen`` split asks of them."""

# Blocks of Unicode whose images the DejaVu fonts draw: Miscellaneous Technical,
# Miscellaneous Symbols, Dingbats.
_BLOCKS = (
    (0x2300, 0x23FF, "Miscellaneous Technical"),
    (0x2600, 0x26FF, "Miscellaneous Symbols"),
    (0x2700, 0x27BF, "Dingbats"),
)
# Pieces of a bracket or of an integral: parts of a drawing, not symbols that a person would ask of.
_PIECES = ("bracket", "parenthesis", "integral", "bar", "crop", "ceiling", "floor", "corner")

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Symbol:
    """One drawable character.

    Attributes:
        char: the character itself.
        name: the word or words people call it by; unique.
        aspects: aspect -> prose; empty for a symbol known from the catalogue only.
        seen: False if no document of it may occur in instruction tuning.
    """

    char: str
    name: str
    aspects: dict[str, str] = field(default_factory=dict, hash=False)
    seen: bool = True

    def document_id(self, aspect: str) -> str:
        """Id of the document that tells ``aspect`` of this symbol."""
        return f"{self.name.replace(' ', '-')}/{aspect}"


@cache
def load_known_symbols() -> tuple[Symbol, ...]:
    """Symbols with one document for each aspect, in the order of the data files.

    Raises:
        ValueError: an entry lacks an aspect, or two entries share a character or a name.
    """
    symbols: list[Symbol] = []
    for path in sorted(_DATA.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            aspects = {key: " ".join(text.split()) for key, text in entry["aspects"].items()}
            if tuple(sorted(aspects)) != tuple(sorted(ASPECTS)):
                raise ValueError(
                    f"{path.name}: '{entry['name']}' needs exactly the aspects {', '.join(ASPECTS)}"
                )
            name = entry["name"]
            symbols.append(Symbol(entry["char"], name, aspects, seen=name not in UNSEEN_NAMES))
    for what in ("char", "name"):
        values = [getattr(symbol, what) for symbol in symbols]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"The symbols' data files give the {what} {twice} more than once")
    return tuple(symbols)


@cache
def load_catalogue_symbols() -> tuple[Symbol, ...]:
    """Every other symbol that the font draws and Unicode names; they have no prose."""
    known = {symbol.char for symbol in load_known_symbols()}
    names = {symbol.name for symbol in load_known_symbols()}
    found = []
    for char in drawable_characters((low, high) for low, high, _ in _BLOCKS):
        name = unicodedata.name(char, "").lower()
        if not name or char in known or name in names or any(p in name for p in _PIECES):
            continue
        found.append(Symbol(char, name))
    return tuple(found)


def _catalogue_text(symbol: Symbol) -> str:
    code = ord(symbol.char)
    block = next(name for low, high, name in _BLOCKS if low <= code <= high)
    kind = {"So": "other symbol", "Sm": "mathematical symbol"}.get(
        unicodedata.category(symbol.char), "character"
    )
    return (
        f"{symbol.name.capitalize()} is the character U+{code:04X} of Unicode, "
        f"number {code} in decimal, filed as {kind} in the block {block}."
    )


def documents_fingerprint() -> str:
    """Changes with any document, symbol or held-out name."""
    said = [(d["id"], d["char"], d["text"]) for d in load_documents()]
    return hashlib.sha256(repr((said, sorted(UNSEEN_NAMES))).encode()).hexdigest()[:16]


def load_documents() -> list[dict[str, str]]:
    """All documents of the small world.

    Returns:
        Records with ``id``, ``title``, ``text``, ``symbol`` (name), ``char`` and ``aspect``
        (``"catalogue"`` for those made from Unicode's own data).
    """
    documents = [
        {
            "id": symbol.document_id(aspect),
            "title": f"{symbol.name}: {aspect}",
            "text": symbol.aspects[aspect],
            "symbol": symbol.name,
            "char": symbol.char,
            "aspect": aspect,
        }
        for symbol in load_known_symbols()
        for aspect in ASPECTS
    ]
    documents += [
        {
            "id": f"unicode/{ord(symbol.char):04x}",
            "title": f"{symbol.name}: catalogue",
            "text": _catalogue_text(symbol),
            "symbol": symbol.name,
            "char": symbol.char,
            "aspect": "catalogue",
        }
        for symbol in load_catalogue_symbols()
    ]
    return documents
