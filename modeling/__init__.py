"""The model, as it travels to the Hub: closed files that need torch and transformers only."""

from .beam_search_gemkr import BeamSearchOutput, DiverseBeamSearch
from .configuration_gemkr import PAPER_DECODING, GeMKRConfig
from .generation_gemkr import diverse_beam_search
from .modeling_gemkr import GeMKRForRetrieval, GeMKROutput
from .vision_gemkr import GeMKRVisionTower

__all__ = [
    "PAPER_DECODING",
    "BeamSearchOutput",
    "DiverseBeamSearch",
    "GeMKRConfig",
    "GeMKRForRetrieval",
    "GeMKROutput",
    "GeMKRVisionTower",
    "diverse_beam_search",
]
