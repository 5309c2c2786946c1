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
    "checkpoints.facts": "hub.training_record",
    "checkpoints.loading": "hub.checkpoint_loading",
    "checkpoints.publishing": "hub.checkpoint_upload",
    "checkpoints.saving": "hub.checkpoint_saving",
    "data.check": "data.data_check",
    "data.config": "data.data_config",
    "data.documents": "data.corpus",
    "data.pictures": "data.images",
    "data.questions": "data.benchmark",
    "data.report": "data.data_check",
    "decoding.engines": "decoding.tree_attention",
    "decoding.plots": "decoding.beam_plot",
    "decoding.rules": "decoding.clue_rules",
    "decoding.trace": "decoding.search_trace",
    "demo.space": "demo.space_repository",
    "errors": "evaluation.error_analysis",
    "errors.report": "evaluation.error_analysis.html_report",
    "evaluation.keywords": "evaluation.clue_keywords",
    "evaluation.measures": "evaluation.run_metrics",
    "evaluation.records": "evaluation.question_records",
    "evaluation.runs": "evaluation.run_files",
    "hub.plan": "hub.upload_plan",
    "hub.refusals": "hub.exclusion_rules",
    "knowledge_base.sources": "knowledge_base.document_sources",
    "knowledge_base.tokens": "knowledge_base.tokenization",
    "modeling.beam_search_gemkr": "modeling.beam_search",
    "modeling.hypotheses_gemkr": "modeling.generation_gemkr",
    "modeling.parts_gemkr": "modeling.new_model",
    "modeling.presets_gemkr": "modeling.presets",
    "modeling.reference_gemkr": "modeling.modeling_gemkr",
    "modeling.slots_gemkr": "modeling.modeling_gemkr",
    "processing.batch_gemkr": "processing.processing_gemkr",
    "processing.cache_gemkr": "processing.object_cache",
    "processing.call_gemkr": "processing.processing_gemkr",
    "processing.drawing_gemkr": "processing.drawing",
    "processing.files_gemkr": "processing.detection_gemkr",
    "processing.pictures_gemkr": "processing.images_gemkr",
    "processing.pixels_gemkr": "processing.images_gemkr",
    "processing.prompt_gemkr": "processing.processing_gemkr",
    "processing.transformers_detector_gemkr": "processing.detection_gemkr",
    "processing.ultralytics_gemkr": "processing.detection_gemkr",
    "processing.yolo_gemkr": "processing.detection_gemkr",
    "quickstart": "toy.quickstart",
    "quickstart.report": "toy.quickstart.quickstart_report",
    "quickstart.systems": "toy.quickstart.quickstart_systems",
    "recipes": "training",
    "recipes.checks": "training.training_checks",
    "recipes.run": "training.training_run",
    "recipes.start": "training.starting_model",
    "retriever": "retrieval.retriever",
    "retrievers": "baselines",
    "retrievers.base": "retrieval.protocol",
    "settings": "utils.config",
    "small_world": "toy.stand_ins",
    "small_world.assemble": "toy.stand_ins.assemble",
    "small_world.build": "toy.stand_ins.build",
    "small_world.clip": "toy.stand_ins.clip_stand_in",
    "small_world.detector": "toy.stand_ins.detector_stand_in",
    "small_world.language_model": "toy.stand_ins.language_model_stand_in",
    "small_world.loop": "toy.stand_ins.training_loop",
    "small_world.tokenizer": "toy.stand_ins.tokenizer_stand_in",
    "small_world.tuning": "toy.stand_ins.toy_tuning",
    "small_world.words": "toy.stand_ins.text_task",
    "small_world.words_check": "toy.stand_ins.language_model_stand_in",
    "symbols": "toy.symbols",
    "symbols.dataset": "toy.symbols.symbols_dataset",
    "symbols.knowledge": "toy.symbols.symbol_documents",
    "symbols.questions": "toy.symbols.symbol_questions",
    "symbols.scenes": "toy.symbols.symbol_scenes",
    "tables": "paper",
    "tables.config": "paper.evaluation_config",
    "tables.ground": "paper.system_evaluation",
    "tables.result": "paper.result_table",
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
        # The import system has given the module the old one's spec; `find_spec` looks for the right
        # one only if the module is not loaded.
        loaded = sys.modules.pop(module.__name__)
        try:
            module.__spec__ = find_spec(module.__name__)
        finally:
            sys.modules[module.__name__] = loaded


def install(package: str) -> None:
    """Let the old module paths of a package import, once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules(package))


__all__ = ["MOVED", "install"]
