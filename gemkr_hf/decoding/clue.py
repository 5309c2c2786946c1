"""A knowledge clue that the model has written."""

from dataclasses import dataclass

from gemkr_hf.utils.deprecation import warn_renamed


@dataclass(frozen=True)
class Clue:
    """A finished clue.

    Attributes:
        pieces: the token ids of each of its pieces, without end tokens; one piece unless several
            were allowed (``max_pieces``). Each piece is a contiguous part of the document's tokens.
        score: clues are ranked by it: ``log_prob`` minus the ambiguity penalty.
        log_prob: sum of the log-probabilities of its tokens (Eq. 1); None where only the score is
            known, as of free text.
        text: its text; `` ... `` stands between pieces. Empty until a tokenizer decoded it.
        group: the beam group that found it first; -1 where there are no groups.
        row: the row of the only document that contains it; -1 where it was not looked up.
    """

    pieces: tuple[tuple[int, ...], ...]
    score: float
    log_prob: float | None = None
    text: str = ""
    group: int = -1
    row: int = -1

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The token ids of all pieces, one after the other."""
        return tuple(token for piece in self.pieces for token in piece)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Deprecated name of `token_ids`."""
        warn_renamed("tokens", "token_ids")
        return self.token_ids


__all__ = ["Clue"]
