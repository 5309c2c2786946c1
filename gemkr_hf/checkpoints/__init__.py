"""Checkpoints: a model with its processor, or an adapter; loaded, saved, described, uploaded."""

from gemkr_hf.checkpoints.facts import FACTS_FILE, Result, read_facts, record_results, write_facts
from gemkr_hf.checkpoints.loading import load_checkpoint
from gemkr_hf.checkpoints.publishing import (
    CardSettings,
    plan_adapter,
    plan_model,
    push_adapter,
    push_model,
)
from gemkr_hf.checkpoints.saving import save_adapter, save_model

__all__ = [
    "FACTS_FILE",
    "CardSettings",
    "Result",
    "load_checkpoint",
    "plan_adapter",
    "plan_model",
    "push_adapter",
    "push_model",
    "read_facts",
    "record_results",
    "save_adapter",
    "save_model",
    "write_facts",
]
