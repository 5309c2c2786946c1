"""Records, documents and scenes for the tests of error analysis."""

import dataclasses
from html.parser import HTMLParser

from PIL import Image

from gemkr_hf.data.scenes import SceneAnnotations
from gemkr_hf.evaluation.question_records import Record
from gemkr_hf.toy.symbols.scene_annotations import scene_annotations

DOCUMENTS = {
    f"{symbol}/{aspect}": {
        "id": f"{symbol}/{aspect}",
        "title": f"{symbol}: {aspect}",
        "text": f"The {symbol} has a tale about its {aspect}.",
        "symbol": symbol,
        "aspect": aspect,
        "char": char,
    }
    for symbol, char in (("anchor", "⚓"), ("gear", "⚙"), ("umbrella", "☂"))
    for aspect in ("meaning", "origin", "use")
}
DOCUMENTS["umbrella/use"]["text"] = "Umbrellas keep an Anchor dry."


def record(
    retrieved=(), relevant=("anchor/meaning",), answers=("anchor",), name="q-0", preset="gold"
) -> Record:
    """A record whose retrieved documents are ids, or ids with the clues that led to them."""
    found = [entry if isinstance(entry, tuple) else (entry, "") for entry in retrieved]
    ids = [document for document, _ in found]
    return Record(
        name,
        "image-" + name,
        "What does the red sign mean?",
        list(relevant),
        list(answers),
        "GeMKR",
        preset,
        [
            {
                "id": document,
                "score": -1.0 - rank,
                "hit": document in relevant,
                **({"clue": clue} if clue else {}),
            }
            for rank, (document, clue) in enumerate(found)
        ],
        {"P@1": float(bool(ids) and ids[0] in relevant)},
    )


def scene(name="q-0", others=("gear",), aspect="meaning", by="color") -> dict:
    """A row of the symbols benchmark: an anchor that is asked about, and others."""
    boxes = [[10, 10, 50, 50], [90, 90, 130, 130], [90, 10, 130, 50]]
    symbols = ["anchor", *others]
    return {
        "question_id": name,
        "aspect": aspect,
        "by": by,
        "objects": [
            {
                "box": box,
                "symbol": symbol,
                "color": "red" if symbol == "anchor" else "blue",
                "place": place,
                "size": "small",
                "target": symbol == "anchor",
            }
            for symbol, box, place in zip(
                symbols, boxes, ("top left", "bottom right", "top right"), strict=False
            )
        ],
    }


def annotations(*rows) -> SceneAnnotations:
    """Scene annotations of rows, with the documents and symbols of these tests alone."""
    return dataclasses.replace(scene_annotations(rows), documents={})


def make_image() -> Image.Image:
    return Image.new("RGB", (160, 160), (230, 230, 220))


class Page(HTMLParser):
    """What the tests ask of a report."""

    _VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.images: list[dict[str, str | None]] = []
        self.cards: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.text = ""
        self.marked: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes.append(given)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "img":
            self.images.append(given)
        if tag == "article":
            self.cards.append(given)
        if tag == "mark":
            self.marked.append("")
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data) -> None:
        if "style" not in self.open:
            self.text += data
        if "mark" in self.open:
            self.marked[-1] += data

    @property
    def words(self) -> str:
        """All text that a reader sees, with single spaces."""
        return " ".join(self.text.split())
