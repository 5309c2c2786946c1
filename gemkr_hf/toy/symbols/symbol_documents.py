"""Symbols and their documents: prose from ``data/*.yaml``, catalogue entries from Unicode.

To add a symbol, add an entry to a YAML file there: its character, its name, and a text of 30 to 80
words for each aspect.
"""

import hashlib
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from gemkr_hf.toy.symbols.glyphs import drawable_characters

ASPECTS = ("meaning", "origin", "use")
"""Topics of documents; each symbol with prose has one document per aspect."""

UNSEEN_NAMES = frozenset((
    "libra", "pisces", "neptune", "chess bishop", "die three", "flat sign", "cross of lorraine",
    "wind trigram", "shamrock", "biohazard sign", "cloud", "anchor", "gear", "scissors",
    "victory hand",
))  # fmt: skip
"""Symbols held out of instruction tuning; the ``unseen`` split asks about them."""

# Unicode blocks with glyphs in the DejaVu fonts.
_BLOCKS = (
    (0x2300, 0x23FF, "Miscellaneous Technical"),
    (0x2600, 0x26FF, "Miscellaneous Symbols"),
    (0x2700, 0x27BF, "Dingbats"),
)
# Characters that are parts of a larger one, such as a bracket, and no symbols.
_PIECES = ("bracket", "parenthesis", "integral", "bar", "crop", "ceiling", "floor", "corner")

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Symbol:
    """A character that the font can draw.

    Attributes:
        char: The character.
        name: Its common name; unique.
        aspects: Text by aspect; empty for a symbol from the Unicode catalogue.
        seen: False if the symbol is held out of instruction tuning.
    """

    char: str
    name: str
    aspects: dict[str, str] = field(default_factory=dict, hash=False)
    seen: bool = True

    def document_id(self, aspect: str) -> str:
        """Return the id of the document about an aspect of this symbol."""
        return f"{self.name.replace(' ', '-')}/{aspect}"


@cache
def load_known_symbols() -> tuple[Symbol, ...]:
    """Load the symbols with prose, in the order of the data files.

    Raises:
        ValueError: If an entry lacks an aspect, or two entries share a character or a name.
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
    for field_name in ("char", "name"):
        values = [getattr(symbol, field_name) for symbol in symbols]
        duplicates = sorted({value for value in values if values.count(value) > 1})
        if duplicates:
            raise ValueError(f"Several symbols have the same {field_name}: {', '.join(duplicates)}")
    return tuple(symbols)


@cache
def load_catalogue_symbols() -> tuple[Symbol, ...]:
    """Load all other symbols that the font can draw and Unicode names; they have no prose."""
    chars = {symbol.char for symbol in load_known_symbols()}
    names = {symbol.name for symbol in load_known_symbols()}
    symbols = []
    for char in drawable_characters((low, high) for low, high, _ in _BLOCKS):
        name = unicodedata.name(char, "").lower()
        known = char in chars or name in names
        if name and not known and not any(piece in name for piece in _PIECES):
            symbols.append(Symbol(char, name))
    return tuple(symbols)


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
    """Return a hash of all documents, symbols and held-out names."""
    content = [(d["id"], d["char"], d["text"]) for d in load_documents()]
    return hashlib.sha256(repr((content, sorted(UNSEEN_NAMES))).encode()).hexdigest()[:16]


def load_documents() -> list[dict[str, str]]:
    """Load all documents.

    Returns:
        Records with ``id``, ``title``, ``text``, ``symbol`` (name), ``char`` and ``aspect``
        (``"catalogue"`` for catalogue entries).
    """
    known = [
        (symbol, aspect, symbol.document_id(aspect), symbol.aspects[aspect])
        for symbol in load_known_symbols()
        for aspect in ASPECTS
    ]
    catalogue = [
        (symbol, "catalogue", f"unicode/{ord(symbol.char):04x}", _catalogue_text(symbol))
        for symbol in load_catalogue_symbols()
    ]
    return [
        {
            "id": document_id,
            "title": f"{symbol.name}: {aspect}",
            "text": text,
            "symbol": symbol.name,
            "char": symbol.char,
            "aspect": aspect,
        }
        for symbol, aspect, document_id, text in known + catalogue
    ]
