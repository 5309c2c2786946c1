"""The systems of the paper's Table 1, each behind one small protocol (`Retriever`)."""

from gemkr_hf.retrievers.base import Found, Retriever, with_caption
from gemkr_hf.retrievers.bm25 import BM25Retriever
from gemkr_hf.retrievers.captions import (
    CaptionModel,
    PublishedCaptions,
    fit_captions,
    load_captioner,
)
from gemkr_hf.retrievers.clip import CLIPRetriever, CLIPTowers
from gemkr_hf.retrievers.contrastive import Pair, fit_towers
from gemkr_hf.retrievers.corpusbrain import CorpusBrainRetriever, name_of, pretraining_examples
from gemkr_hf.retrievers.dense import DenseRetriever, SentenceRetriever
from gemkr_hf.retrievers.fusion import FusionRetriever
from gemkr_hf.retrievers.gemkr import GeMKRSystem
from gemkr_hf.retrievers.new_towers import new_towers
from gemkr_hf.retrievers.pictures import PictureReader
from gemkr_hf.retrievers.query_encoders import WordsEncoder
from gemkr_hf.retrievers.seal import SEALRetriever, SEALSettings
from gemkr_hf.retrievers.text_models import Example, TextModel, fit_text_model, write_prompt
from gemkr_hf.retrievers.two_towers import TwoTowers

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
    "Pair",
    "PictureReader",
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
