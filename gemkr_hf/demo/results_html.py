"""Retrieved documents as HTML; documents and clues are untrusted text."""

import html
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from gemkr_hf.retrieval import Clue, Hit

Decode = Callable[[Sequence[int]], str]

# Besides HTML's own characters those of the templates that gradio's HTML component knows: a
# document that says ${...} or {{...}} is never to be taken for one.
_TEMPLATE_CHARACTERS = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;"})

_LONG = 1500  # characters; a longer document scrolls in a box of its own

# The best clue stands out, the others are underlined; gradio's variables follow the theme. The
# component's id (`elem_id`) outweighs gradio's own rules for paragraphs and tables.
CSS = """
.documents { --clue: #ffe08a; --clue-ink: #3b2a00; --other: #0f766e; }
.dark .documents { --clue: #8a6100; --clue-ink: #fff6dc; --other: #5eead4; }
#documents .told { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0 0 .75rem;
  color: var(--body-text-color-subdued); font-size: .875rem; }
#documents ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .875rem; }
#documents li { border: 1px solid var(--border-color-primary); border-radius: 10px;
  background: var(--block-background-fill); padding: .875rem 1rem; }
#documents header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .625rem; }
#documents .rank { font-weight: 700; color: var(--body-text-color-subdued); min-width: 1.1em; }
#documents h3 { margin: 0; font-size: 1.0625rem; font-weight: 650; overflow-wrap: anywhere; }
#documents header code { color: var(--body-text-color-subdued); background: none; border: 0;
  padding: 0; font-size: .8125rem; overflow-wrap: anywhere; }
#documents .score { margin-left: auto; color: var(--body-text-color-subdued);
  font-size: .8125rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
#documents .text { margin: .5rem 0 .625rem; line-height: 1.6; white-space: pre-line;
  overflow-wrap: anywhere; }
#documents .long { max-height: 18rem; overflow-y: auto; }
#documents mark { background: var(--clue); color: var(--clue-ink); border-radius: 3px;
  padding: .08em .1em; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
#documents mark.other { background: none; color: inherit; padding: 0; border-radius: 0;
  text-decoration: underline 2px var(--other); text-underline-offset: .22em; }
#documents summary { cursor: pointer; font-size: .875rem; color: var(--body-text-color-subdued);
  width: fit-content; }
#documents summary:focus-visible, #documents .long:focus-visible {
  outline: 2px solid var(--other); outline-offset: 2px; border-radius: 3px; }
#documents table, #documents tr { border: 0; }
#documents table { border-collapse: collapse; margin: .375rem 0 0; width: auto;
  font-size: .875rem; }
#documents th, #documents td { border: 0; padding: .2rem 1rem .2rem 0; text-align: left;
  vertical-align: top; }
#documents th { font-weight: 500; color: var(--body-text-color-subdued); }
#documents td { overflow-wrap: anywhere; }
#documents td:first-child { font-variant-numeric: tabular-nums; white-space: nowrap; }
"""

HINT = (
    '<section class="documents"><p class="told">Give an image, ask a question about it, and press '
    "Find: the documents that answer it stand here, with the words that led to them marked."
    "</p></section>"
)


def escape(text: str) -> str:
    """The text as HTML that shows it and is nothing else, in an attribute as well.

    >>> escape('<b title="${x}">')
    '&lt;b title=&quot;&#36;&#123;x&#125;&quot;&gt;'
    """
    return html.escape(text, quote=True).translate(_TEMPLATE_CHARACTERS)


def find_piece(text: str, piece: str) -> tuple[int, int] | None:
    """Where a piece of a clue stands: its first place, by words if its spaces differ; or None.

    >>> find_piece("a ram  with horns", "ram with")
    (2, 11)
    """
    # Tokens may cut a character of several bytes: what is left of it is not in the text.
    words = piece.strip(" \n\t\r�").split()
    if not words:
        return None
    found = re.search(r"\s+".join(map(re.escape, words)), text)
    return found.span() if found else None


