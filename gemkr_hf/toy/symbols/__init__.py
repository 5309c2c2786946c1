"""Symbols: documents about them, scenes that show them, questions about the scenes."""

from gemkr_hf.toy.symbols.symbol_documents import (
    ASPECTS,
    Symbol,
    load_documents,
    load_known_symbols,
)
from gemkr_hf.toy.symbols.symbol_scenes import Scene, SceneObject, draw_scene
from gemkr_hf.toy.symbols.symbols_dataset import SPLITS, SymbolsConfig, load_symbols

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
