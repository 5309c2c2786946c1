"""Inspect a knowledge base: sizes, clue lengths, and occurrences of a text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from gemkr_hf.hub.upload_plan import readable_size
from gemkr_hf.knowledge_base.knowledge_base import KnowledgeBase
from gemkr_hf.utils.figures import new_figure
from gemkr_hf.utils.io import atomic_file


@dataclass(frozen=True)
class ClueLengths:
    """Number of tokens until a clue is distinctive.

    Attributes:
        lengths: int64[n], of the clues that become distinctive before the end of their document.
        sampled: number of start positions.
    """

    lengths: NDArray[np.int64]
    sampled: int

    @property
    def never(self) -> float:
        """Share of the positions at which no distinctive clue starts."""
        return 1 - len(self.lengths) / max(1, self.sampled)

    def within(self, length: int) -> float:
        """Share of the positions at which a clue of this length is distinctive."""
        return float((self.lengths <= length).sum()) / max(1, self.sampled)


def clue_lengths(knowledge_base: KnowledgeBase, sample: int = 5000, seed: int = 0) -> ClueLengths:
    """Extend clues from random start positions until they are distinctive.

    All tokens of all documents are equally likely start positions.
    """
    index, rng = knowledge_base.index, np.random.default_rng(seed)
    lengths = index.document_lengths()
    total = int(lengths.sum())
    if total == 0:
        return ClueLengths(np.empty(0, np.int64), 0)
    positions = np.sort(rng.choice(total, size=min(sample, total), replace=False))
    ends = np.cumsum(lengths)
    rows = np.searchsorted(ends, positions, side="right")
    offsets = positions - (ends[rows] - lengths[rows])
    texts = {int(row): index.extract(int(row)) for row in np.unique(rows)}
    rest = [texts[int(row)][offset:] for row, offset in zip(rows, offsets, strict=True)]
    remaining = np.array([len(tokens) for tokens in rest])
    intervals, clues = index.root(len(rest)), np.arange(len(rest))
    found = []
    for length in range(1, int(remaining.max()) + 1):
        longer = np.flatnonzero(remaining[clues] >= length)
        clues, intervals = clues[longer], intervals.take(longer)
        if len(clues) == 0:
            break
        tokens = np.array([rest[clue][length - 1] for clue in clues])
        intervals = index.extend(intervals, tokens)
        distinct = index.is_distinct(intervals)
        found += [length] * int(distinct.sum())
        ambiguous = np.flatnonzero(~distinct)
        clues, intervals = clues[ambiguous], intervals.take(ambiguous)
    return ClueLengths(np.array(found, dtype=np.int64), len(rest))


def empty_texts(knowledge_base: KnowledgeBase) -> list[Any]:
    """Ids of documents whose text is empty or whitespace."""
    documents = knowledge_base.documents.select_columns(["id", "text"]).with_format("arrow")
    ids: list[Any] = []
    for table in documents.iter(10_000):
        empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table.column("text"))), 0)
        ids += table.filter(empty).column("id").to_pylist()
    return ids


def describe(knowledge_base: KnowledgeBase, clues: ClueLengths, shown: int = 3) -> str:
    """Format counts, sizes, the longest and shortest documents, and clue lengths."""
    index, identity = knowledge_base.index, knowledge_base.tokenizer_identity
    lengths = index.document_lengths()
    live = np.setdiff1d(np.arange(index.num_rows), index.removed)
    order = live[np.argsort(lengths[live], kind="stable")]
    ids = len(knowledge_base.row_ids())
    lines = [
        f"documents   {len(knowledge_base):,}"
        + (f" with {ids:,} ids" if ids != len(knowledge_base) else "")
        + (f", plus {len(index.removed):,} removed" if len(index.removed) else ""),
        f"tokens      {index.num_tokens:,}, {index.num_tokens / max(1, len(live)):.1f} per "
        f"document; {len(index.tokens):,} of {index.vocab_size:,} different tokens",
        f"tokenizer   {identity.name} (fingerprint {identity.fingerprint[:8]})",
        f"index       {readable_size(index.nbytes)}, "
        f"{index.nbytes / max(1, index.num_tokens):.2f} bytes per token, "
        f"{index.num_shards} shard{'s'[: index.num_shards != 1]}",
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
            f"clues       {clues.lengths.mean():.1f} tokens until they are distinctive, from "
            f"{clues.sampled:,} positions",
            f"            (median {quantiles[0]}, 90th percentile {quantiles[1]}, 99th percentile "
            f"{quantiles[2]})",
            f"            distinctive within 10 tokens: {clues.within(10):.1%}, within 15: "
            f"{clues.within(15):.1%}; not before the end of the document: {clues.never:.1%}",
        ]
    return "\n".join(lines)


def plot(knowledge_base: KnowledgeBase, clues: ClueLengths, path: Path) -> None:
    """Save a plot of clue lengths and document lengths."""
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    last = min(30, int(clues.lengths.max(initial=1)))
    steps = np.arange(0, last + 1)
    left.step(steps, [100 * clues.within(int(step)) for step in steps], where="post")
    left.set(
        title="Clues that are distinctive", xlabel="tokens", ylabel="% of start positions",
        xlim=(0, last), ylim=(0, 102),
    )  # fmt: skip
    left.grid(alpha=0.3)
    lengths = knowledge_base.index.document_lengths()
    lengths = np.delete(lengths, knowledge_base.index.removed)
    # Bars of whole tokens: others would cover varying numbers of lengths.
    width = max(1, -(-int(np.ptp(lengths)) // 50))
    right.hist(lengths, bins=np.arange(lengths.min(), lengths.max() + width + 1, width) - 0.5)
    right.set(title="Length of the documents", xlabel="tokens", ylabel="documents")
    right.grid(alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


@dataclass(frozen=True)
class Query:
    """Occurrences of a text in the index.

    Attributes:
        tokens: its tokens.
        count: number of occurrences.
        row: the only document that contains it; -1 if none or several do.
        following: successors (GetNext) with their numbers of occurrences, most frequent first.
        positions: (row, offset) of some occurrences.
    """

    tokens: list[int]
    count: int
    row: int
    following: list[tuple[int, int]]
    positions: list[tuple[int, int]]


def query(knowledge_base: KnowledgeBase, text: str, limit: int = 10) -> Query:
    """Look up a text, tokenized as within a sentence.

    Raises:
        ValueError: if the text is empty.
    """
    if not text.strip():
        raise ValueError("The text to look up is empty")
    index = knowledge_base.index
    tokens = knowledge_base.encode(text)
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


def describe_query(knowledge_base: KnowledgeBase, result: Query, limit: int = 10) -> str:
    """Format a `Query`: the text is marked in the documents."""
    tokenizer, index = knowledge_base.tokenizer, knowledge_base.index

    def decode(tokens: ArrayLike) -> str:
        return str(
            tokenizer.decode(np.asarray(tokens).tolist(), clean_up_tokenization_spaces=False)
        )

    pieces = " | ".join(repr(decode([token]))[1:-1] for token in result.tokens)
    lines = [f"tokens     {pieces}", f"occurs     {result.count:,} times"]
    if result.row >= 0:
        lines[-1] += f", only in document {knowledge_base[result.row]['id']}: a distinctive clue"
    shown = [f"{decode([token])!r} {count:,}" for token, count in result.following[:limit]]
    more = len(result.following) - len(shown)
    if result.count:
        lines.append(
            f"follows    {', '.join(shown) or 'nothing: the document ends'}"
            + (f", and {more:,} more" if more > 0 else "")
        )
    for row, offset in result.positions:
        tokens = index.extract(row)
        end = offset + len(result.tokens)
        before, after = decode(tokens[max(0, offset - 8) : offset]), decode(tokens[end : end + 8])
        start, stop = "…" if offset > 8 else "", "…" if end + 8 < len(tokens) else ""
        text = decode(tokens[offset:end])
        space = " " if text.startswith(" ") else ""
        marked = f"{start}{before}{space}[{text.strip()}]{after}{stop}"
        lines.append(f"  {knowledge_base[row]['id']}: {' '.join(marked.split())}")
    if result.count > len(result.positions):
        lines.append(f"  … and {result.count - len(result.positions):,} more")
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
