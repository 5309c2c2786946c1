"""The systems of the paper's Table 1 besides GeMKR; all implement `Retriever`."""

from gemkr_hf.utils.extras import require_extra

require_extra("eval", "The paper's other systems need")

from gemkr_hf.baselines.baseline import with_caption
from gemkr_hf.baselines.bm25 import BM25Retriever
from gemkr_hf.baselines.captioning import (
    CaptionModel,
    PublishedCaptions,
    fit_captions,
    load_captioner,
)
from gemkr_hf.baselines.clip import CLIPRetriever, CLIPTowers
from gemkr_hf.baselines.contrastive_training import Pair, fit_towers
from gemkr_hf.baselines.corpusbrain import (
    CorpusBrainRetriever,
    pretraining_examples,
    title_or_first_sentence,
)
from gemkr_hf.baselines.dense_retrieval import DenseRetriever, SentenceRetriever
from gemkr_hf.baselines.image_inputs import ImageReader
from gemkr_hf.baselines.rank_fusion import FusionRetriever
from gemkr_hf.baselines.seal import SEALRetriever, SEALSettings
from gemkr_hf.baselines.text_language_model import Example, TextModel, fit_text_model, write_prompt
from gemkr_hf.baselines.tower_factory import new_towers
from gemkr_hf.baselines.two_towers import TextEncoder, TwoTowers
from gemkr_hf.retrieval.protocol import Retriever
from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.deprecation import renamed_attributes

__getattr__ = renamed_attributes(
    __name__,
    {
        "Found": "gemkr_hf.retrieval.types:Hit",
        "PictureReader": "ImageReader",
        "GeMKRSystem": "gemkr_hf.retrieval.retriever:GeMKRRetriever",
        "WordsEncoder": "TextEncoder",
        "name_of": "title_or_first_sentence",
    },
)

__all__ = [
    "BM25Retriever",
    "CLIPRetriever",
    "CLIPTowers",
    "CaptionModel",
    "CorpusBrainRetriever",
    "DenseRetriever",
    "Example",
    "FusionRetriever",
    "Hit",
    "ImageReader",
    "Pair",
    "PublishedCaptions",
    "Retriever",
    "SEALRetriever",
    "SEALSettings",
    "SentenceRetriever",
    "TextEncoder",
    "TextModel",
    "TwoTowers",
    "fit_captions",
    "fit_text_model",
    "fit_towers",
    "load_captioner",
    "new_towers",
    "pretraining_examples",
    "title_or_first_sentence",
    "with_caption",
    "write_prompt",
]
