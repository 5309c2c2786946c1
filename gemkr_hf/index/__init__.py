"""The FM-index over the tokens of documents."""

from gemkr_hf.index.fm_index import FMIndex, Intervals

__all__ = ["FMIndex", "Intervals"]
