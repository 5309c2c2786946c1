"""A causal language model that is trained to write clues or titles: SEAL and CorpusBrain."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from gemkr_hf.baselines.baseline import QueryTextBaseline, batches
from gemkr_hf.baselines.baseline_training import train_model
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.instruction_dataset import InstructionCollator
from gemkr_hf.training.trainer import trained_in_float32
from gemkr_hf.utils.io import atomic_folder
from gemkr_hf.utils.logging import progress

PROMPT_TEMPLATE = (
    "Below is a knowledge completion task.\n"
    "### Question: {question}\n### Image: {caption}\n### Response:"
)
"""The prompt of the text-only models; the caption replaces GeMKR's image."""


def write_prompt(question: str, caption: str = "") -> str:
    """Return the prompt of a question and a caption."""
    return PROMPT_TEMPLATE.replace("{caption}", caption).replace("{question}", question)


@dataclass(frozen=True)
class Example:
    """A prompt and the token ids to write after it, without an end token."""

    prompt: str
    tokens: tuple[int, ...]


class TextModel:
    """A causal language model and its tokenizer.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer, with a padding and an end token.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> "TextModel":
        """Load a causal language model from a folder or the Hub."""
        tokenizer = AutoTokenizer.from_pretrained(name)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
        return cls(AutoModelForCausalLM.from_pretrained(name, **options), tokenizer)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save a transformers checkpoint; the folder is written atomically."""
        with atomic_folder(folder) as target:
            self.model.save_pretrained(target)
            self.tokenizer.save_pretrained(target)

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt; text never becomes a special token."""
        return self.tokenizer(list(prompts), split_special_tokens=True)["input_ids"]

    def inputs(self, prompts: Sequence[str], batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield batches of ``input_ids`` and ``attention_mask``, int64, padded on the left."""
        for rows in batches(len(prompts), batch_size):
            encoded = self.tokenizer(
                list(prompts[rows]),
                split_special_tokens=True,
                padding=True,
                padding_side="left",
                return_tensors="pt",
                return_token_type_ids=False,
            )
            yield dict(encoded.to(self.model.device))


class WritingBaseline(QueryTextBaseline):
    """A baseline whose language model writes from a prompt of question and caption.

    Args:
        name: name of the system, for messages and progress bars.
        model: the language model.
        captions: add the captions to the prompts.
        batch_size: questions decoded together.
    """

    def __init__(self, name: str, model: TextModel, captions: bool, batch_size: int) -> None:
        super().__init__(name, captions)
        self._model = model
        self._batch_size = batch_size

    def _query_text(self, question: str, caption: str) -> str:
        return write_prompt(question, caption)

    def _batches(self, prompts: Sequence[str]) -> Iterable[dict[str, torch.Tensor]]:
        """Return the inputs of each batch of prompts, with a progress bar."""
        number = -(-len(prompts) // self._batch_size)
        return progress(self._model.inputs(prompts, self._batch_size), self.name, total=number)


def fit_text_model(
    model: TextModel,
    examples: Sequence[Example],
    config: TuningConfig,
    folder: str | Path,
    description: str,
) -> TextModel:
    """Train a language model on examples, with LoRA or in full.

    Args:
        model: changed in place.
        examples: prompts and what to write after them.
        config: learning rate, batch size, epochs, precision, seed and LoRA; with rank 0 all weights
            are trained in float32.
        folder: working folder of the Trainer.
        description: label of the progress bar.

    Raises:
        ValueError: There are fewer examples than the batch size.
    """
    batch_size = config.per_device_train_batch_size
    if len(examples) < batch_size:
        raise ValueError(f"{len(examples)} examples are fewer than a batch of {batch_size}")
    torch.manual_seed(config.seed)
    trained: Any = model.model
    if config.lora_r:
        lora = LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_target_modules or ("q_proj", "v_proj")),
            task_type="CAUSAL_LM",
        )
        trained = trained_in_float32(get_peft_model(model.model, lora))
    else:
        trained = model.model.float().requires_grad_(True)
    trained.train()
    prompts = model.encode_prompts([example.prompt for example in examples])
    written = [[*example.tokens, model.tokenizer.eos_token_id] for example in examples]
    encoded = [
        {
            "input_ids": torch.tensor(prompt + tokens),
            "labels": torch.tensor([-100] * len(prompt) + tokens),
        }
        for prompt, tokens in zip(prompts, written, strict=True)
    ]
    collate = InstructionCollator(model.tokenizer.pad_token_id)
    train_model(trained, encoded, collate, config, folder, description)
    model.model = trained.merge_and_unload() if config.lora_r else trained
    model.model.eval()
    return model


__all__ = [
    "PROMPT_TEMPLATE",
    "Example",
    "TextModel",
    "WritingBaseline",
    "fit_text_model",
    "write_prompt",
]
