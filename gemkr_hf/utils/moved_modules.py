"""Module paths of version 0.1 that have moved: they import for one more version, with a warning."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from gemkr_hf.utils.deprecation import warn_renamed

MOVED = {
    "checkpoints": "hub",
    "checkpoints.card": "hub.model_card",
    "checkpoints.loading": "hub.checkpoint_loading",
    "checkpoints.saving": "hub.checkpoint_saving",
    "data.config": "data.data_config",
    "data.pictures": "data.images",
    "errors": "evaluation.error_analysis",
    "evaluation.measures": "evaluation.run_metrics",
    "evaluation.records": "evaluation.question_records",
    "evaluation.runs": "evaluation.run_files",
    "quickstart": "toy.quickstart",
    "recipes": "training",
    "recipes.run": "training.training_run",
    "retriever": "retrieval.retriever",
    "retrievers": "baselines",
    "retrievers.base": "retrieval.protocol",
    "settings": "utils.config",
    "small_world": "toy.stand_ins",
    "small_world.assemble": "toy.stand_ins.assemble",
    "small_world.build": "toy.stand_ins.build",
    "symbols": "toy.symbols",
    "tables": "paper",
    "training.config": "training.arguments",
    "training.instructions": "training.instruction_dataset",
    "training.pictures": "training.prepared_images",
    "training.plots": "training.sampling_plot",
    "training.sampling": "training.clue_sampling",
    "training.tuning": "training.trainer",
    "training.validation": "training.retrieval_validation",
}
"""Old module -> new module, both relative to the package."""


class MovedModules(MetaPathFinder, Loader):
    """Imports the new module where an old one is asked for."""

    def __init__(self, package: str) -> None:
        self._moved = {f"{package}.{old}": f"{package}.{new}" for old, new in MOVED.items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self._moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = self._moved[spec.name]
        warn_renamed(spec.name, new)
        return import_module(new)

    def exec_module(self, module: ModuleType) -> None:
        # The import system has given the module the old one's spec.
        module.__spec__ = find_spec_of(module.__name__)


def find_spec_of(name: str) -> ModuleSpec | None:
    """The spec of a module that is loaded already."""
    loaded = sys.modules.pop(name)
    try:
        return find_spec(name)
    finally:
        sys.modules[name] = loaded


def install(package: str) -> None:
    """Let the old module paths of a package import, once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules(package))


__all__ = ["MOVED", "install"]
