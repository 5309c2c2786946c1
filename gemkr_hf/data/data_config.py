"""Settings of a benchmark: its format, and where questions, documents and images are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from pydantic import StrictInt

from gemkr_hf.data.formats import FILE_FORMATS
from gemkr_hf.utils.config import Settings, parse, read_yaml
from gemkr_hf.utils.deprecation import renamed_attributes, renamed_fields, with_new_keys
from gemkr_hf.utils.registry import Registry

BENCHMARK_FORMATS: Registry[Any] = Registry("benchmark format")
"""Format name -> loader ``(DataConfig, base folder) -> Benchmark``. The file formats are registered
by `gemkr_hf.data.benchmark`; a plug-in registers formats that generate their data."""

LAYOUTS = ("auto", "folder", "coco", "tsv", "dataset")

_FILES = ("train", "validation", "test", "documents", "images")


@renamed_fields({"pictures": "images", "picture_layout": "image_layout"})
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
        seed: Seed of the drawn validation questions, or of generated data.
        scenes: Number of training images, for a format that generates its images; if None, the
            format's own default.

    Raises:
        ValueError: If a setting has the wrong type, is out of range or does not fit the format.
    """

    format: str
    train: str | None = None
    validation: str | StrictInt | None = None
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
    seed: StrictInt = 0
    scenes: StrictInt | None = None

    renamed_defaults: ClassVar = {"image_column": ("picture", "image")}

    @property
    def is_generated(self) -> bool:
        """Whether the format generates its questions, documents and images."""
        return self.format not in FILE_FORMATS

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) == "":
                raise ValueError(f"{field.name} must not be empty")
        if self.format not in BENCHMARK_FORMATS:
            names = ", ".join(BENCHMARK_FORMATS.names())
            raise ValueError(f"format must be one of {names}, got '{self.format}'")
        if self.image_layout not in LAYOUTS:
            raise ValueError(
                f"image_layout must be one of {', '.join(LAYOUTS)}, got '{self.image_layout}'"
            )
        if isinstance(self.validation, int):
            self.check_positive("validation")
        self.check_positive("scenes")
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

    @classmethod
    def from_mapping(cls, settings: Any, where: str = "the configuration") -> "DataConfig":
        """Create the settings from the section ``data`` of a configuration.

        Args:
            settings: Content of the section; deprecated keys are accepted with a warning.
            where: Name of the configuration, for error messages.

        Raises:
            ValueError: If a setting is unknown, missing or invalid.
        """
        if not isinstance(settings, Mapping):
            raise ValueError(
                f"The section 'data' of {where} must hold settings such as format: table"
            )
        try:
            return parse(cls, settings)
        except ValueError as error:
            raise ValueError(f"Section 'data' of {where}: {error}") from None

    @classmethod
    def from_file(
        cls, path: str | Path, overrides: Mapping[str, Any] | None = None
    ) -> "DataConfig":
        """Read the section ``data`` of a YAML file.

        Args:
            path: The file.
            overrides: Settings that replace those of the file.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it has no section ``data``, or see `from_mapping`.
        """
        content = read_yaml(path)
        if "data" not in content:
            raise ValueError(f"'{path}' has no section 'data'")
        settings = content["data"]
        if overrides and isinstance(settings, Mapping):
            settings = {**with_new_keys(settings, cls.renamed_fields, "data"), **overrides}
        return cls.from_mapping(settings, f"'{path}'")


__getattr__ = renamed_attributes(__name__, {"FORMATS": "BENCHMARK_FORMATS"})

__all__ = ["BENCHMARK_FORMATS", "LAYOUTS", "DataConfig"]
