"""Error analysis: causes of failed questions, confusion tables, and an HTML report."""

from gemkr_hf.evaluation.error_analysis.causes import Cause, Evidence, Finding, classify
from gemkr_hf.evaluation.error_analysis.confusion import ConfusionTable, SymbolPair
from gemkr_hf.evaluation.error_analysis.html_report import (
    ErrorAnalysis,
    analyze_errors,
    write_error_report,
)
from gemkr_hf.evaluation.error_analysis.search_replay import GeneratedClue, SearchReplay
from gemkr_hf.utils.deprecation import renamed_attributes

__getattr__ = renamed_attributes(
    __name__,
    {
        "SceneThing": "gemkr_hf.data.scenes:SceneObject",
        "SceneTruth": "gemkr_hf.data.scenes:Scene",
        "Search": "SearchReplay",
        "WrittenClue": "GeneratedClue",
    },
)

__all__ = [
    "Cause",
    "ConfusionTable",
    "ErrorAnalysis",
    "Evidence",
    "Finding",
    "GeneratedClue",
    "SearchReplay",
    "SymbolPair",
    "analyze_errors",
    "classify",
    "write_error_report",
]
