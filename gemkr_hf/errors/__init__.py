"""Why answers are wrong: a cause for each question, tables of confusion, a report with pictures."""

from gemkr_hf.errors.causes import Cause, Evidence, Finding, classify
from gemkr_hf.errors.confusion import ConfusionTable, SymbolPair
from gemkr_hf.errors.report import ErrorAnalysis, analyze_errors, write_error_report
from gemkr_hf.errors.search import Search, WrittenClue
from gemkr_hf.errors.truth import SceneThing, SceneTruth, read_truths

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
