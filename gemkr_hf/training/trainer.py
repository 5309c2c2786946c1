"""Instruction tuning with the HF Trainer and LoRA."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from gemkr_hf.utils.deprecation import renamed_arguments, renamed_attributes

logger = logging.getLogger(__name__)

SELECTION = "selection"
"""Criterion of the best checkpoint: the metric of `ValidationConfig`, ties broken by the loss."""


class InstructionTrainer(Trainer):
    """A Trainer with a separate learning rate for prefix, gates and projections, and with retrieval
    metrics in its evaluation.

    Args:
        *args: Arguments of ``transformers.Trainer``.
        visual_learning_rate: Learning rate of prefix, gates and projections; None for the same as
            LoRA's.
        retrieval: Scores the model by retrieval.
        metric: Criterion of the best checkpoint: a name of ``Metrics.as_dict``, or ``loss``.
        **kwargs: Arguments of ``transformers.Trainer``.
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
        """Create the optimizer, with one parameter group for LoRA and one for all others."""
        if self.optimizer is not None or self._visual_learning_rate is None:
            return super().create_optimizer(*args, **kwargs)
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

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Compute the validation loss, and P@1, P@5, R@5 and R@10 by retrieval."""
        output = super().evaluation_loop(*args, **kwargs)
        metrics: dict[str, float] = output.metrics or {}
        metrics[f"eval_{SELECTION}"] = -metrics["eval_loss"]
        if self._retrieval is not None:
            model = self.accelerator.unwrap_model(self.model)
            # The model inside PEFT's wrapper, with its adapters active.
            model = model.get_base_model() if hasattr(model, "get_base_model") else model
            scores = self._retrieval(model).as_dict()
            metrics.update({f"eval_{name}": value for name, value in scores.items()})
            if self._metric != "loss":
                # Below 1e-5, less than one question changes the metric: the loss only breaks ties.
                penalty = 1e-6 * min(metrics["eval_loss"], 9.0)
                metrics[f"eval_{SELECTION}"] = scores[self._metric] - penalty
        return output


@dataclass(frozen=True)
class TuningResult:
    """The result of instruction tuning.

    Attributes:
        model: With LoRA merged into its weights; the best checkpoint if there was validation.
        history: Entries of the training curve: ``step``, ``loss``, ``eval_loss``, ``eval_R@5``...
        best_step: Step of the kept checkpoint; the last step without validation.
        trainable_parameters, parameters: Numbers of parameters.
    """

    model: Any
    history: list[dict[str, float]]
    best_step: int
    trainable_parameters: int
    parameters: int


def lora_config(model: Any, config: TuningConfig, rank: int) -> LoraConfig:
    """LoRA on the language model, with prefix, gates and projections trained in full."""
    return LoraConfig(
        **model.lora_arguments(
            rank, config.lora_alpha, config.lora_dropout, config.lora_target_modules
        )
    )


def add_lora(model: Any, config: TuningConfig) -> Any:
    """Make LoRA, prefix, gates and projections trainable, and freeze everything else.

    Rank 0 trains prefix, gates and projections alone (Table 3, "w/o Lora").
    """
    if config.lora_r == 0:
        model.freeze_backbones()
        return trained_in_float32(model)
    return trained_in_float32(get_peft_model(model, lora_config(model, config, config.lora_r)))


def trained_in_float32(model: Any) -> Any:
    """Convert trainable parameters to float32: bfloat16 would round away steps of 6e-5."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def dtypes_of(model: Any) -> dict[str, torch.dtype]:
    """Return the dtypes of the modules that are trained in full."""
    return {name: next(getattr(model, name).parameters()).dtype for name in model.modules_to_save}


