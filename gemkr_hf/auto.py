"""Registers the installed classes, so that a local checkpoint is not loaded as remote code."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval
from gemkr_hf.processing import GeMKRProcessor

AutoConfig.register(GeMKRConfig.model_type, GeMKRConfig, exist_ok=True)
AutoModel.register(GeMKRConfig, GeMKRForRetrieval, exist_ok=True)
AutoModelForImageTextToText.register(GeMKRConfig, GeMKRForRetrieval, exist_ok=True)
# PEFT's AutoPeftModelForCausalLM, which loads what lora_arguments() made, asks for this one.
AutoModelForCausalLM.register(GeMKRConfig, GeMKRForRetrieval, exist_ok=True)
AutoProcessor.register(GeMKRConfig, GeMKRProcessor, exist_ok=True)
