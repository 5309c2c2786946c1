"""Names that a package exports without importing their modules before they are used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from gemkr_hf.utils.deprecation import warn_renamed


def lazy_exports(
    package: str,
    exports: Mapping[str, Sequence[str]],
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose exports are imported on first use.

    Args:
        package: the package's ``__name__``.
        exports: module, relative to the package -> names that are exported from it.
        renamed: deprecated name -> exported name that replaces it.
    """

    modules = {name: module for module, names in exports.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name in renamed:
            warn_renamed(f"{package}.{name}", f"{package}.{renamed[name]}")
            return getattr(sys.modules[package], renamed[name])
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__


__all__ = ["lazy_exports"]
