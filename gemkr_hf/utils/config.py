"""Typed settings from YAML: frozen dataclasses, with one clear sentence for each mistake."""

import contextlib
import copy
import dataclasses
import difflib
import re
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from gemkr_hf.utils.deprecation import with_new_keys

_SettingsT = TypeVar("_SettingsT", bound="Settings")


class Settings:
    """Base class of frozen dataclasses that `parse` reads; an unknown field is an error."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    renamed_fields: ClassVar[Mapping[str, str]] = {}
    """Old name -> new name, see `gemkr_hf.utils.deprecation.renamed_fields`."""
    renamed_defaults: ClassVar[Mapping[str, tuple[Any, Any]]] = {}
    """Field -> default in version 0.1, and present default: for settings that 0.1 saved."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda content: (
                with_new_keys(content, cls.renamed_fields)
                if isinstance(content, Mapping)
                else content
            ),
            handler(source),
        )

    def check_positive(self, *names: str) -> None:
        """Raise ValueError for a field that is zero or negative; None is allowed."""
        for name in names:
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")

    def check_not_negative(self, *names: str) -> None:
        """Raise ValueError for a field that is negative; None is allowed."""
        for name in names:
            if (value := getattr(self, name)) is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is not valid YAML, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Configuration not found: '{path}'")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise ValueError(f"'{path}' is not valid YAML: {where}") from None
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' must contain settings such as 'output: runs/okvqa'")
    return content


class _Loader(yaml.SafeLoader):
    """Reads 6e-5 as a number; by YAML 1.1 it is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def override(content: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Replace single settings, given as ``section.setting=value``.

    >>> override({"tuning": {"seed": 5}}, ["tuning.seed=3", "output=runs/a"])
    {'tuning': {'seed': 3}, 'output': 'runs/a'}

    Raises:
        ValueError: A malformed override.
    """
    result = copy.deepcopy(dict(content))
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name.strip():
            raise ValueError(f"Malformed override '{assignment}': write section.setting=value")
        *sections, last = name.strip().split(".")
        target = result
        for section in sections:
            if not isinstance(target.get(section), dict):
                target[section] = {}
            target = target[section]
        target[last] = yaml.load(value, Loader=_Loader)
    return result


def parse(kind: type[_SettingsT], content: Mapping[str, Any]) -> _SettingsT:
    """Read a dataclass of settings, including nested ones, from plain values.

    Args:
        kind: The dataclass.
        content: Its fields; an absent field keeps its default.

    Raises:
        ValueError: An unknown field (with the closest known one), a missing field, or a value of
            the wrong type or out of range.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(content))
    except ValidationError as error:
        raise ValueError(_message(kind, error)) from None


def _message(kind: Any, error: ValidationError) -> str:
    """One sentence for the first mistake; an unknown field comes first."""
    mistakes = error.errors()
    unknown = [one for one in mistakes if one["type"] == "unexpected_keyword_argument"]
    first = (unknown or mistakes)[0]
    parts = [str(part) for part in first["loc"] if not _is_union_member(part)]
    name = ".".join(dict.fromkeys(parts))
    if unknown:
        for part in first["loc"][:-1]:  # down to the section with the unknown field
            if isinstance(part, str):
                kind = _dataclass_in(typing.get_type_hints(kind)[part])
        fields = [field.name for field in dataclasses.fields(kind)]
        close = difflib.get_close_matches(parts[-1], fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(fields)}"
        return f"Unknown setting {name}: {hint}"
    if first["type"] == "missing":
        return f"The setting {name} is missing"
    if first["type"] == "dataclass_type":
        return f"{name} must be a section with settings, got {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"{name}: {message}, got {first['input']!r}"


def _is_union_member(part: Any) -> bool:
    """Whether part of an error's location names a member of a union: int, literal[...]."""
    return isinstance(part, str) and (
        part in ("int", "str", "float", "bool", "none") or part.startswith(("literal[", "list["))
    )


def _dataclass_in(hint: Any) -> Any:
    """The dataclass of a type, or of the members of a union or tuple; None if there is none."""
    return next((t for t in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(t)), None)


def as_plain(settings: Any) -> dict[str, Any]:
    """Convert a dataclass of settings to what YAML and JSON can hold."""
    return dataclasses.asdict(settings)


def upgrade_settings(kind: type, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Convert plain settings that an earlier version saved to the present names and values.

    Args:
        kind: The dataclass that the settings belong to.
        saved: All of its fields or some, and perhaps more, which stay as they are.
    """
    hints = typing.get_type_hints(kind)
    result: dict[str, Any] = {}
    for key, value in saved.items():
        name = getattr(kind, "renamed_fields", {}).get(key, key)
        result[name] = value
        if name in hints:
            section = _dataclass_in(hints[name])
            if isinstance(value, Mapping) and value.keys() & getattr(section, "renamed_fields", ()):
                defaults = section.renamed_defaults.items()
                value = {**value, **{k: new for k, (old, new) in defaults if value.get(k) == old}}
            adapter = TypeAdapter(hints[name])
            # An invalid value is kept: it differs from every valid one, so the run is refused.
            with warnings.catch_warnings(), contextlib.suppress(ValueError):
                warnings.simplefilter("ignore", FutureWarning)
                result[name] = adapter.dump_python(adapter.validate_python(value), mode="json")
    return result


__all__ = ["Settings", "as_plain", "override", "parse", "read_yaml", "upgrade_settings"]
