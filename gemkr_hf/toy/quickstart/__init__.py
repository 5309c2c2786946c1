"""The quickstart: the whole workflow once, from documents to a table of metrics."""

from gemkr_hf.utils.extras import require_extra

require_extra("quickstart", "The quickstart needs")

from gemkr_hf.toy.quickstart.stages import QuickstartConfig, run_quickstart

__all__ = ["QuickstartConfig", "run_quickstart"]
