"""What may be written: constrained decoding over an FM-index."""

from gemkr_hf.decoding.constraint import FMIndexConstraint
from gemkr_hf.decoding.engines import supports_tree_attention
from gemkr_hf.decoding.plots import plot_beams
from gemkr_hf.decoding.rules import ClueRules
from gemkr_hf.decoding.trace import SearchTrace
from gemkr_hf.decoding.tree_search import FoundClue, TreeSearch

__all__ = [
    "ClueRules",
    "FMIndexConstraint",
    "FoundClue",
    "SearchTrace",
    "TreeSearch",
    "plot_beams",
    "supports_tree_attention",
]
