"""The finished hypotheses of one query."""

from typing import NamedTuple


class Hypothesis(NamedTuple):
    """A finished clue: its score, its tokens with the end token, the group that found it, and the
    row of the search that each token was chosen in."""

    score: float
    tokens: tuple[int, ...]
    group: int
    rows: tuple[int, ...] = ()


class HypothesisPool:
    """Keeps the `size` best different hypotheses of one query.

    A token sequence that several groups find is kept once, with its best score.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = False
        self._best: dict[tuple[int, ...], Hypothesis] = {}

    def add(self, hypothesis: Hypothesis) -> None:
        """Keep a hypothesis if it is among the best; a closed pool takes no more."""
        if self.closed:
            return
        known = self._best.get(hypothesis.tokens)
        if known is not None and known.score >= hypothesis.score:
            return
        self._best[hypothesis.tokens] = hypothesis
        if len(self._best) > self.size:
            # Among equals the one found last goes, so the order of finding decides.
            worst = min(reversed(self._best.values()), key=lambda kept: kept.score)
            del self._best[worst.tokens]

    def close_if_beaten(self, best_open: float) -> None:
        """Close when no open beam can get in: `best_open` is the best score one can still reach."""
        full = len(self._best) >= self.size
        if best_open == float("-inf") or (
            full and best_open <= min(kept.score for kept in self._best.values())
        ):
            self.closed = True

    def ranked(self) -> list[Hypothesis]:
        """All kept hypotheses, best first, the earlier found first among equals."""
        return sorted(self._best.values(), key=lambda kept: -kept.score)


__all__ = ["Hypothesis", "HypothesisPool"]