def restore_dtypes(model: Any, dtypes: dict[str, torch.dtype]) -> Any:
    """Convert modules back to their dtypes before training; see `dtypes_of`."""
    for name, dtype in dtypes.items():
        getattr(model, name).to(dtype)
    return model


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable and of all parameters."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trainable, sum(p.numel() for p in model.parameters())


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """Return the latest complete checkpoint of the Trainer; incomplete ones are removed.

    The Trainer writes ``trainer_state.json`` last.
    """
    checkpoints = [path for path in Path(folder).glob("checkpoint-*") if path.is_dir()]
    for checkpoint in sorted(checkpoints, key=lambda path: -int(path.name.split("-")[1])):
        try:
            TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        except (FileNotFoundError, ValueError):
            logger.warning(f"Removed the incomplete checkpoint '{checkpoint.name}'")
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def training_arguments(
    output: str | Path,
    config: TuningConfig,
    validation: ValidationConfig | None = None,
    **changes: Any,
) -> TrainingArguments:
    """Create ``TrainingArguments``: the settings under their own names, and what is fixed here.

    Args:
        output: Folder of the checkpoints.
        config: Hyper-parameters.
        validation: Settings of the validation; None for none.
        **changes: ``TrainingArguments`` that differ.
    """
    settings = asdict(config)
    # transformers 5.23 renamed it.
    names = ("activation_checkpointing", "gradient_checkpointing")
    checkpointing = next(name for name in names if name in TrainingArguments.__dataclass_fields__)
    recompute = settings.pop("gradient_checkpointing")
    arguments: dict[str, Any] = {
        **{k: v for k, v in settings.items() if k in TrainingArguments.__dataclass_fields__},
        "output_dir": str(output),
        "max_steps": config.max_steps or -1,
        "per_device_eval_batch_size": config.per_device_train_batch_size,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_total_limit": 1,
        "data_seed": config.seed,
        "bf16": config.precision == "bf16",
        "fp16": config.precision == "fp16",
        checkpointing: recompute,
        f"{checkpointing}_kwargs": {"use_reentrant": False},
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
        strategy = "epoch" if validation.eval_steps is None else "steps"
        arguments |= {
            "eval_strategy": strategy,
            "eval_steps": validation.eval_steps,
            "save_strategy": strategy,
            "save_steps": validation.eval_steps or config.save_steps,
            "prediction_loss_only": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{SELECTION}",
            "greater_is_better": True,
        }
    return TrainingArguments(**{**arguments, **changes})


def weights_are_sharded() -> bool:
    """Return whether accelerate shards the weights over the GPUs (FSDP, ZeRO-3)."""
    variable = os.environ.get
    return variable("ACCELERATE_USE_FSDP") == "true" or (
        variable("ACCELERATE_USE_DEEPSPEED") == "true"
        and variable("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    )


def save_peft(adapted: Any, folder: Path) -> None:
    """Save an adapter without the embeddings, which stay unchanged."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)


@renamed_arguments({"held_out": "validation_set", "fresh": "load_untuned"})
def tune(
    model: Any,
    processor: Any,
    instructions: InstructionDataset,
    output: str | Path,
    config: TuningConfig,
    callbacks: list[TrainerCallback] | None = None,
    validation: ValidationConfig | None = None,
    validation_set: InstructionDataset | None = None,
    retrieval: Callable[[Any], Metrics] | None = None,
    load_untuned: Callable[[], Any] | None = None,
) -> TuningResult:
    """Tune a ``GeMKRForRetrieval`` on instructions, or resume from the last checkpoint.

    Args:
        model: The untuned model; it is changed.
        processor: Its processor.
        instructions: The training set.
        output: Folder of the checkpoints; the adapter is saved in ``adapter`` in it.
        config: Hyper-parameters.
        callbacks: Further callbacks of the Trainer.
        validation: Settings of the validation; None for none.
        validation_set: Instructions for the validation loss.
        retrieval: Scores the model by retrieval, see `RetrievalValidation`.
        load_untuned: Loads the untuned model again; needed if the weights are sharded over several
            GPUs, to merge LoRA into them.

    Raises:
        ValueError: There are fewer instructions than one batch, or a validation without a
            validation set.
    """
    output = Path(output)
    if validation is not None and validation_set is None:
        raise ValueError("Validation needs instructions: give validation_set")
    torch.manual_seed(config.seed)
    dtypes = dtypes_of(model)
    adapted = add_lora(model, config)
    trainable, total = count_parameters(adapted)
    logger.info(f"{trainable:,} of {total:,} parameters are trained ({trainable / total:.1%})")
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
        eval_dataset=validation_set,
        data_collator=InstructionCollator(processor.tokenizer.pad_token_id),
        processing_class=processor,
        callbacks=callbacks,
        visual_learning_rate=config.visual_learning_rate,
        retrieval=None if validation is None else retrieval,
        metric="loss" if validation is None else validation.metric,
    )
    show_progress(trainer, "tune")
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(output))
    if weights_are_sharded():
        # No process has all weights: the adapter is saved and merged into a model loaded again.
        trainer.save_model(str(output / "adapter"))
        if load_untuned is None:
            raise ValueError("The weights are sharded over several GPUs: give load_untuned")
        merged = PeftModel.from_pretrained(load_untuned(), str(output / "adapter"))
        merged = merged.merge_and_unload()
    else:
        merged = trainer.accelerator.unwrap_model(trainer.model)
        if config.lora_r:
            if trainer.is_world_process_zero():
                save_peft(merged, output / "adapter")
            merged = merged.merge_and_unload()
    state = trainer.state
    best = int(state.best_global_step or state.global_step)
    model = restore_dtypes(merged, dtypes)
    return TuningResult(model, list(state.log_history), best, trainable, total)


__getattr__ = renamed_attributes(__name__, {"Tuned": "TuningResult"})

__all__ = [
    "InstructionTrainer",
    "TuningResult",
    "add_lora",
    "count_parameters",
    "dtypes_of",
    "last_complete_checkpoint",
    "lora_config",
    "restore_dtypes",
    "save_peft",
    "trained_in_float32",
    "training_arguments",
    "tune",
    "weights_are_sharded",
]
