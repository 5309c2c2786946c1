"""The whole way once: knowledge base, tuning, checkpoint, answers, a table of figures."""

from gemkr_hf.toy.quickstart.stages import QuickstartConfig, run_quickstart

__all__ = ["QuickstartConfig", "run_quickstart"]
