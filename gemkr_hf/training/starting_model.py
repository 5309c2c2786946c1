"""The model and processor that training starts from: a checkpoint, joined parts or a plug-in's."""

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, BitsAndBytesConfig

from gemkr_hf.hub.checkpoint_loading import load_checkpoint
from gemkr_hf.knowledge_base import load_tokenizer
from gemkr_hf.modeling import PRESETS, GeMKRConfig, GeMKRForRetrieval
from gemkr_hf.processing import (
    GeMKRProcessor,
    TransformersDetector,
    YoloDetector,
    add_image_tokens,
)
from gemkr_hf.training.arguments import ModelConfig
from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.hub_ids import is_local, resolve_source
from gemkr_hf.utils.io import read_json
from gemkr_hf.utils.registry import Registry


class CheckpointSource(ABC):
    """What the section ``model`` of a configuration names, resolved once by `checkpoint_source`.

    A plug-in adds a kind: it registers a subclass under a name in `CHECKPOINT_SOURCES`, and
    ``model.checkpoint`` selects it by ``name`` or ``name:location``.

    Args:
        config: The model settings.
        location: What follows ``name:`` in ``config.checkpoint``; None without a colon.

    Attributes:
        adapter_base: Hub id or folder that an adapter can name as its base, if there is one.
        save_untuned: Whether each run saves the untuned model, as the base of its adapter.
        clip_folder: Folder of a CLIP with both towers, if the source has one.
    """

    adapter_base: str | None = None
    save_untuned = False
    clip_folder: Path | None = None

    def __init__(self, config: ModelConfig, location: str | None = None) -> None:
        self.config = config
        self.location = location

    @abstractmethod
    def check(self) -> None:
        """Check that the model can be loaded, without loading weights.

        Raises:
            FileNotFoundError: A folder or file is missing.
            ValueError: A setting is invalid.
        """

    @abstractmethod
    def load_processor(self) -> Any:
        """Load or assemble the ``GeMKRProcessor``."""

    @abstractmethod
    def load_model(self, processor: Any, seed: int = 0) -> Any:
        """Load or assemble the untuned ``GeMKRForRetrieval``.

        Args:
            processor: Processor of the same source.
            seed: Seed of new weights.
        """

    @abstractmethod
    def describe(self, base_models: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the parts for the model card: ``part``, and ``name`` or ``source``, ``license``.

        Args:
            base_models: Hub ids and revisions of the towers, where known.
        """


CHECKPOINT_SOURCES: Registry[Callable[[ModelConfig, str | None], CheckpointSource]] = Registry(
    "checkpoint source"
)


def checkpoint_source(config: ModelConfig) -> CheckpointSource:
    """Resolve the model settings to their source."""
    if config.checkpoint is None:
        return JoinedParts(config)
    name, _, location = config.checkpoint.partition(":")
    if name in CHECKPOINT_SOURCES:
        return CHECKPOINT_SOURCES.get(name)(config, location or None)
    return SavedCheckpoint(config)


def check_model(config: ModelConfig) -> None:
    """Check the model settings, without loading weights; see `CheckpointSource.check`."""
    if config.bits is not None:
        require_extra("quantization", f"model.bits: {config.bits} needs")
    checkpoint_source(config).check()


def load_processor(config: ModelConfig) -> Any:
    """Load or assemble the processor; see `CheckpointSource.load_processor`.

    Raises:
        MissingExtraError: Its detector is a YOLO, and ultralytics is not installed.
    """
    processor = checkpoint_source(config).load_processor()
    _check_detector(type(processor.detector).__name__)
    return processor


def _check_detector(kind: str | None) -> None:
    if kind == YoloDetector.__name__:
        require_extra("yolo", "The checkpoint's detector needs")


def load_model(config: ModelConfig, processor: Any, seed: int = 0) -> Any:
    """Load or assemble the untuned model; see `CheckpointSource.load_model`."""
    torch.manual_seed(seed)
    return checkpoint_source(config).load_model(processor, seed)


# -- sources ------------------------------------------------------------------------------------


class SavedCheckpoint(CheckpointSource):
    """A GeMKR checkpoint: a folder or a Hub id."""

    def __init__(self, config: ModelConfig, location: str | None = None) -> None:
        super().__init__(config, location)
        assert config.checkpoint is not None
        self.name = self.adapter_base = config.checkpoint

    def check(self) -> None:
        source = resolve_source(self.name, "model.checkpoint", ["config.json"])
        detector = Path(source, "detector.json")
        if isinstance(source, Path) and detector.is_file():
            _check_detector(read_json(detector).get("detector_type"))

    def load_processor(self) -> Any:
        return load_checkpoint(AutoProcessor, self.name, revision=self.config.revision)

    def load_model(self, processor: Any, seed: int = 0) -> Any:
        return load_checkpoint(
            AutoModel,
            self.name,
            dtype=getattr(torch, self.config.dtype),
            revision=self.config.revision,
            **_loading_options(self.config),
        )

    def describe(self, base_models: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [_part("checkpoint", self.name, self.config.revision)]


class JoinedParts(CheckpointSource):
    """A CLIP or SigLIP, a causal language model and a detector, joined by new projections."""

    def check(self) -> None:
        check_model_fields(self.config)
        for setting in ("language_model", "vision_model"):
            name = getattr(self.config, setting)
            resolve_source(name, f"model.{setting}", ["config.json"], bare_ids=True)
        if self.config.detector is not None:
            if not self.config.detector.startswith("transformers:"):
                require_extra("yolo", f"model.detector: {self.config.detector} needs")
            resolve_source(self.config.detector.removeprefix("transformers:"), "model.detector")

    def load_processor(self) -> Any:
        tokenizer = load_tokenizer(self.config.language_model)
        add_image_tokens(tokenizer)
        if tokenizer.pad_token_id is None:  # LLaMA has none; padding is masked, whatever it is
            tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
        # Model and processor must agree on these two fields.
        shared = {
            name: value
            for name, value in model_fields(self.config).items()
            if name in ("max_objects", "max_object_slots")
        }
        detector: Any = None
        if (name := self.config.detector) is not None:
            detector = (
                TransformersDetector(name.removeprefix("transformers:"))
                if name.startswith("transformers:")
                else YoloDetector(name)
            )
        return GeMKRProcessor(
            AutoImageProcessor.from_pretrained(self.config.vision_model),
            tokenizer,
            detector=detector,
            **{**PRESETS[self.config.preset].processor, **shared, **self.config.processor},
        )

    def load_model(self, processor: Any, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        fields = model_fields(self.config)
        return GeMKRForRetrieval.from_pretrained_parts(
            self.config.vision_model if fields.get("use_visual_query", True) else None,
            self.config.language_model,
            image_token_id=processor.image_token_id,
            object_token_id=processor.object_token_id,
            dtype=getattr(torch, self.config.dtype),
            text_options=_loading_options(self.config),
            **fields,
        )

    def describe(self, base_models: Mapping[str, Any]) -> list[dict[str, Any]]:
        config = self.config
        bits = f", in {config.bits} bits" if config.bits else ""
        parts = [
            _part("vision tower", config.vision_model, _revision(base_models, "vision")),
            _part("language model" + bits, config.language_model, _revision(base_models, "text")),
        ]
        if config.detector is not None and config.detector.startswith("transformers:"):
            parts.append(_part("detector", config.detector.removeprefix("transformers:"), None))
        return parts


def check_model_fields(config: ModelConfig) -> None:
    """Check fields of the model and arguments of the processor, without loading weights.

    Raises:
        ValueError: A field is unknown, or fields contradict each other.
    """
    fields = model_fields(config)
    for setting, names, known in (
        ("model.config", fields, {field.name for field in dataclasses.fields(GeMKRConfig)}),
        ("model.processor", config.processor, inspect.signature(GeMKRProcessor).parameters),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{setting}: unknown setting '{unknown[0]}'")
    try:
        GeMKRConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model.config: {error}") from None


def model_fields(config: ModelConfig) -> dict[str, Any]:
    """Return fields of ``GeMKRConfig``: the preset's, and the user's, which take precedence.

    ``vision_config`` is left out: it follows from the vision model that is loaded.
    """
    fields = {**PRESETS[config.preset].config, **config.config}
    fields.pop("vision_config", None)
    return fields


def _loading_options(config: ModelConfig) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for quantisation and attention."""
    options: dict[str, Any] = {}
    if config.bits == 8:
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif config.bits == 4:
        options["quantization_config"] = BitsAndBytesConfig(  # QLoRA (Dettmers et al. 2023)
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if config.attention is not None:
        options["attn_implementation"] = config.attention
    return options


def _part(part: str, name: str, revision: str | None) -> dict[str, Any]:
    if is_local(name, bare_ids=True):
        return {"part": part, "source": f"the folder `{Path(name).name}`"}
    return {"part": part, "name": name, **({"revision": revision} if revision else {})}


def _revision(base_models: Mapping[str, Any], tower: str) -> str | None:
    return (base_models.get(tower) or {}).get("revision")


__all__ = [
    "CHECKPOINT_SOURCES",
    "CheckpointSource",
    "check_model",
    "check_model_fields",
    "checkpoint_source",
    "load_model",
    "load_processor",
]
