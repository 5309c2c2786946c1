"""Saving of checkpoints and adapters."""

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gemkr_hf.utils.io import atomic_folder, read_json, write_json

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

Adapter = tuple[dict[str, Any], dict[str, torch.Tensor]]
"""Configuration and tensors."""


def save_model(
    model: Any,
    processor: Any,
    target: Path,
    write_more: Callable[[Path], Any] | None = None,
    by_reference: bool = False,
) -> None:
    """Save a model and its processor in one folder, atomically.

    Args:
        model: what is saved.
        processor: what is saved with it.
        target: the folder; an existing one is replaced.
        write_more: called with the folder, to write further files into it.
        by_reference: omit the weights, which are those of ``config.base_models``.
    """
    with atomic_folder(target) as folder:
        if by_reference:
            model.save_reference(folder)
        else:
            model.save_pretrained(folder)
        processor.save_pretrained(folder)
        if write_more is not None:
            write_more(folder)


def save_adapter(
    stages: Sequence[Path],
    processor: Any,
    target: Path,
    base: str | None,
    write_more: Callable[[Path], Any] | None = None,
) -> None:
    """Save adapters that were tuned one on top of the other as one, with its processor, atomically.

    Args:
        stages: folders that PEFT wrote, each tuned on the base with those before it merged.
        processor: processor of the same checkpoint.
        target: the folder; an existing one is replaced.
        base: Hub id or folder of the checkpoint that the first stage was tuned on.
        write_more: called with the folder, to write further files into it.

    Raises:
        ValueError: the adapters change different layers.
    """
    config, tensors = reduce(_combine, map(read_adapter, stages))
    config |= {"base_model_name_or_path": base, "revision": None, "inference_mode": True}
    with atomic_folder(target) as folder:
        processor.save_pretrained(folder)
        write_adapter(folder, config, tensors)
        if write_more is not None:
            write_more(folder)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's configuration and tensors, without the embeddings that PEFT adds."""
    config = read_json(folder / ADAPTER_CONFIG)
    trained_modules = tuple(config.get("modules_to_save") or ())
    tensors = {}
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            module = name.removeprefix("base_model.model.").split(".")[0]
            if "lora_" in name or module in trained_modules:
                tensors[name] = file.get_tensor(name)
    return config, tensors


def write_adapter(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write an adapter's configuration and tensors in PEFT's format."""
    write_json(folder / ADAPTER_CONFIG, config, sort_keys=True, ensure_ascii=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / ADAPTER_WEIGHTS,
        metadata={"format": "pt"},
    )


def _combine(first: Adapter, second: Adapter) -> Adapter:
    """Combine two adapters, of which the second was tuned on the base with the first merged.

    s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2]: LoRA with the sum of both ranks and a scale of 1.
    Modules trained in full are taken from the second.
    """
    (config, tensors), (second_config, second_tensors) = first, second
    if config["target_modules"] != second_config["target_modules"]:
        raise ValueError("The adapters change different layers and cannot be combined")
    scale = config["lora_alpha"] / config["r"]
    second_scale = second_config["lora_alpha"] / second_config["r"]
    combined = {}
    for name, tensor in tensors.items():
        if "lora_A" in name:
            combined[name] = torch.cat([tensor, second_tensors[name]], dim=0)
        elif "lora_B" in name:
            combined[name] = torch.cat([scale * tensor, second_scale * second_tensors[name]], dim=1)
        else:
            combined[name] = second_tensors[name]
    rank = config["r"] + second_config["r"]
    return {**config, "r": rank, "lora_alpha": rank}, combined


__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "read_adapter",
    "save_adapter",
    "save_model",
    "write_adapter",
]
