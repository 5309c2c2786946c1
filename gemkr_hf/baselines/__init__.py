"""The systems of the paper's Table 1, each behind one small protocol (`Retriever`)."""

from gemkr_hf.baselines.bm25 import BM25Retriever
from gemkr_hf.baselines.captioning import (
    CaptionModel,
    PublishedCaptions,
    fit_captions,
    load_captioner,
)
from gemkr_hf.baselines.clip import CLIPRetriever, CLIPTowers
from gemkr_hf.baselines.contrastive_training import Pair, fit_towers
from gemkr_hf.baselines.corpusbrain import CorpusBrainRetriever, name_of, pretraining_examples
from gemkr_hf.baselines.dense_retrieval import DenseRetriever, SentenceRetriever
from gemkr_hf.baselines.gemkr_baseline import GeMKRSystem
from gemkr_hf.baselines.image_inputs import ImageReader
from gemkr_hf.baselines.query_encoders import WordsEncoder
from gemkr_hf.baselines.rank_fusion import FusionRetriever
from gemkr_hf.baselines.seal import SEALRetriever, SEALSettings
from gemkr_hf.baselines.text_language_model import Example, TextModel, fit_text_model, write_prompt
from gemkr_hf.baselines.tower_factory import new_towers
from gemkr_hf.baselines.two_towers import TwoTowers
from gemkr_hf.retrieval.protocol import Found, Retriever, with_caption

__all__ = [
    "BM25Retriever",
    "CLIPRetriever",
    "CLIPTowers",
    "CaptionModel",
    "CorpusBrainRetriever",
    "DenseRetriever",
    "Example",
    "Found",
    "FusionRetriever",
    "GeMKRSystem",
    "ImageReader",
    "Pair",
    "PublishedCaptions",
    "Retriever",
    "SEALRetriever",
    "SEALSettings",
    "SentenceRetriever",
    "TextModel",
    "TwoTowers",
    "WordsEncoder",
    "fit_captions",
    "fit_text_model",
    "fit_towers",
    "load_captioner",
    "name_of",
    "new_towers",
    "pretraining_examples",
    "with_caption",
    "write_prompt",
]
