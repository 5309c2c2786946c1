"""Why answers are wrong: a cause for each question, tables of confusion, a report with images."""

from gemkr_hf.evaluation.error_analysis.causes import Cause, Evidence, Finding, classify
from gemkr_hf.evaluation.error_analysis.confusion import ConfusionTable, SymbolPair
from gemkr_hf.evaluation.error_analysis.html_report import (
    ErrorAnalysis,
    analyze_errors,
    write_error_report,
)
from gemkr_hf.evaluation.error_analysis.repeated_search import Search, WrittenClue
from gemkr_hf.evaluation.error_analysis.scene_truth import SceneThing, SceneTruth, read_truths

__all__ = [
    "Cause",
    "ConfusionTable",
    "ErrorAnalysis",
    "Evidence",
    "Finding",
    "SceneThing",
    "SceneTruth",
    "Search",
    "SymbolPair",
    "WrittenClue",
    "analyze_errors",
    "classify",
    "read_truths",
    "write_error_report",
]
