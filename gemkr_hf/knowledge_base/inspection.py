"""What a knowledge base holds, and how long its clues must be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.knowledge_base.knowledge_base import KnowledgeBase


@dataclass(frozen=True)
class ClueLengths:
    """How many tokens a clue needs until one document alone holds it.

    Attributes:
        lengths: int64[found], of the clues that became distinctive before their document's end.
        sampled: how many places clues were begun at.
    """

    lengths: NDArray[np.int64]
    sampled: int

    @property
    def never(self) -> float:
        """Share of the places from which no clue is distinctive."""
        return 1 - len(self.lengths) / max(1, self.sampled)

    def within(self, length: int) -> float:
        """Share of the places from which a clue of so many tokens is distinctive."""
        return float((self.lengths <= length).sum()) / max(1, self.sampled)


def clue_lengths(knowledge_base: KnowledgeBase, sample: int = 5000, seed: int = 0) -> ClueLengths:
    """Begin clues at random tokens and extend them until they are distinctive.

    Every token of every document is as likely a beginning.
    """
    index, rng = knowledge_base.index, np.random.default_rng(seed)
    lengths = index.document_lengths()
    total = int(lengths.sum())
    if total == 0:
        return ClueLengths(np.empty(0, np.int64), 0)
    places = np.sort(rng.choice(total, size=min(sample, total), replace=False))
    ends = np.cumsum(lengths)
    rows = np.searchsorted(ends, places, side="right")
    offsets = places - (ends[rows] - lengths[rows])
    texts = {int(row): index.extract(int(row)) for row in np.unique(rows)}
    rest = [texts[int(row)][offset:] for row, offset in zip(rows, offsets, strict=True)]
    left = np.array([len(tokens) for tokens in rest])
    intervals, open_clues = index.root(len(rest)), np.arange(len(rest))
    found = []
    for length in range(1, int(left.max()) + 1):
        going_on = np.flatnonzero(left[open_clues] >= length)
        open_clues, intervals = open_clues[going_on], intervals.take(going_on)
        if len(open_clues) == 0:
            break
        tokens = np.array([rest[clue][length - 1] for clue in open_clues])
        intervals = index.extend(intervals, tokens)
        distinct = index.is_distinct(intervals)
        found += [length] * int(distinct.sum())
        ambiguous = np.flatnonzero(~distinct)
        open_clues, intervals = open_clues[ambiguous], intervals.take(ambiguous)
    return ClueLengths(np.array(found, dtype=np.int64), len(rest))


def empty_texts(knowledge_base: KnowledgeBase) -> list[Any]:
    """Ids of documents without a word."""
    documents = knowledge_base.documents.select_columns(["id", "text"]).with_format("arrow")
    ids: list[Any] = []
    for table in documents.iter(10_000):
        empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table.column("text"))), 0)
        ids += table.filter(empty).column("id").to_pylist()
    return ids


def describe(knowledge_base: KnowledgeBase, clues: ClueLengths, shown: int = 3) -> str:
    """Counts, sizes, longest and shortest documents, and clue lengths, as lines to read."""
    index, identity = knowledge_base.index, knowledge_base.tokenizer_identity
    lengths = index.document_lengths()
    live = np.setdiff1d(np.arange(index.num_rows), index.removed)
    order = live[np.argsort(lengths[live], kind="stable")]
    ids = len(knowledge_base.row_ids())
    lines = [
        f"documents   {len(knowledge_base):,}"
        + (f" with {ids:,} ids" if ids != len(knowledge_base) else "")
        + (f", and {len(index.removed):,} removed ones" if len(index.removed) else ""),
        f"tokens      {index.num_tokens:,}, {index.num_tokens / max(1, len(live)):.1f} a document; "
        f"{len(index.tokens):,} different ones of {index.vocab_size:,}",
        f"tokenizer   {identity.name} (fingerprint {identity.fingerprint[:8]})",
        f"index       {_size(index.nbytes)}, {index.nbytes / max(1, index.num_tokens):.2f} bytes a "
        f"token, {index.num_shards} shard{'s'[: index.num_shards != 1]}",
    ]
    for title, rows in (("longest", order[::-1][:shown]), ("shortest", order[:shown])):
        for number, row in enumerate(rows.tolist()):
            document = knowledge_base[row]
            text = " ".join(document["text"].split())
            text = text if len(text) <= 50 else text[:49] + "…"
            head = title if number == 0 else ""
            lines.append(f"{head:10}  {lengths[row]:,} tokens  {document['id']}: {text}")
    if len(clues.lengths):
        quantiles = np.quantile(clues.lengths, [0.5, 0.9, 0.99], method="higher").astype(int)
        lines += [
            f"clues       from {clues.sampled:,} places: {clues.lengths.mean():.1f} tokens until "
            "they are distinctive",
            f"            (half of them {quantiles[0]}, nine of ten {quantiles[1]}, all but one in "
            f"a hundred {quantiles[2]})",
            f"            distinctive within 10 tokens: {clues.within(10):.1%}, within 15: "
            f"{clues.within(15):.1%}; never before the document's end: {clues.never:.1%}",
        ]
    return "\n".join(lines)


def _size(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def plot(knowledge_base: KnowledgeBase, clues: ClueLengths, path: Path) -> None:
    """Write an image: clue lengths, and documents' lengths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    last = int(min(30, clues.lengths.max(initial=1)))
    steps = np.arange(0, last + 1)
    left.step(steps, [100 * clues.within(int(step)) for step in steps], where="post")
    left.set(
        title="A clue of so many tokens is distinctive", xlabel="tokens",
        ylabel="% of beginnings", xlim=(0, last), ylim=(0, 102),
    )  # fmt: skip
    left.grid(alpha=0.3)
    lengths = knowledge_base.index.document_lengths()
    lengths = np.delete(lengths, knowledge_base.index.removed)
    # Bars of whole tokens: others would stand for now more, now fewer of them.
    width = max(1, -(-int(np.ptp(lengths)) // 50))
    right.hist(lengths, bins=np.arange(lengths.min(), lengths.max() + width + 1, width) - 0.5)
    right.set(title="Length of the documents", xlabel="tokens", ylabel="documents")
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


@dataclass(frozen=True)
class Query:
    """What the index says of some words.

    Attributes:
        tokens: their tokens.
        count: how often they occur.
        row: the one document that they occur in, -1 if there is none or are several.
        following: tokens that follow somewhere (GetNext), with how often, most frequent first.
        places: (row, offset) of some occurrences.
    """

    tokens: list[int]
    count: int
    row: int
    following: list[tuple[int, int]]
    places: list[tuple[int, int]]


def query(knowledge_base: KnowledgeBase, words: str, limit: int = 10) -> Query:
    """Ask the index for some words as a language model would meet them, within a sentence.

    Raises:
        ValueError: if there are no words.
    """
    if not words.strip():
        raise ValueError("There are no words to look for")
    index = knowledge_base.index
    tokens = knowledge_base.encode(words)
    (following,) = index.get_next([tokens])
    intervals = index.search([tokens]).take(np.zeros(len(following), dtype=np.int64))
    counts = index.occurrences(index.extend(intervals, following))
    order = np.argsort(-counts, kind="stable")
    return Query(
        tokens,
        int(index.count([tokens])[0]),
        int(index.lookup_doc([tokens])[0]),
        [(int(following[number]), int(counts[number])) for number in order],
        [(int(row), int(offset)) for row, offset in index.locate(tokens, limit=limit)],
    )


def describe_query(knowledge_base: KnowledgeBase, found: Query, limit: int = 10) -> str:
    """A `Query` as lines to read: the words are marked in the documents."""
    tokenizer, index = knowledge_base.tokenizer, knowledge_base.index

    def text(tokens: ArrayLike) -> str:
        return str(
            tokenizer.decode(np.asarray(tokens).tolist(), clean_up_tokenization_spaces=False)
        )

    pieces = " | ".join(repr(text([token]))[1:-1] for token in found.tokens)
    lines = [f"tokens     {pieces}", f"occurs     {found.count:,} times"]
    if found.row >= 0:
        lines[-1] += f", in document {knowledge_base[found.row]['id']} alone: a distinctive clue"
    shown = [f"{text([token])!r} {count:,}" for token, count in found.following[:limit]]
    more = len(found.following) - len(shown)
    if found.count:
        lines.append(
            f"follows    {', '.join(shown) or 'nothing: the document ends'}"
            + (f", and {more:,} more" if more > 0 else "")
        )
    for row, offset in found.places:
        tokens = index.extract(row)
        end = offset + len(found.tokens)
        before = text(tokens[max(0, offset - 8) : offset])
        after = text(tokens[end : end + 8])
        start, stop = "…" if offset > 8 else "", "…" if end + 8 < len(tokens) else ""
        words = text(tokens[offset:end])
        space = " " if words.startswith(" ") else ""
        marked = f"{start}{before}{space}[{words.strip()}]{after}{stop}"
        lines.append(f"  {knowledge_base[row]['id']}: {' '.join(marked.split())}")
    if found.count > len(found.places):
        lines.append(f"  … and {found.count - len(found.places):,} more")
    return "\n".join(lines)


__all__ = [
    "ClueLengths",
    "Query",
    "clue_lengths",
    "describe",
    "describe_query",
    "empty_texts",
    "plot",
    "query",
]
