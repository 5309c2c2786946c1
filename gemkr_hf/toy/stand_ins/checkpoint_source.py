"""The checkpoint source ``small-world``: stand-ins of the library, or of a custom folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemkr_hf.toy.stand_ins.assemble import load_processor, load_untuned_model
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from gemkr_hf.training.arguments import ModelConfig
from gemkr_hf.training.starting_model import CheckpointSource, check_model_fields
from gemkr_hf.utils.extras import require_extra


class SmallWorldCheckpoint(CheckpointSource):
    """The stand-ins: ``small-world``, or ``small-world:FOLDER`` for a custom folder."""

    save_untuned = True

    def __init__(self, config: ModelConfig, location: str | None = None) -> None:
        super().__init__(config, location)
        self.folder = CHECKPOINTS if location is None else Path(location)
        self.clip_folder = self.folder / "clip"

    def check(self) -> None:
        if not (self.folder / "language_model").is_dir():
            raise FileNotFoundError(f"model.checkpoint: stand-ins not found in '{self.folder}'")
        check_model_fields(self.config)
        require_extra("yolo", "The detector of the stand-ins needs")

    def load_processor(self) -> Any:
        return load_processor(self.folder, **self.config.processor)

    def load_model(self, processor: Any, seed: int = 0) -> Any:
        model = load_untuned_model(processor, self.folder, seed, **self.config.config)
        if self.config.attention is not None:
            model.set_attn_implementation(self.config.attention)
        return model

    def describe(self, base_models: Mapping[str, Any]) -> list[dict[str, Any]]:
        source = "the stand-in checkpoints of gemkr_hf"
        return [{"part": "checkpoint", "source": source, "license": "apache-2.0"}]


__all__ = ["SmallWorldCheckpoint"]
