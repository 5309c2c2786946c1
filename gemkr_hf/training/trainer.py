"""Instruction tuning with the HF Trainer and LoRA."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import EvalLoopOutput

from gemkr_hf.evaluation.metrics import Metrics
from gemkr_hf.training.arguments import TuningConfig, ValidationConfig
from gemkr_hf.training.instruction_dataset import InstructionCollator, InstructionDataset
from gemkr_hf.training.progress_callback import show_progress

logger = logging.getLogger(__name__)

SELECTION = "selection"
"""The metric by which the best state is kept: that of ``ValidationConfig``, ties by the loss."""


class InstructionTrainer(Trainer):
    """A Trainer with a learning rate of its own for prefix, gates and projections, and with
    retrieval beside the loss in its validation.

    Args:
        visual_learning_rate: None for one rate for all.
        retrieval: scores the model as it is.
        metric: a name of ``Metrics.as_dict``, or ``loss``.
    """

    def __init__(
        self,
        *args: Any,
        visual_learning_rate: float | None = None,
        retrieval: Callable[[Any], Metrics] | None = None,
        metric: str = "R@5",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._visual_learning_rate = visual_learning_rate
        self._retrieval = retrieval
        self._metric = metric

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The Trainer's, in two groups: LoRA, and prefix, gates and projections."""
        if self.optimizer is None and self._visual_learning_rate is not None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args)
            named = self.accelerator.unwrap_model(self.model).named_parameters()
            trained = [(n, p) for n, p in named if p.requires_grad]
            groups: list[dict[str, Any]] = [
                {"params": [p for n, p in trained if "lora_" in n]},
                {
                    "params": [p for n, p in trained if "lora_" not in n],
                    "lr": self._visual_learning_rate,
                },
            ]
            self.optimizer = kind(
                [group for group in groups if group["params"]],
                **{"weight_decay": self.args.weight_decay, **options},
            )
            return self.optimizer
        return super().create_optimizer(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """The loss, and P@1, P@5, R@5 and R@10 of the retrieval."""
        output = super().evaluation_loop(*args, **kwargs)
        metrics: dict[str, float] = output.metrics or {}
        metrics[f"eval_{SELECTION}"] = -metrics["eval_loss"]
        if self._retrieval is not None:
            model = self.accelerator.unwrap_model(self.model)
            found = self._retrieval(_unadapted(model)).as_dict()
            metrics.update({f"eval_{name}": value for name, value in found.items()})
            if self._metric != "loss":
                # A difference of one question is more than 1e-5; the loss decides among equals.
                metrics[f"eval_{SELECTION}"] = found[self._metric] - 1e-6 * min(
                    metrics["eval_loss"], 9.0
                )
        return output


@dataclass(frozen=True)
class Tuned:
    """What tuning leaves.

    Attributes:
        model: with LoRA merged into its weights; the best state where there was a validation.
        history: the entries of the curve: ``step``, ``loss``, ``eval_loss``, ``eval_R@5``...
        best_step: the step of the state that was kept; the last one without validation.
        trainable, parameters: numbers of parameters.
    """

    model: Any
    history: list[dict[str, float]]
    best_step: int
    trainable: int
    parameters: int


def add_lora(model: Any, config: TuningConfig) -> Any:
    """LoRA on the language model; prefix, gates and projections in full; the rest frozen.

    With rank 0 the model itself, its towers frozen (Table 3, "w/o Lora"). What is trained is in
    float32, whatever the rest is in: in bfloat16 a step of 6e-5 would be rounded away.
    """
    if config.lora_r == 0:
        model.freeze_backbones()
        return trained_in_float32(model)
    arguments = model.lora_arguments(
        config.lora_r, config.lora_alpha, config.lora_dropout, config.lora_target_modules
    )
    return trained_in_float32(get_peft_model(model, LoraConfig(**arguments)))


def trained_in_float32(model: Any) -> Any:
    """The model, its trained parameters in float32."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def dtypes_of(model: Any) -> dict[str, torch.dtype]:
    """The types of the parts that are trained in full."""
    return {name: next(getattr(model, name).parameters()).dtype for name in model.modules_to_save}


def _unadapted(model: Any) -> Any:
    """The model itself, with whatever adapters are in it at work."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


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


def training_arguments(
    output: str | Path,
    config: TuningConfig,
    validation: ValidationConfig | None = None,
    **others: Any,
) -> TrainingArguments:
    """``TrainingArguments`` of these settings.

    Args:
        output: folder of the states.
        config: hyper-parameters.
        validation: None for none.
        **others: further arguments of transformers, in the place of ours.
    """
    arguments: dict[str, Any] = {
        "output_dir": str(output),
        "learning_rate": config.learning_rate,
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "per_device_eval_batch_size": config.per_device_train_batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "num_train_epochs": config.num_train_epochs,
        "max_steps": config.max_steps or -1,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": config.optim,
        "lr_scheduler_type": config.lr_scheduler_type,
        "logging_steps": config.logging_steps,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 1,
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": config.precision == "bf16",
        "fp16": config.precision == "fp16",
        "activation_checkpointing": config.gradient_checkpointing,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "dataloader_num_workers": config.dataloader_num_workers,
        "dataloader_persistent_workers": config.dataloader_num_workers > 0,
        "dataloader_drop_last": True,
        "report_to": list(config.report_to),
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "ddp_find_unused_parameters": False,
        "use_cpu": not torch.cuda.is_available(),
    }
    if config.min_learning_rate is not None:
        arguments["lr_scheduler_type"] = "cosine_with_min_lr"
        arguments["lr_scheduler_kwargs"] = {"min_lr": config.min_learning_rate}
    if validation is not None:
        when = "epoch" if validation.eval_steps is None else "steps"
        arguments |= {
            "eval_strategy": when,
            "eval_steps": validation.eval_steps,
            "save_strategy": when,
            "save_steps": validation.eval_steps or config.save_steps,
            "prediction_loss_only": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{SELECTION}",
            "greater_is_better": True,
        }
    return TrainingArguments(**{**arguments, **others})


def weights_are_divided() -> bool:
    """Whether accelerate was told to divide the weights over the GPUs (FSDP, ZeRO-3)."""
    told = os.environ.get
    return told("ACCELERATE_USE_FSDP") == "true" or (
        told("ACCELERATE_USE_DEEPSPEED") == "true"
        and told("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    )


def save_peft(adapted: Any, folder: Path) -> None:
    """What PEFT trained, without embeddings, which nothing changes."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)


def with_adapter(model: Any, adapter: str | Path) -> Any:
    """A model with a saved adapter merged into its weights."""
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def tune(
    model: Any,
    processor: Any,
    instructions: InstructionDataset,
    output: str | Path,
    config: TuningConfig,
    callbacks: list[TrainerCallback] | None = None,
    validation: ValidationConfig | None = None,
    held_out: InstructionDataset | None = None,
    retrieval: Callable[[Any], Metrics] | None = None,
    fresh: Callable[[], Any] | None = None,
) -> Tuned:
    """Tune a ``GeMKRForRetrieval`` on instructions, or go on from the last saved step.

    Args:
        model: the model as it starts; it is changed.
        processor: its processor, for the padding.
        instructions: what to learn.
        output: folder of the training's checkpoints; the adapter is saved there as ``adapter``.
        config: hyper-parameters.
        callbacks: further ``TrainerCallback``s.
        validation: when to validate; the best state is kept. None for no validation.
        held_out: the instructions whose loss is validated.
        retrieval: scores the model, see ``RetrievalValidation``.
        fresh: loads the model as it started, for weights that are divided over several GPUs: LoRA
            is merged into these.

    Raises:
        ValueError: there are fewer instructions than a batch takes.
    """
    output = Path(output)
    if validation is not None and held_out is None:
        raise ValueError("A validation needs instructions that are held out: give held_out")
    if validation is None:
        retrieval = None
    torch.manual_seed(config.seed)
    dtypes = dtypes_of(model)
    adapted = add_lora(model, config)
    trainable, every = count_parameters(adapted)
    logger.info(f"{trainable:,} of {every:,} parameters are trained ({trainable / every:.1%})")
    arguments = training_arguments(output, config, validation)
    batch_size, processes = config.per_device_train_batch_size, arguments.world_size
    if len(instructions) < batch_size * processes:
        raise ValueError(
            f"{len(instructions)} instructions are fewer than a batch of {batch_size} for each of "
            f"{processes} processes: lower tuning.per_device_train_batch_size"
        )
    trainer = InstructionTrainer(
        model=adapted,
        args=arguments,
        train_dataset=instructions,
        eval_dataset=held_out,
        data_collator=InstructionCollator(processor.tokenizer.pad_token_id),
        processing_class=processor,
        callbacks=callbacks,
        visual_learning_rate=config.visual_learning_rate,
        retrieval=retrieval,
        metric="loss" if validation is None else validation.metric,
    )
    show_progress(trainer, "tune")
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    if weights_are_divided():
        trainer.save_model(str(output / "adapter"))
        if fresh is None:
            raise ValueError("The weights are divided over several GPUs: give fresh")
        merged = with_adapter(fresh(), output / "adapter")
    else:
        adapted = trainer.accelerator.unwrap_model(trainer.model)
        if config.lora_r and trainer.is_world_process_zero():
            save_peft(adapted, output / "adapter")
        merged = adapted.merge_and_unload() if config.lora_r else adapted
    for name, dtype in dtypes.items():
        getattr(merged, name).to(dtype)
    best = trainer.state.best_global_step or trainer.state.global_step
    return Tuned(merged, list(trainer.state.log_history), int(best), trainable, every)


__all__ = [
    "InstructionTrainer",
    "Tuned",
    "add_lora",
    "count_parameters",
    "dtypes_of",
    "last_whole_checkpoint",
    "save_peft",
    "trained_in_float32",
    "training_arguments",
    "tune",
    "weights_are_divided",
    "with_adapter",
]
