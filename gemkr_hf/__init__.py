"""GeMKR for Hugging Face: generative multi-modal knowledge retrieval.

Heavy parts are imported when they are first asked for, so that ``gemkr --help`` is quick.
``import gemkr_hf.auto`` lets ``AutoModel`` and ``AutoProcessor`` know the package's classes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gemkr_hf.utils import moved_modules

__version__ = "0.1.0"

moved_modules.install(__name__)

_HOMES = {
    "FMIndex": "gemkr_hf.index",
    "FMIndexConstraint": "gemkr_hf.decoding",
    "GeMKRConfig": "gemkr_hf.modeling",
    "GeMKRForRetrieval": "gemkr_hf.modeling",
    "GeMKRProcessor": "gemkr_hf.processing",
    "GeMKRRetriever": "gemkr_hf.retrieval",
    "Hit": "gemkr_hf.retrieval",
    "KnowledgeBase": "gemkr_hf.knowledge_base",
    "TreeSearch": "gemkr_hf.decoding",
    "diverse_beam_search": "gemkr_hf.modeling",
    "plot_beams": "gemkr_hf.decoding",
}

_WITHOUT_TRANSFORMERS = ("gemkr_hf.index",)

if TYPE_CHECKING:
    from gemkr_hf.decoding import FMIndexConstraint, TreeSearch, plot_beams
    from gemkr_hf.index import FMIndex
    from gemkr_hf.knowledge_base import KnowledgeBase
    from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval, diverse_beam_search
    from gemkr_hf.processing import GeMKRProcessor
    from gemkr_hf.retrieval import GeMKRRetriever, Hit


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gemkr_hf' has no attribute '{name}'")
    if _HOMES[name] not in _WITHOUT_TRANSFORMERS:
        import_module("gemkr_hf.auto")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "FMIndex",
    "FMIndexConstraint",
    "GeMKRConfig",
    "GeMKRForRetrieval",
    "GeMKRProcessor",
    "GeMKRRetriever",
    "Hit",
    "KnowledgeBase",
    "TreeSearch",
    "__version__",
    "diverse_beam_search",
    "plot_beams",
]
