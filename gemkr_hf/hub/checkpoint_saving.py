"""Writing a checkpoint or an adapter: a folder that is there whole or not at all."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gemkr_hf.utils.io import atomic_folder, write_json

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_model(
    model: Any,
    processor: Any,
    target: Path,
    also: Callable[[Path], Any] | None = None,
    by_reference: bool = False,
) -> None:
    """Model and processor in one folder.

    Args:
        model, processor: what is saved.
        target: the folder; one that is there is replaced.
        also: writes further files into the folder that it is given.
        by_reference: leave out the weights, which are those of ``config.base_models``.
    """
    with atomic_folder(target) as folder:
        if by_reference:
            model.save_reference(folder)
        else:
            model.save_pretrained(folder)
        processor.save_pretrained(folder)
        if also is not None:
            also(folder)


def save_adapter(
    stages: Sequence[Path],
    processor: Any,
    target: Path,
    base: str | None,
    also: Callable[[Path], Any] | None = None,
) -> None:
    """One adapter, with its processor, of those that were tuned one on top of the other.

    Args:
        stages: folders that PEFT wrote, each tuned on the base with those before it merged.
        processor: of the same checkpoint.
        target: the folder; one that is there is replaced.
        base: Hub id or folder of the checkpoint that the first was tuned on.
        also: writes further files into the folder that it is given.
    """
    config, tensors = read_adapter(stages[0])
    for stage in stages[1:]:
        config, tensors = _on_top((config, tensors), read_adapter(stage))
    config |= {"base_model_name_or_path": base, "revision": None, "inference_mode": True}
    with atomic_folder(target) as folder:
        processor.save_pretrained(folder)
        write_adapter(folder, config, tensors)
        if also is not None:
            also(folder)


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """PEFT's configuration and tensors, without embeddings that it saved beside them."""
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    kept = tuple(config.get("modules_to_save") or ())
    tensors = {}
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            inner = name.removeprefix("base_model.model.")
            if "lora_" in name or inner.split(".")[0] in kept:
                tensors[name] = file.get_tensor(name)
    return config, tensors


def write_adapter(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Configuration and tensors as PEFT reads them."""
    write_json(folder / ADAPTER_CONFIG, config, sort_keys=True, ensure_ascii=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / ADAPTER_WEIGHTS,
        metadata={"format": "pt"},
    )


def _on_top(
    first: tuple[dict[str, Any], dict[str, torch.Tensor]],
    second: tuple[dict[str, Any], dict[str, torch.Tensor]],
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """One adapter that does what the first, merged, and the second on top of it do.

    s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2]: LoRA of the sum of both ranks, at a scale of 1.
    What is trained in full is the second's.
    """
    (config, tensors), (later, on_top) = first, second
    if config["target_modules"] != later["target_modules"]:
        raise ValueError("The two adapters change other layers: they cannot be made one")
    scales = config["lora_alpha"] / config["r"], later["lora_alpha"] / later["r"]
    joined = {}
    for name, tensor in tensors.items():
        if "lora_A" in name:
            joined[name] = torch.cat([tensor, on_top[name]], dim=0)
        elif "lora_B" in name:
            joined[name] = torch.cat([scales[0] * tensor, scales[1] * on_top[name]], dim=1)
        else:
            joined[name] = on_top[name]
    rank = config["r"] + later["r"]
    return {**config, "r": rank, "lora_alpha": rank}, joined


__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "read_adapter",
    "save_adapter",
    "save_model",
    "write_adapter",
]
