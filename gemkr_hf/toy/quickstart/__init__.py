"""The quickstart: the whole workflow once, from documents to a table of metrics."""

from gemkr_hf.toy.quickstart.stages import QuickstartConfig, run_quickstart

__all__ = ["QuickstartConfig", "run_quickstart"]
