"""Constrained decoding over an FM-index: clue rules, constraint, search over the tree of clues."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from gemkr_hf.decoding.beam_plot import plot_beams
    from gemkr_hf.decoding.clue import Clue
    from gemkr_hf.decoding.clue_rules import ClueRules
    from gemkr_hf.decoding.constraint import FMIndexConstraint
    from gemkr_hf.decoding.search_trace import SearchTrace
    from gemkr_hf.decoding.tree_attention import supports_tree_attention
    from gemkr_hf.decoding.tree_scorer import TreeScorer
    from gemkr_hf.decoding.tree_search import TreeSearch

__getattr__ = lazy_exports(
    __name__,
    {
        "Clue": "clue",
        "ClueRules": "clue_rules",
        "FMIndexConstraint": "constraint",
        "FoundClue": "tree_search",
        "SearchTrace": "search_trace",
        "TreeScorer": "tree_scorer",
        "TreeSearch": "tree_search",
        "plot_beams": "beam_plot",
        "supports_tree_attention": "tree_attention",
    },
)

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
