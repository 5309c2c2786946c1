"""Instruction tuning with the HF Trainer and LoRA."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from gemkr_hf.training.config import TuningConfig
from gemkr_hf.training.instructions import InstructionCollator, InstructionDataset

logger = logging.getLogger(__name__)


class TwoRateTrainer(Trainer):
    """A Trainer with a learning rate of its own for prefix, gates and projections."""

    def __init__(self, *args: Any, visual_learning_rate: float | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._visual_learning_rate = visual_learning_rate

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """AdamW with two groups: LoRA, and prefix, gates and projections."""
        if self.optimizer is None and self._visual_learning_rate is not None:
            named = self.accelerator.unwrap_model(self.model).named_parameters()
            trained = [(n, p) for n, p in named if p.requires_grad]
            groups: list[dict[str, Any]] = [
                {"params": [p for n, p in trained if "lora_" in n]},
                {
                    "params": [p for n, p in trained if "lora_" not in n],
                    "lr": self._visual_learning_rate,
                },
            ]
            self.optimizer = torch.optim.AdamW(
                groups, lr=self.args.learning_rate, weight_decay=self.args.weight_decay
            )
            return self.optimizer
        return super().create_optimizer(*args, **kwargs)


def add_lora(model: Any, config: TuningConfig) -> PeftModel:
    """LoRA on the language model; prefix, gates and projections in full; the rest frozen."""
    arguments = model.lora_arguments(config.lora_rank, config.lora_alpha, config.lora_dropout)
    return get_peft_model(model, LoraConfig(**arguments))


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Trainable and all parameters."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trainable, sum(p.numel() for p in model.parameters())


def last_whole_checkpoint(folder: str | Path) -> str | None:
    """The furthest state that the Trainer saved to its end; what it left half-written is removed.

    ``trainer_state.json`` is the last file of a checkpoint.
    """
    checkpoints = [path for path in Path(folder).glob("checkpoint-*") if path.is_dir()]
    for checkpoint in sorted(checkpoints, key=lambda path: -int(path.name.split("-")[1])):
        try:
            TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        except (FileNotFoundError, ValueError):
            logger.warning(f"{checkpoint.name} was not saved to its end: removed")
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def tune(
    model: Any,
    processor: Any,
    instructions: InstructionDataset,
    output: str | Path,
    config: TuningConfig,
    callbacks: list[TrainerCallback] | None = None,
) -> Any:
    """Tune a ``GeMKRForRetrieval`` on instructions, or go on from the last saved step.

    Args:
        model: the model as it starts; it is changed.
        processor: its processor, for the padding.
        instructions: what to learn.
        output: folder of the training's checkpoints; the adapter is saved there as ``adapter``.
        config: hyper-parameters.
        callbacks: further ``TrainerCallback``s.

    Returns:
        The tuned model with LoRA merged into its weights.
    """
    output = Path(output)
    torch.manual_seed(config.seed)
    adapted = add_lora(model, config)
    trainable, every = count_parameters(adapted)
    logger.info(f"{trainable:,} of {every:,} parameters are trained ({trainable / every:.1%})")
    arguments = TrainingArguments(
        output_dir=str(output),
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=config.epochs,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        logging_steps=50,
        save_steps=config.save_steps,
        save_total_limit=1,
        seed=config.seed,
        bf16=config.bf16,
        report_to=[],
        remove_unused_columns=False,
        dataloader_drop_last=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = TwoRateTrainer(
        model=adapted,
        args=arguments,
        train_dataset=instructions,
        data_collator=InstructionCollator(processor.tokenizer.pad_token_id),
        processing_class=processor,
        callbacks=callbacks,
        visual_learning_rate=config.visual_learning_rate,
    )
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    adapted.save_pretrained(str(output / "adapter"))
    return adapted.merge_and_unload()
