"""LoRA on the language model of a GeMKR. This file stays in the library: it is for training."""

from typing import Any

from .modeling_gemkr import GeMKRForRetrieval


def lora_arguments(
    model: GeMKRForRetrieval,
    r: int = 16,
    lora_alpha: int = 32,
    lora_dropout: float = 0.05,
    names: tuple[str, ...] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the arguments of `peft.LoraConfig`: LoRA on the language model alone.

    The defaults are those of the preset "paper": with CLIP ViT-L/14 and LLaMA-7B they result in its
    14 M trainable parameters.

    Args:
        model: the model.
        r: rank, as in PEFT.
        lora_alpha: as in PEFT.
        lora_dropout: as in PEFT.
        names: the linear layers to adapt, see `target_modules`.
        **kwargs: as in PEFT.

    Raises:
        ValueError: if the language model has no layer of that name.

    Example:
        `get_peft_model(model, LoraConfig(**model.lora_arguments()))`, which
        `AutoPeftModelForCausalLM.from_pretrained` loads again.
    """
    return {
        "r": r,
        "lora_alpha": lora_alpha,
        "lora_dropout": lora_dropout,
        "target_modules": target_modules(model, names),
        "modules_to_save": model.modules_to_save or None,
        "task_type": "CAUSAL_LM",
        **kwargs,
    }


def target_modules(model: GeMKRForRetrieval, names: tuple[str, ...] | None = None) -> str:
    """Return a regular expression for PEFT's `target_modules` that matches the language model only.

    Args:
        model: the model.
        names: the linear layers of the language model to adapt; by default, as in the paper's code,
            the query and value projections (`c_attn`, where they are one layer).

    Raises:
        ValueError: if the language model has no layer of that name.
    """
    kinds = {
        name.rpartition(".")[2]: type(module).__name__
        for name, module in model.language_model.named_modules()
    }
    if names is None:
        names = ("c_attn",) if "c_attn" in kinds else ("q_proj", "v_proj")
    missing = [name for name in names if name not in kinds]
    if missing:
        linear = ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")
        choices = sorted(name for name, kind in kinds.items() if kind in linear)
        raise ValueError(
            f"The language model has no layer called {', '.join(missing)}; "
            f"choose among {', '.join(choices)}."
        )
    return rf"(?:.*\.)?language_model\..*\.(?:{'|'.join(names)})"


__all__ = ["lora_arguments", "target_modules"]
