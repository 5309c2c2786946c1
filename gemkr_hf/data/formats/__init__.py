"""The formats of question files, one module each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemkr_hf.data.formats.gemkr_json import read_gemkr
from gemkr_hf.data.formats.okvqa import okvqa_document_id, read_okvqa, read_remuq
from gemkr_hf.data.formats.question_table import read_table

if TYPE_CHECKING:
    from gemkr_hf.data.data_config import DataConfig


@dataclass(frozen=True)
class FileFormat:
    """A format of question files.

    Attributes:
        read: Reads rows of ``QUESTION_FEATURES`` from a file.
        document_id: Normalizes document ids, so that those in the corpus equal those in the
            questions.
    """

    read: Callable[[Path, "DataConfig"], Iterator[dict[str, Any]]]
    document_id: Callable[[str], str] = str.strip


FILE_FORMATS = {
    "okvqa": FileFormat(read_okvqa, okvqa_document_id),
    "remuq": FileFormat(read_remuq),
    "gemkr": FileFormat(read_gemkr),
    "table": FileFormat(read_table),
}
"""Format name -> how its files are read."""

__all__ = ["FILE_FORMATS", "FileFormat"]
