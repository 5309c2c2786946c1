"""A causal language model that learns to write about questions in words: SEAL and CorpusBrain."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import Trainer

from gemkr_hf.retrieval.protocol import batches
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.instruction_dataset import InstructionCollator
from gemkr_hf.training.progress_callback import show_progress
from gemkr_hf.training.trainer import trained_in_float32, training_arguments
from gemkr_hf.utils.io import atomic_folder

PROMPT_TEMPLATE = (
    "Below is a knowledge completion task.\n"
    "### Question: {question}\n### Image: {caption}\n### Response:"
)
"""The task in words; the caption stands where GeMKR has the image."""


def write_prompt(question: str, caption: str = "") -> str:
    """The prompt of a question, with the image in words."""
    return PROMPT_TEMPLATE.replace("{caption}", caption).replace("{question}", question)


@dataclass(frozen=True)
class Example:
    """A prompt and the tokens to write behind it, without an end token."""

    prompt: str
    tokens: tuple[int, ...]


class TextModel:
    """A causal language model and its tokenizer.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer, which has a padding and an end token.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> "TextModel":
        """A folder or Hub id of a causal language model."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(name)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
        return cls(AutoModelForCausalLM.from_pretrained(name, **options), tokenizer)

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder of transformers' own files; there whole or not at all."""
        with atomic_folder(folder) as target:
            self.model.save_pretrained(target)
            self.tokenizer.save_pretrained(target)

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt; a text that looks like a special token is none."""
        return self.tokenizer(list(prompts), split_special_tokens=True)["input_ids"]

    def inputs(
        self, prompts: Sequence[str], batch_size: int
    ) -> Iterator[tuple[slice, dict[str, torch.Tensor]]]:
        """Rows and ``input_ids`` and ``attention_mask``, int64, padded on the left."""
        rows = self.encode_prompts(prompts)
        for part in batches(len(rows), batch_size):
            length = max(map(len, rows[part]))
            ids = torch.full((len(rows[part]), length), self.tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for number, row in enumerate(rows[part]):
                ids[number, length - len(row) :] = torch.tensor(row)
                mask[number, length - len(row) :] = 1
            device = self.model.device
            yield part, {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


class _Examples(Dataset):
    def __init__(self, model: TextModel, examples: Sequence[Example]) -> None:
        self._prompts = model.encode_prompts([example.prompt for example in examples])
        self._tokens = [example.tokens for example in examples]
        self._eos = model.tokenizer.eos_token_id

    def __len__(self) -> int:
        return len(self._prompts)

    def __getitem__(self, row: int) -> Mapping[str, torch.Tensor]:
        prompt, written = self._prompts[row], [*self._tokens[row], self._eos]
        return {
            "input_ids": torch.tensor(prompt + written),
            "labels": torch.tensor([-100] * len(prompt) + written),
        }


def fit_text_model(
    model: TextModel,
    examples: Sequence[Example],
    config: TuningConfig,
    folder: str | Path,
    description: str,
) -> TextModel:
    """Train a language model to write what the examples say: by LoRA, or all of it.

    Args:
        model: changed in place.
        examples: what to write behind which prompt.
        config: learning rate, batch, epochs, precision, seed, and LoRA; with rank 0 all weights are
            trained, in single precision.
        folder: for the Trainer.
        description: of the line that tells how far it is.

    Raises:
        ValueError: there are fewer examples than a batch takes.
    """
    batch_size = config.per_device_train_batch_size
    if len(examples) < batch_size:
        raise ValueError(f"{len(examples)} examples are fewer than a batch of {batch_size}")
    torch.manual_seed(config.seed)
    if config.lora_r:
        layers = list(config.lora_target_modules or ("q_proj", "v_proj"))
        lora = LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=layers,
            task_type="CAUSAL_LM",
        )
        trained: Any = trained_in_float32(get_peft_model(model.model, lora))
    else:
        trained = model.model.float().requires_grad_(True)
    trained.train()
    trainer = Trainer(
        model=trained,
        args=training_arguments(folder, config, save_strategy="no"),
        train_dataset=_Examples(model, examples),
        data_collator=InstructionCollator(model.tokenizer.pad_token_id),
    )
    show_progress(trainer, description)
    trainer.train()
    model.model = trained.merge_and_unload() if config.lora_r else trained
    model.model.eval()
    return model


__all__ = ["PROMPT_TEMPLATE", "Example", "TextModel", "fit_text_model", "write_prompt"]
