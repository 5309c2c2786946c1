"""Retrieved documents as HTML and as JSON. Documents and clues are untrusted text."""

import html
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from gemkr_hf.retrieval import Clue, Hit
from gemkr_hf.utils.text import count

Decode = Callable[[Sequence[int]], str]

# Besides HTML's special characters, those of the templates of gradio's HTML component: a document
# that contains ${...} or {{...}} must not be evaluated.
_TEMPLATE_CHARACTERS = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;"})


def escape(text: str) -> str:
    """Escape a text for HTML, attributes included, and for gradio's templates.

    >>> escape('<b title="${x}">')
    '&lt;b title=&quot;&#36;&#123;x&#125;&quot;&gt;'
    """
    return html.escape(text, quote=True).translate(_TEMPLATE_CHARACTERS)


def find_piece(text: str, piece: str) -> tuple[int, int] | None:
    """Find the first occurrence of a piece of a clue, ignoring differences in white space.

    Returns:
        Start and end in characters, or None.

    >>> find_piece("a ram  with horns", "ram with")
    (2, 11)
    """
    # A token may end within a character of several bytes; its remainder is not in the text.
    words = piece.strip(" \n\t\r�").split()
    match = re.search(r"\s+".join(map(re.escape, words)), text) if words else None
    return match.span() if match else None


def mark_clues(text: str, clues: Sequence[Sequence[str]]) -> str:
    """Highlight the best clue in a text and underline the others, as HTML.

    Args:
        text: text of a document.
        clues: the pieces of each clue, best clue first. Where clues overlap, the best clue's mark
            wins.

    >>> mark_clues("a <ram> with horns", [["ram> with"], ["with horns"]])
    'a &lt;<mark>ram&gt; with</mark><u> horns</u>'
    """
    tags = [""] * len(text)
    for number, pieces in reversed(list(enumerate(clues))):
        for piece in pieces:
            start, end = find_piece(text, piece) or (0, 0)
            tags[start:end] = ["u" if number else "mark"] * (end - start)
    parts = []
    for tag, characters in groupby(zip(tags, text, strict=True), key=lambda pair: pair[0]):
        part = escape("".join(character for _, character in characters))
        parts.append(f"<{tag}>{part}</{tag}>" if tag else part)
    return "".join(parts)


def documents_html(hits: Sequence[Hit], decode: Decode, summary: str = "") -> str:
    """List documents in their order: title or id, score, text with marked clues, clues.

    Args:
        hits: hits of a retriever; their documents need ``id`` and ``text``.
        decode: the tokenizer's ``decode``, for the pieces of clues.
        summary: further text for the line above the list.
    """
    if not hits:
        return "<p>No documents found.</p>"
    line = count(len(hits), "document") + (f", {summary}" if summary else "")
    documents = "".join(f"<li>{_document_html(hit, decode)}</li>" for hit in hits)
    return (
        f'<p role="status">{escape(line)}. <mark>Best clue</mark>, <u>other clues</u>.</p>'
        f"<ol>{documents}</ol>"
    )


def _document_html(hit: Hit, decode: Decode) -> str:
    title, key = str(hit.document.get("title") or "").strip(), str(hit.document["id"])
    name = f"{escape(title)} <code>{escape(key)}</code>" if title else escape(key)
    text = mark_clues(str(hit.document["text"]), [_pieces(clue, decode) for clue in hit.clues])
    clues = "".join(f"<li>{clue.score:.2f}: {escape(clue.text)}</li>" for clue in hit.clues)
    return (
        f"<h3>{name}</h3><p>{text}</p><details><summary>Score {hit.score:.2f}, "
        f"{count(len(hit.clues), 'clue')}</summary><ul>{clues}</ul></details>"
    )


def _pieces(clue: Clue, decode: Decode) -> list[str]:
    return [decode(piece) for piece in clue.pieces] or [clue.text]


def documents_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Documents as JSON, best first.

    Returns:
        ``[{"rank", "id", "score", "text", "clues": [{"text", "score"}]}]``, with ``"title"`` where
        the document has one.
    """
    records = []
    for rank, hit in enumerate(hits, start=1):
        key = hit.document["id"]
        record: dict[str, Any] = {
            "rank": rank,
            "id": key if isinstance(key, str | int) else str(key),
            "score": float(hit.score),
            "text": str(hit.document["text"]),
            "clues": [{"text": clue.text, "score": float(clue.score)} for clue in hit.clues],
        }
        if hit.document.get("title"):
            record["title"] = str(hit.document["title"])
        records.append(record)
    return records


__all__ = ["documents_html", "documents_json", "escape", "find_piece", "mark_clues"]
