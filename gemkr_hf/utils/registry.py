"""Registries: a plug-in adds named providers to the core, which never imports the plug-in.

A plug-in is a module that calls `register` when it is imported. Plug-ins are found by the
entry-point group ``gemkr_hf.plugins`` of installed packages and by the environment variable
``GEMKR_PLUGINS``. `gemkr_hf.toy` is a plug-in.
"""

import os
from collections import defaultdict
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

ENTRY_POINTS = "gemkr_hf.plugins"
"""Entry-point group in which an installed package names its plug-in modules."""
PLUGINS_VARIABLE = "GEMKR_PLUGINS"
"""Environment variable with further plug-in modules, separated by commas."""

Provider = TypeVar("Provider")
_PROVIDERS: defaultdict[str, dict[str, Any]] = defaultdict(dict)  # kind -> name -> provider


def register(kind: str, name: str, provider: Any) -> None:
    """Add a provider, replacing one of the same kind and name.

    Args:
        kind: the ``kind`` of the `Registry` that the provider belongs to.
        name: the name by which users choose it.
        provider: what that registry expects; or ``"module:attribute"``, imported on first use.
    """
    _PROVIDERS[kind][name] = provider


class Registry(Generic[Provider]):
    """Providers of one kind by name.

    Args:
        kind: what the providers are, as error messages call it: ``"benchmark format"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._providers = _PROVIDERS[kind]

    def register(self, name: str, provider: Provider) -> Provider:
        """Add a provider, replacing one of the same name."""
        self._providers[name] = provider
        return provider

    def get(self, name: str) -> Provider:
        """Return the provider of a name.

        Raises:
            ValueError: If the name is unknown; the message lists the known names.
        """
        if name not in self:
            raise ValueError(f"Unknown {self.kind} '{name}': choose {', '.join(self.names())}")
        if isinstance(provider := self._providers[name], str):
            provider = self._providers[name] = resolve_name(provider)
        return provider

    def names(self) -> list[str]:
        """Return all registered names, including those of plug-ins."""
        load_plugins()
        return list(self._providers)

    def __contains__(self, name: object) -> bool:
        return name in self._providers or name in self.names()


def enable_plugin(module: str) -> None:
    """Use a plug-in that may not be installed, in this process and in those that it starts."""
    modules = _modules_from_environment()
    if module not in modules:
        os.environ[PLUGINS_VARIABLE] = ",".join([*modules, module])
    import_module(module)


@cache
def load_plugins() -> None:
    """Import all plug-ins once."""
    for plugin in entry_points(group=ENTRY_POINTS):
        plugin.load()
    for module in _modules_from_environment():
        import_module(module)


def _modules_from_environment() -> list[str]:
    return [name.strip() for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name]


__all__ = [
    "ENTRY_POINTS",
    "PLUGINS_VARIABLE",
    "Registry",
    "enable_plugin",
    "load_plugins",
    "register",
]