def mark_clues(text: str, clues: Sequence[Sequence[str]]) -> str:
    """The text as HTML, with the clues marked where they stand.

    Args:
        text: of a document.
        clues: the pieces of each clue, the best clue first. Clues may overlap: a character is
            marked once, as the best clue's if it is one of it.

    >>> mark_clues("a <ram> with horns", [["ram> with"], ["with horns"]])
    'a &lt;<mark>ram&gt; with</mark><mark class="other"> horns</mark>'
    """
    levels = [0] * len(text)
    for number, pieces in enumerate(clues):
        for piece in pieces:
            start, end = find_piece(text, piece) or (0, 0)
            for at in range(start, end):
                levels[at] = max(levels[at], 1 if number else 2)
    opening = {0: "", 1: '<mark class="other">', 2: "<mark>"}
    parts = []
    for level, run in groupby(range(len(text)), key=levels.__getitem__):
        places = list(run)
        written = escape(text[places[0] : places[-1] + 1])
        parts.append(f"{opening[level]}{written}</mark>" if level else written)
    return "".join(parts)


def _pieces(clue: Clue, decode: Decode) -> list[str]:
    return [decode(piece) for piece in clue.pieces] or [clue.text]


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _document_html(rank: int, hit: Hit, decode: Decode) -> str:
    record = hit.document
    key, title = str(record["id"]), str(record.get("title") or "").strip()
    text = str(record["text"])
    named = f"<h3>{escape(title or key)}</h3>" + (f"<code>{escape(key)}</code>" if title else "")
    # What scrolls must be reached by the keyboard, and so needs a name.
    scrolls = f' tabindex="0" role="region" aria-label="Text of {escape(key)}"'
    attributes = f'class="text long"{scrolls}' if len(text) > _LONG else 'class="text"'
    rows = "".join(
        f"<tr><td>{_number(clue.score)}</td><td>{escape(clue.text)}</td></tr>" for clue in hit.clues
    )
    return (
        f'<li><header><span class="rank">{rank}</span>{named}'
        '<span class="score" title="Log-probability that the model writes its clues">'
        f"score {_number(hit.score)}</span></header>"
        f"<p {attributes}>{mark_clues(text, [_pieces(clue, decode) for clue in hit.clues])}</p>"
        f"<details{' open' if rank == 1 else ''}><summary>{_count(len(hit.clues), 'clue')}"
        '</summary><table><thead><tr><th scope="col">Score</th><th scope="col">Clue</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></details></li>"
    )


def documents_html(hits: Sequence[Hit], decode: Decode, told: str = "") -> str:
    """The documents in their order: rank, title, id, score, text with marks, list of clues.

    Args:
        hits: as ``GeMKRRetriever.retrieve`` returns them; their records need ``id`` and ``text``.
        decode: the tokenizer's ``decode``, for the pieces of clues.
        told: what else the line above them tells, in plain text.
    """
    if not hits:
        return '<section class="documents"><p class="told">No document was found.</p></section>'
    line = _count(len(hits), "document") + (f", {told}" if told else "")
    documents = "".join(_document_html(rank, hit, decode) for rank, hit in enumerate(hits, 1))
    return (
        '<section class="documents" aria-label="Retrieved documents">'
        f'<p class="told"><span role="status">{escape(line)}</span>'
        '<span>Marked: <mark>best clue</mark>, <mark class="other">other clues</mark></span></p>'
        f"<ol>{documents}</ol></section>"
    )


def documents_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """The documents as JSON: a list of rank, id, score, text, clues, and title where there is one.

    A clue is its text and its score.
    """
    answer = []
    for rank, hit in enumerate(hits, start=1):
        key = hit.document["id"]
        row: dict[str, Any] = {
            "rank": rank,
            "id": key if isinstance(key, str | int) else str(key),
            "score": float(hit.score),
            "text": str(hit.document["text"]),
            "clues": [{"text": clue.text, "score": float(clue.score)} for clue in hit.clues],
        }
        if hit.document.get("title"):
            row["title"] = str(hit.document["title"])
        answer.append(row)
    return answer


__all__ = ["CSS", "HINT", "documents_html", "documents_json", "escape", "find_piece", "mark_clues"]
