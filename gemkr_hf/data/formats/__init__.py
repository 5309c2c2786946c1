"""The formats of question files, one module each."""

from gemkr_hf.data.formats.gemkr_json import read_gemkr
from gemkr_hf.data.formats.okvqa import okvqa_document_id, read_okvqa, read_remuq
from gemkr_hf.data.formats.question_table import read_table

FILE_FORMATS = {
    "okvqa": read_okvqa,
    "remuq": read_remuq,
    "gemkr": read_gemkr,
    "table": read_table,
}
"""Format name -> function that reads rows of ``QUESTION_FEATURES`` from a file."""

DOCUMENT_IDS = {"okvqa": okvqa_document_id}
"""Format name -> function that normalizes document ids, so that those in the corpus equal those in
the questions; other formats need only `str.strip`."""

__all__ = ["DOCUMENT_IDS", "FILE_FORMATS"]
