"""Typed settings from YAML files: frozen dataclasses, read strictly."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

Settings = TypeVar("Settings")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The content of a YAML file of settings.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no configuration '{path}'")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise ValueError(f"'{path}' is no YAML: {where}") from None
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' must hold settings such as 'output: runs/okvqa'")
    return content


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 6e-5 for a text; here it is a number, as everybody means it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def override(content: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Settings with some of them replaced: ``tuning.epochs=3``.

    >>> override({"tuning": {"epochs": 5}}, ["tuning.epochs=3", "output=runs/a"])
    {'tuning': {'epochs': 3}, 'output': 'runs/a'}

    Raises:
        ValueError: an assignment that is none.
    """
    result = _copy(content)
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name.strip():
            raise ValueError(f"'{assignment}' sets nothing: write section.setting=value")
        *sections, last = name.strip().split(".")
        place = result
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[last] = yaml.load(value, Loader=_Loader)
    return result


def _copy(content: Any) -> Any:
    return {k: _copy(v) for k, v in content.items()} if isinstance(content, Mapping) else content


def parse(kind: type[Settings], content: Mapping[str, Any], where: str = "") -> Settings:
    """A dataclass of settings, nested ones too, from plain values.

    Args:
        kind: the dataclass.
        content: its fields; what is absent keeps its default.
        where: what stands before a field's name in messages.

    Raises:
        ValueError: an unknown field (with the one that was probably meant), a missing one, or a
            value of the wrong type or out of range.
    """
    _refuse_unknown(kind, content, where)
    try:
        return TypeAdapter(kind).validate_python(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        parts = [str(part) for part in first["loc"] if not _is_member(part)]
        name = ".".join(filter(None, [where, *dict.fromkeys(parts)]))
        if first["type"] == "missing":
            raise ValueError(f"The setting {name} is missing") from None
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise ValueError(f"{name}: {message}" if name else message) from None
        raise ValueError(f"{name}: {message}, got {first['input']!r}") from None


def _is_member(part: Any) -> bool:
    """pydantic names the members of a union as parts of the place: int, literal[...]."""
    return isinstance(part, str) and (
        part in ("int", "str", "float", "bool", "none") or part.startswith(("literal[", "list["))
    )


def _refuse_unknown(kind: Any, content: Any, where: str) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"{where or 'The configuration'} holds settings, not {content!r}")
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    for name, value in content.items():
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(fields)}"
            raise ValueError(f"There is no setting {where + '.' if where else ''}{name}: {meant}")
        nested = _dataclass_in(hints[name])
        if nested is not None and value is not None:
            _refuse_unknown(nested, value, f"{where}.{name}" if where else name)


def _dataclass_in(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(
            (part for part in typing.get_args(hint) if dataclasses.is_dataclass(part)), None
        )
    return None


def as_plain(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as what YAML and JSON can hold."""
    return dataclasses.asdict(settings)


__all__ = ["as_plain", "override", "parse", "read_yaml"]
