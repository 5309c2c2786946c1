"""Registers the installed classes, so that a local checkpoint is not loaded as remote code, and
the task ``pipeline("knowledge-retrieval")``."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval, KnowledgeRetrievalPipeline
from gemkr_hf.modeling.pipeline_gemkr import TASK
from gemkr_hf.processing import GeMKRProcessor

AutoConfig.register(GeMKRConfig.model_type, GeMKRConfig, exist_ok=True)
AutoModel.register(GeMKRConfig, GeMKRForRetrieval, exist_ok=True)
AutoModelForImageTextToText.register(GeMKRConfig, GeMKRForRetrieval, exist_ok=True)
# PEFT's AutoPeftModelForCausalLM, which loads what lora_arguments() made, asks for this one.
AutoModelForCausalLM.register(GeMKRConfig, GeMKRForRetrieval, exist_ok=True)
AutoProcessor.register(GeMKRConfig, GeMKRProcessor, exist_ok=True)


def _search(*args: Any) -> Any:
    from gemkr_hf.retrieval.pipeline_search import PipelineSearch

    return PipelineSearch(*args)


# In a checkout that is not installed there are no entry points.
KnowledgeRetrievalPipeline.search_class = staticmethod(_search)
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(TASK, KnowledgeRetrievalPipeline, pt_model=AutoModel)
