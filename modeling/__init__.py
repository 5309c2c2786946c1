"""The model: ``GeMKRForRetrieval``, whose files ``*_gemkr.py`` travel with every checkpoint."""

from .beam_search import diverse_beam_search
from .configuration_gemkr import PAPER_DECODING, GeMKRConfig
from .generation_gemkr import BeamSearchOutput, DiverseBeamSearch
from .modeling_gemkr import GeMKRForRetrieval, GeMKROutput
from .pipeline_gemkr import KnowledgeRetrievalPipeline
from .presets import ABLATIONS, LANGUAGE_MODELS, PRESETS
from .vision_gemkr import GeMKRSiglipVisionTower, GeMKRVisionTower

__all__ = [
    "ABLATIONS",
    "LANGUAGE_MODELS",
    "PAPER_DECODING",
    "PRESETS",
    "BeamSearchOutput",
    "DiverseBeamSearch",
    "GeMKRConfig",
    "GeMKRForRetrieval",
    "GeMKROutput",
    "GeMKRSiglipVisionTower",
    "GeMKRVisionTower",
    "KnowledgeRetrievalPipeline",
    "diverse_beam_search",
]
