"""Checkpoints that hold no weights of their own but name those of published models."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file, is_peft_available
from transformers.utils.hub import resolve_revision
from transformers.utils.peft_utils import find_adapter_config_file

from .configuration_gemkr import GeMKRConfig

_WHERE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
_FOR_PARTS = ("attn_implementation", "cache_dir", "local_files_only", "token")
_FOR_TEXT = ("device_map", "max_memory", "offload_folder", "quantization_config")
_MEANINGLESS = (
    *_WHERE, "_from_auto", "_from_pipeline", "adapter_kwargs", "adapter_name", "code_revision",
    "config", "dtype", "low_cpu_mem_usage", "torch_dtype", "trust_remote_code", "use_safetensors",
)  # fmt: skip
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Found:
    """What a name leads to.

    name, where : the folder or Hub id that was asked for, an adapter's if it is one, and what says
        where it lies (revision, cache_dir...).
    is_adapter : whether it is one, on top of a base.
    config : of a checkpoint by reference, or of a base that is one; None if there are weights.
    """

    name: str
    where: Mapping[str, Any]
    is_adapter: bool
    config: GeMKRConfig | None


def find_checkpoint(
    config_class: type[PreTrainedConfig], name: str | os.PathLike, options: Mapping[str, Any]
) -> Found:
    """Look at a checkpoint, or at the base of an adapter, before it is loaded.

    Args:
        config_class: the model's.
        name: a folder or Hub id, of a checkpoint or an adapter.
        options: of `from_pretrained`.

    Raises:
        ValueError: if an adapter's weights are no safetensors.
    """
    where = {key: options[key] for key in _WHERE if options.get(key) is not None}
    base = asked = str(name)
    base_where, asked_where = where, dict(options.get("adapter_kwargs") or {})
    adapter = asked_where.pop("_adapter_model_path", None)  # an auto class has looked already
    if adapter is not None:
        asked = str(adapter)
    else:
        asked_where = where
        path = find_adapter_config_file(asked, **where) if is_peft_available() else None
        if path is not None:
            adapter = asked
            if not Path(asked, "config.json").is_file():
                base = json.loads(Path(path).read_text(encoding="utf-8"))["base_model_name_or_path"]
                base_where = {key: value for key, value in where.items() if key != "revision"}
    if adapter is not None:
        _check_adapter(asked, asked_where)
    config = options.get("config")
    if not isinstance(config, PreTrainedConfig):
        content, _ = config_class.get_config_dict(base, **base_where)
        config = None
        if content.get("by_reference"):
            config = config_class.from_pretrained(base, **base_where)
    elif not getattr(config, "by_reference", False):
        config = None
    return Found(asked, asked_where, adapter is not None, config)  # type: ignore[arg-type]


def _check_adapter(name: str, where: Mapping[str, Any]) -> None:
    found = cached_file(name, ADAPTER_WEIGHTS, **where, _raise_exceptions_for_missing_entries=False)
    if found is None:
        raise ValueError(
            f"The adapter '{name}' has no {ADAPTER_WEIGHTS}; weights in other formats can hold "
            "code and are not read."
        )


def load_by_reference(
    model_class: Any, found: Found, options: Mapping[str, Any]
) -> PreTrainedModel:
    """The base models that a checkpoint names, joined, and the adapter on top.

    Raises:
        ValueError: if an option means nothing here.
    """
    config = found.config
    assert config is not None
    unknown = [key for key in options if key not in (*_MEANINGLESS, *_FOR_PARTS, *_FOR_TEXT)]
    if unknown:
        raise ValueError(
            f"'{unknown[0]}' cannot be given for a checkpoint whose weights are those of "
            "other repositories."
        )
    given = {key: value for key, value in options.items() if value is not None}
    for_parts = {key: given[key] for key in _FOR_PARTS if key in given}
    for_text = {key: given[key] for key in _FOR_TEXT if key in given}
    dtype = given.get("dtype", given.get("torch_dtype", "auto"))
    if dtype == "auto":
        dtype = config.dtype
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    own = {field.name for field in dataclasses.fields(GeMKRConfig)}
    own -= {field.name for field in dataclasses.fields(PreTrainedConfig)}
    own -= {"vision_config", "text_config", "base_models", "by_reference", "tie_word_embeddings"}
    bases = config.base_models
    model = model_class.from_pretrained_parts(
        bases["vision"]["name"] if bases.get("vision") else None,
        bases["text"]["name"],
        dtype=dtype,
        vision_options={**for_parts, "revision": (bases.get("vision") or {}).get("revision")},
        text_options={**for_parts, **for_text, "revision": bases["text"].get("revision")},
        **{name: getattr(config, name) for name in sorted(own)},
    )
    if found.is_adapter:
        model.load_adapter(
            found.name,
            adapter_name=given.get("adapter_name", "default"),
            adapter_kwargs=dict(found.where),
        )
    return model.eval()


def base_model_of(part: Any, options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Hub id and commit of a part that is given by name; None for a folder or an instance."""
    if not isinstance(part, str) or Path(part).exists():
        return None
    options = options or {}
    where = {key: options[key] for key in ("cache_dir", "token") if options.get(key) is not None}
    resolved = resolve_revision(part, options.get("revision"), **where)
    return {"name": part, "revision": getattr(resolved, "resolved", resolved)}


def forget_paths(config: PreTrainedConfig) -> None:
    """Leave no path of this machine in what is saved: it says nothing to a reader elsewhere."""
    for part in (getattr(config, "vision_config", None), getattr(config, "text_config", None)):
        name = getattr(part, "_name_or_path", "")
        if name and (Path(name).is_absolute() or Path(name).exists()):
            part._name_or_path = ""  # type: ignore[union-attr]


__all__ = ["Found", "base_model_of", "find_checkpoint", "forget_paths", "load_by_reference"]
