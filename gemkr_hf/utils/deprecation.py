"""Old names of renamed things: they work for one more version, with a warning."""

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar, cast

REMOVED_IN = "0.3"
"""The version that removes the old names of 0.1."""


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that a name is deprecated.

    Args:
        old: the name that was used.
        new: what takes its place.
        stacklevel: of `warnings.warn`, counted from this function.
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
_Function = TypeVar("_Function", bound=Callable[..., Any])


def renamed_arguments(names: Mapping[str, str]) -> Callable[[_Function], _Function]:
    """Decorate a function whose keyword arguments were renamed; the old names warn.

    Args:
        names: old argument name -> new argument name.
    """

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **with_new_keys(kwargs, names))

        return cast(_Function, wrapper)

    return decorate


def renamed_fields(names: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Decorate a dataclass whose fields were renamed.

    The old names still work as arguments, as attributes, and in settings that
    `gemkr_hf.utils.config.parse` reads, each with a warning.

    Args:
        names: old field name -> new field name.
    """

    def __getattr__(self: Any, name: str) -> Any:
        kind = type(self).__name__
        if name not in names:
            raise AttributeError(f"'{kind}' object has no attribute '{name}'")
        warn_renamed(f"{kind}.{name}", f"{kind}.{names[name]}")
        return getattr(self, names[name])

    def decorate(cls: Any) -> Any:
        cls.__init__ = renamed_arguments(names)(cls.__init__)
        cls.__getattr__ = __getattr__
        cls.renamed_fields = names
        return cls

    return decorate


__all__ = [
    "REMOVED_IN",
    "renamed_arguments",
    "renamed_attributes",
    "renamed_fields",
    "warn_renamed",
    "with_new_keys",
]
