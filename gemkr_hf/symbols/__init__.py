"""The small world: symbols with real knowledge, scenes that show them, questions about them."""

from gemkr_hf.symbols.dataset import SPLITS, SymbolsConfig, load_symbols
from gemkr_hf.symbols.knowledge import ASPECTS, Symbol, load_documents, load_known_symbols
from gemkr_hf.symbols.scenes import Scene, SceneObject, draw_scene

__all__ = [
    "ASPECTS",
    "SPLITS",
    "Scene",
    "SceneObject",
    "Symbol",
    "SymbolsConfig",
    "draw_scene",
    "load_documents",
    "load_known_symbols",
    "load_symbols",
]
