"""Lets transformers' auto classes find the classes of this package, without importing either.

`import gemkr_hf` calls `register_when_imported`. What stands for a class until it is first wanted
is a `_Later`; what it stands for is imported with `gemkr_hf.auto`, which registers the classes.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _Later(type):
    """Kind of a class that stands for another one, whose attributes it has once one is wanted."""

    home: str

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # what merely looks at a class asks for these
            raise AttributeError(name)
        import_module("gemkr_hf.auto")
        return getattr(getattr(import_module(cls.home), cls.__name__), name)


_MODEL_TYPE = "gemkr"
_Config = _Later("GeMKRConfig", (), {"home": "gemkr_hf.modeling", "model_type": _MODEL_TYPE})
_Processor = _Later("GeMKRProcessor", (), {"home": "gemkr_hf.processing"})


def _register_config(module: Any) -> None:
    if _MODEL_TYPE not in module.CONFIG_MAPPING:
        module.AutoConfig.register(_MODEL_TYPE, _Config)


def _register_processor(module: Any) -> None:
    module.AutoProcessor.register(_Config, _Processor, exist_ok=True)


_REGISTER: dict[str, Callable[[Any], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.processing_auto": _register_processor,
}


class _AfterImport(MetaPathFinder):
    """Calls a function of `_REGISTER` once its module was imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        register = _REGISTER.get(fullname)
        spec = None if register is None else PathFinder.find_spec(fullname, path, target)
        if register is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_when_imported() -> None:
    """Register with those of transformers' modules that are there, and with others as they come."""
    missing = False
    for name, register in _REGISTER.items():
        if name in sys.modules:
            register(sys.modules[name])
        else:
            missing = True
    if missing:
        sys.meta_path.insert(0, _AfterImport())
