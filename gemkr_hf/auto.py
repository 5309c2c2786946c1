"""Registers the installed classes, so that a local checkpoint is not loaded as remote code, and
the task ``pipeline("knowledge-retrieval")``."""

from os import PathLike
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


def make_retriever(
    model: Any,
    processor: Any,
    knowledge_base: Any,
    revision: str | None = None,
    aggregate: str | None = None,
) -> Any:
    """Make the retriever of the pipeline, which finds this function by its entry-point group.

    Args:
        model, processor: of a checkpoint.
        knowledge_base: a ``KnowledgeBase``, a folder or a Hub id.
        revision: of the Hub id.
        aggregate: see ``GeMKRRetriever``.
    """
    from gemkr_hf.knowledge_base import KnowledgeBase
    from gemkr_hf.retrieval.retriever import GeMKRRetriever

    if isinstance(knowledge_base, str | PathLike):
        options = {"revision": revision} if revision else {}
        knowledge_base = KnowledgeBase.from_pretrained(knowledge_base, **options)
    return GeMKRRetriever(model, processor, knowledge_base, aggregate=aggregate)


# In a checkout that is not installed there are no entry points.
KnowledgeRetrievalPipeline.retriever_factory = staticmethod(make_retriever)
if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(TASK, KnowledgeRetrievalPipeline, pt_model=AutoModel)
