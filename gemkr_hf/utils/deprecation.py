"""Old names of what has been renamed: they work for one more version, with a warning."""

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

REMOVED_IN = "0.3"
"""The version in which the old names of 0.1 go."""


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Say that a name is deprecated.

    Args:
        old: the name that was used.
        new: what takes its place.
        stacklevel: as `warnings.warn` has it, counted from here.
    """
    warnings.warn(
        f"'{old}' is deprecated and will be removed in gemkr-hf {REMOVED_IN}: use '{new}'",
        FutureWarning,
        stacklevel=stacklevel,
    )


def renamed_attributes(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that resolves old names of its attributes, with a warning.

    Args:
        module: the module's ``__name__``.
        names: old name -> new one: an attribute of the module, or ``"package.module:attribute"``.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        home, _, attribute = names[name].rpartition(":")
        warn_renamed(f"{module}.{name}", f"{home or module}.{attribute}")
        return getattr(import_module(home) if home else sys.modules[module], attribute)

    return __getattr__


def with_new_keys(
    settings: Mapping[str, Any], renamed: Mapping[str, str], where: str = ""
) -> dict[str, Any]:
    """Settings whose old keys are replaced by the new ones, with a warning for each.

    Args:
        settings: as a file or a caller gives them.
        renamed: old key -> new key.
        where: section of the settings, for messages.

    Raises:
        ValueError: an old key is given beside its new one.
    """
    result: dict[str, Any] = {}
    for key, value in settings.items():
        name = renamed.get(key, key)
        if name != key:
            if name in settings:
                raise ValueError(f"'{key}' is the old name of '{name}': give '{name}' alone")
            prefix = f"{where}." if where else ""
            warn_renamed(f"{prefix}{key}", f"{prefix}{name}", stacklevel=4)
        result[name] = value
    return result


_Class = TypeVar("_Class", bound=type)


def renamed_fields(names: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Decorate a dataclass whose fields were renamed.

    The old names still work as arguments, as attributes, and in settings that
    `gemkr_hf.utils.config.parse` reads, each with a warning.

    Args:
        names: old field name -> new field name.
    """

    def decorate(cls: _Class) -> _Class:
        init = cls.__init__  # type: ignore[misc]

        @wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **with_new_keys(kwargs, names))

        def __getattr__(self: Any, name: str) -> Any:
            if name not in names:
                raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")
            warn_renamed(f"{cls.__name__}.{name}", f"{cls.__name__}.{names[name]}")
            return getattr(self, names[name])

        cls.__init__ = __init__  # type: ignore[misc]
        cls.__getattr__ = __getattr__  # type: ignore[attr-defined]
        cls.renamed_fields = names  # type: ignore[attr-defined]
        return cls

    return decorate


__all__ = ["REMOVED_IN", "renamed_attributes", "renamed_fields", "warn_renamed", "with_new_keys"]
