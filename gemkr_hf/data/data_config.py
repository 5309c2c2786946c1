"""Settings of a benchmark: its format, and where questions, documents and images are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gemkr_hf.data.formats import FILE_FORMATS
from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.deprecation import renamed_fields, with_new_keys
from gemkr_hf.utils.registry import Registry

BENCHMARK_FORMATS: Registry[Any] = Registry("benchmark format")
"""Format name -> loader ``(DataConfig, base folder) -> Benchmark``. The file formats are registered
by `gemkr_hf.data.benchmark`; a plug-in registers formats that generate their data."""

LAYOUTS = ("auto", "folder", "coco", "tsv", "dataset")

RENAMED_SETTINGS = {
    "pictures": "images",
    "picture_layout": "image_layout",
}
"""Deprecated key of the section ``data`` -> the key that replaces it."""

_FILES = ("train", "validation", "test", "documents", "images")
_NUMBERS = ("seed", "scenes")


@renamed_fields(RENAMED_SETTINGS)
@dataclass(frozen=True)
class DataConfig(Settings):
    """Format and location of questions, documents and images.

    Attributes:
        format: Format of the questions: ``okvqa`` (OKVQA-GS112K and OKVQA-WK21M), ``remuq``,
            ``gemkr`` (the JSON of the paper's released code), ``table`` (a custom spreadsheet), or
            a registered format that needs no files, such as ``symbols``.
        train: File of the training questions.
        validation: File of the validation questions, or the number of questions to draw from
            ``train`` (paper, Table 2: 896 of OKVQA's, 842 of ReMuQ's).
        test: File of the test questions.
        documents: Corpus: a file (CSV, TSV, JSON lines, Parquet), the folder of a saved dataset, or
            a dataset on the Hub.
        knowledge_base: Folder or Hub id of an existing knowledge base, or the folder where it will
            be built.
        images: Folder, base64 TSV, Parquet file, saved dataset or dataset on the Hub.
        image_layout: ``folder`` (any depth), ``coco``, ``tsv``, ``dataset``, or ``auto`` to detect
            the layout.
        question_column, image_column, documents_column, answers_column: Columns of a ``table``. The
            last two are optional, and a cell of them may hold several values.
        separator: Separator of several ids or answers in one cell.
        id_column: Column of the documents' ids; if None, ``kid`` or ``id``.
        text_column: Column of the documents' texts.
        seed: Seed of random draws.
        scenes: Number of training images, for a format that generates its images; if None, the
            format's own default.

    Raises:
        ValueError: If a setting has the wrong type, is out of range or does not fit the format.
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

    @property
    def is_generated(self) -> bool:
        """Whether the format generates its questions, documents and images."""
        return self.format not in FILE_FORMATS

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_type(field.name, optional=field.default is None)
        if self.format not in BENCHMARK_FORMATS:
            names = ", ".join(BENCHMARK_FORMATS.names())
            raise ValueError(f"format must be one of {names}, got '{self.format}'")
        if self.image_layout not in LAYOUTS:
            raise ValueError(
                f"image_layout must be one of {', '.join(LAYOUTS)}, got '{self.image_layout}'"
            )
        if isinstance(self.validation, int) and self.validation < 1:
            raise ValueError(f"validation must be at least 1 question, got {self.validation}")
        if self.scenes is not None and self.scenes < 1:
            raise ValueError(f"scenes must be at least 1, got {self.scenes}")
        if self.is_generated:
            for name in _FILES:
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"The format '{self.format}' generates its own {name}: omit {name}"
                    )
            return
        if self.scenes is not None:
            raise ValueError(f"scenes does not apply to the format '{self.format}': omit it")
        if self.train is None and self.test is None and not isinstance(self.validation, str):
            raise ValueError("No question file is given: set train, validation or test")
        if isinstance(self.validation, int) and self.train is None:
            raise ValueError("validation is a number of training questions, but train is missing")

    def _check_type(self, name: str, optional: bool) -> None:
        value = getattr(self, name)
        numeric = name in _NUMBERS
        if value is None and optional:
            return
        if isinstance(value, int) and not isinstance(value, bool):
            if numeric or name == "validation":
                return
        elif isinstance(value, str) and value and not numeric:
            return
        kind = "an integer" if numeric else "a non-empty string"
        kind += " or an integer" if name == "validation" else ""
        raise ValueError(f"{name} must be {kind}, got {value!r}")

    @classmethod
    def from_mapping(cls, settings: Any, where: str = "the configuration") -> "DataConfig":
        """Create the settings from the section ``data`` of a configuration.

        Args:
            settings: The section's content; deprecated keys are replaced with a warning.
            where: Name of the configuration, for error messages.

        Raises:
            ValueError: If a setting is unknown, missing or invalid.
        """
        if not isinstance(settings, Mapping):
            raise ValueError(
                f"The section 'data' of {where} must hold settings such as format: table"
            )
        settings = with_new_keys(settings, RENAMED_SETTINGS, "data")
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise ValueError(
                    f"Unknown setting '{name}' in the section 'data' of {where}: choose from "
                    f"{', '.join(known)}"
                )
        if "format" not in settings:
            raise ValueError(
                f"The section 'data' of {where} has no format: set it to one of "
                f"{', '.join(BENCHMARK_FORMATS.names())}"
            )
        return cls(**settings)


__all__ = ["BENCHMARK_FORMATS", "LAYOUTS", "RENAMED_SETTINGS", "DataConfig"]
