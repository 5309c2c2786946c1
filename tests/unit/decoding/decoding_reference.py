"""The expected results of constrained decoding, by brute force over all clues."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Documents = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Legal:
    """A clue that may be written.

    row : the document that alone holds it; None where it ends ambiguous, and is dropped.
    chosen : the end token was one of several choices.
    steps : the tokens that were allowed at each of its tokens, and at its end where that is chosen.
    """

    token_ids: tuple[int, ...]
    row: int | None
    chosen: bool
    steps: tuple[tuple[int, ...], ...]


def holders(documents: Documents, clue: Sequence[int], whole: bool = False) -> list[tuple]:
    """(row, end) of every place of a clue; with `whole` only where documents begin."""
    clue = list(clue)
    return [
        (row, at + len(clue))
        for row, document in enumerate(documents)
        for at in range(1 if whole else len(document) - len(clue) + 1)
        if list(document[at : at + len(clue)]) == clue
    ]


def legal_clues(
    documents: Documents,
    shortest: int,
    longest: int,
    eos: int | tuple[int, ...],
    whole: bool = False,
    vocab_size: int = 10**9,
    keep_ambiguous: bool = False,
) -> list[Legal]:
    """Every way to write a clue, token by token, as docs/decoding.md states the rules."""
    ends_of_clues = (eos,) if isinstance(eos, int) else eos
    finished: list[Legal] = []
    waiting: list[tuple[list[int], tuple]] = [([], ())]
    while waiting:
        clue, steps = waiting.pop()
        places = holders(documents, clue, whole)
        rows = {row for row, _ in places}
        following = {documents[row][end] for row, end in places if end < len(documents[row])}
        following = {t for t in following if t < vocab_size and t not in ends_of_clues}
        ends = [row for row, end in places if end == len(documents[row])]
        row = next(iter(rows)) if len(rows) == 1 else None
        distinct = row is not None and len(clue) >= shortest and not whole
        first = min(rows) if keep_ambiguous and row is None and clue else row
        if clue and (distinct or len(clue) >= longest or not following):
            if whole and row is None and len(ends) == 1:
                row = ends[0]
            finished.append(Legal(tuple(clue), row if row is not None else first, False, steps))
            continue
        if whole:
            may_end = ends[0] if clue and len(ends) == 1 else None
        else:
            may_end = row if clue and ends and len(clue) < shortest else None
        allowed = sorted(following) + (list(ends_of_clues) if may_end is not None else [])
        if may_end is not None:
            finished.append(Legal(tuple(clue), may_end, True, (*steps, tuple(allowed))))
        waiting += [([*clue, token], (*steps, tuple(allowed))) for token in sorted(following)]
    return finished


def score(
    model: torch.nn.Module, prompt: Sequence[int], clue: Legal, eos: int,
    renormalize: bool = False,
) -> float:  # fmt: skip
    """log of Eq. 1, by the whole sequence at once; of what was allowed with `renormalize`."""
    written = [*clue.token_ids, *([eos] if clue.chosen else [])]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 : -1]
    total = 0.0
    for token, allowed, row in zip(written, clue.steps, logits.double(), strict=True):
        among = row[list(allowed)] if renormalize else row
        total += float(row[token] - among.logsumexp(0))
    return total
