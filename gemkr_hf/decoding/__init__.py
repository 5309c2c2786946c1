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
        "beam_plot": ["plot_beams"],
        "clue": ["Clue"],
        "clue_rules": ["ClueRules"],
        "constraint": ["FMIndexConstraint"],
        "search_trace": ["SearchTrace"],
        "tree_attention": ["supports_tree_attention"],
        "tree_scorer": ["TreeScorer"],
        "tree_search": ["FoundClue", "TreeSearch"],
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
