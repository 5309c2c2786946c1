"""Questions of every format, as one kind of data set."""

from collections import Counter
from pathlib import Path

import datasets

from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.features import QUESTION_FEATURES
from gemkr_hf.data.formats.gemkr_json import read_gemkr
from gemkr_hf.data.formats.okvqa import read_okvqa, read_remuq
from gemkr_hf.data.formats.question_table import read_table


def read_questions(path: str | Path, config: DataConfig) -> datasets.Dataset:
    """Questions of a file.

    Args:
        path: the file.
        config: its `format` says how the file is read, and its columns where a table is.

    Returns:
        A data set with `QUESTION_FEATURES`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is wrong or incomplete, with the record's number, its line and the
            field; or if two questions have one id.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'")
    if config.format == "okvqa":
        rows = list(read_okvqa(path))
    elif config.format == "remuq":
        rows = list(read_remuq(path))
    elif config.format == "gemkr":
        rows = list(read_gemkr(path))
    elif config.format == "table":
        rows = list(read_table(path, config))
    else:
        raise ValueError(f"The format '{config.format}' has no files of questions")
    identifier, times = Counter(row["question_id"] for row in rows).most_common(1)[0]
    if times > 1:
        raise ValueError(f"The question_id '{identifier}' occurs {times} times in '{path}'")
    return datasets.Dataset.from_list(rows, features=QUESTION_FEATURES)


__all__ = ["read_questions"]
