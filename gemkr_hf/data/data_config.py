"""Where a benchmark's questions, documents and images are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

FORMATS = ("okvqa", "remuq", "gemkr", "table", "symbols")
LAYOUTS = ("auto", "folder", "coco", "tsv", "dataset")

_NUMBERS = ("seed", "scenes")


@dataclass(frozen=True)
class DataConfig:
    """Questions, documents and images, and the format that they are in.

    Attributes:
        format: of the questions: ``okvqa`` (OKVQA-GS112K and OKVQA-WK21M), ``remuq``, ``gemkr``
            (the JSON of the paper's released code), ``table`` (a spreadsheet of your own), or
            ``symbols`` (the small world, which needs no files).
        train: file of the training questions.
        validation: file of the validation questions, or how many are drawn from ``train`` (paper,
            Table 2: 896 of OKVQA's, 842 of ReMuQ's).
        test: file of the test questions.
        documents: the corpus: a file (CSV, TSV, JSON lines, Parquet), a saved data set's folder or
            a data set on the Hub.
        knowledge_base: folder or Hub id of a knowledge base that is there already, or the folder
            where it will be built.
        images: folder, base64 TSV, Parquet file, saved data set or data set on the Hub.
        image_layout: ``auto`` finds out; ``folder`` (any depth), ``coco``, ``tsv``, ``dataset``.
        question_column, image_column, documents_column, answers_column: columns of a ``table``; of
            documents and answers a cell may hold several, and they may be missing.
        separator: what stands between several ids or answers in one cell.
        id_column: column of the documents' ids; ``kid`` or ``id`` where None.
        text_column: column of the documents' texts.
        seed: of what is drawn.
        scenes: training images of ``symbols``; the benchmark's own number where None.
    """

    format: str
    train: str | None = None
    validation: str | int | None = None
    test: str | None = None
    documents: str | None = None
    knowledge_base: str | None = None
    images: str | None = None
    image_layout: str = "auto"
    question_column: str = "question"
    image_column: str = "image"
    documents_column: str = "document"
    answers_column: str = "answer"
    separator: str = ";"
    id_column: str | None = None
    text_column: str = "text"
    seed: int = 0
    scenes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            numeric = field.name in _NUMBERS
            allowed = numeric or field.name == "validation"
            if isinstance(value, bool) or not (
                (value is None and field.default is None)
                or (isinstance(value, int) and allowed)
                or (isinstance(value, str) and value != "" and not numeric)
            ):
                kind = "a whole number" if numeric else "a text"
                kind += " or a whole number" if field.name == "validation" else ""
                raise ValueError(f"{field.name} is {kind}, not {value!r}")
        if self.format not in FORMATS:
            raise ValueError(f"format is one of {', '.join(FORMATS)}, not '{self.format}'")
        if self.image_layout not in LAYOUTS:
            raise ValueError(
                f"image_layout is one of {', '.join(LAYOUTS)}, not '{self.image_layout}'"
            )
        if isinstance(self.validation, int) and self.validation < 1:
            raise ValueError(f"validation must be at least 1 question, got {self.validation}")
        self._check_use()

    def _check_use(self) -> None:
        if self.format == "symbols":
            for name in ("train", "validation", "test", "documents", "images"):
                if getattr(self, name) is not None:
                    raise ValueError(f"The format 'symbols' makes its own {name}: leave {name} out")
            if self.scenes is not None and self.scenes < 1:
                raise ValueError(f"scenes must be at least 1, got {self.scenes}")
            return
        if self.scenes is not None:
            raise ValueError("scenes is for the format 'symbols' alone: leave it out")
        if self.train is None and self.test is None and not isinstance(self.validation, str):
            raise ValueError("No questions are named: give train, validation or test a file")
        if isinstance(self.validation, int) and self.train is None:
            raise ValueError("validation is a number of training questions, and train is missing")

    @classmethod
    def from_mapping(cls, settings: Any, where: str = "the configuration") -> "DataConfig":
        """Settings read from a file; ``where`` names it in messages.

        Raises:
            ValueError: a setting is unknown, missing or wrong.
        """
        if not isinstance(settings, Mapping):
            raise ValueError(
                f"The section 'data' of {where} holds no settings such as format: table"
            )
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise ValueError(
                    f"There is no setting '{name}' in the section 'data' of {where}: "
                    f"there are {', '.join(known)}"
                )
        if "format" not in settings:
            raise ValueError(
                f"The section 'data' of {where} lacks format: it is one of {', '.join(FORMATS)}"
            )
        return cls(**settings)


__all__ = ["FORMATS", "LAYOUTS", "DataConfig"]
