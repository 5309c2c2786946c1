"""What may be written: constrained decoding over an FM-index."""

from gemkr_hf.decoding.constraint import FMIndexConstraint
from gemkr_hf.decoding.tree_search import FoundClue, TreeSearch, supports_tree_search

__all__ = ["FMIndexConstraint", "FoundClue", "TreeSearch", "supports_tree_search"]
