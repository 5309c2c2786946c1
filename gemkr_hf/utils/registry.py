"""Registries, through which a package plugs into the core without being imported by it.

A plug-in is a module that registers its providers when it is imported. Installed plug-ins are found
by the entry-point group ``gemkr_hf.plugins``; `gemkr_hf.toy` is one of them.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar

ENTRY_POINTS = "gemkr_hf.plugins"

Provider = TypeVar("Provider")


class Registry(Generic[Provider]):
    """Providers of one kind by their names.

    Args:
        kind: what the providers are, for messages: ``"data format"``.
        plugins: loads the modules that may register more providers.
    """

    def __init__(self, kind: str, plugins: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._providers: dict[str, Provider] = {}
        self._load_plugins = plugins or load_plugins

    def register(self, name: str, provider: Provider) -> Provider:
        """Add a provider; one of the same name is replaced."""
        self._providers[name] = provider
        return provider

    def get(self, name: str) -> Provider:
        """The provider of a name.

        Raises:
            ValueError: there is none; the message lists the names that are registered.
        """
        if name not in self:
            raise ValueError(f"Unknown {self.kind} '{name}': choose {', '.join(self.names())}")
        return self._providers[name]

    def names(self) -> list[str]:
        """All registered names, those of installed plug-ins included."""
        self._load_plugins()
        return list(self._providers)

    def __contains__(self, name: object) -> bool:
        return name in self._providers or name in self.names()


@cache
def load_plugins() -> None:
    """Import the modules that installed packages name in the group ``gemkr_hf.plugins``, once."""
    for plugin in entry_points(group=ENTRY_POINTS):
        plugin.load()


__all__ = ["ENTRY_POINTS", "Registry", "load_plugins"]
