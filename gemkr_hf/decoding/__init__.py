"""What may be written: constrained decoding over an FM-index."""

from gemkr_hf.decoding.beam_plot import plot_beams
from gemkr_hf.decoding.clue_rules import ClueRules
from gemkr_hf.decoding.constraint import FMIndexConstraint
from gemkr_hf.decoding.search_trace import SearchTrace
from gemkr_hf.decoding.tree_attention import supports_tree_attention
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
