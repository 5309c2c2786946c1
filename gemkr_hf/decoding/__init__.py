"""What may be written: constrained decoding over an FM-index."""

from gemkr_hf.decoding.beam_plot import plot_beams
from gemkr_hf.decoding.clue import Clue
from gemkr_hf.decoding.clue_rules import ClueRules
from gemkr_hf.decoding.constraint import FMIndexConstraint
from gemkr_hf.decoding.search_trace import SearchTrace
from gemkr_hf.decoding.tree_attention import supports_tree_attention
from gemkr_hf.decoding.tree_scorer import TreeScorer
from gemkr_hf.decoding.tree_search import TreeSearch
from gemkr_hf.utils.deprecation import renamed_attributes

__getattr__ = renamed_attributes(__name__, {"FoundClue": "gemkr_hf.decoding.clue:Clue"})

__all__ = [
    "Clue",
    "ClueRules",
    "FMIndexConstraint",
    "SearchTrace",
    "TreeScorer",
    "TreeSearch",
    "plot_beams",
    "supports_tree_attention",
]
