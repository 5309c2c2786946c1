"""Read question files of every format into one kind of dataset."""

from collections import Counter
from pathlib import Path

import datasets

from gemkr_hf.data.data_config import DataConfig
from gemkr_hf.data.features import QUESTION_FEATURES
from gemkr_hf.data.formats import FILE_FORMATS


def read_questions(path: str | Path, config: DataConfig) -> datasets.Dataset:
    """Read the questions of a file.

    Args:
        path: The file.
        config: Its ``format`` selects the reader; its columns apply to tables.

    Returns:
        A dataset with `QUESTION_FEATURES`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is invalid or incomplete, with the number, line and field of the
            record; or if two questions have the same id.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"File not found: '{path}'")
    if config.format not in FILE_FORMATS:
        raise ValueError(f"The format '{config.format}' has no question files")
    rows = list(FILE_FORMATS[config.format].read(path, config))
    identifier, count = Counter(row["question_id"] for row in rows).most_common(1)[0]
    if count > 1:
        raise ValueError(f"question_id '{identifier}' occurs {count} times in '{path}'")
    return datasets.Dataset.from_list(rows, features=QUESTION_FEATURES)


__all__ = ["read_questions"]
