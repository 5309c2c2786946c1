"""Settings of training; the defaults are the paper's.

Fields that `transformers.TrainingArguments` or `trl.ModelConfig` has carry their names and are
passed on unchanged. `TuningConfig` is not a subclass of `TrainingArguments`: that class opens the
devices and checks the machine when it is created, whereas a configuration for a GPU must also be
readable, comparable and checkable (``gemkr train --check``) on a laptop.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from gemkr_hf.data import DataConfig
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.deprecation import renamed_fields
from gemkr_hf.utils.hit_presets import check_preset


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The model that training starts from: a checkpoint, or parts that are joined.

    Attributes:
        checkpoint: Folder or Hub id of a GeMKR checkpoint, or the name of a registered source such
            as ``small-world``. None: the parts below.
        language_model: Folder or Hub id of a causal language model (paper: LLaMA-7b).
        vision_model: Folder or Hub id of a CLIP or SigLIP (paper: CLIP ViT-L/14).
        detector: YOLO weights for ``ultralytics``, a local file or one on the Hub
            (``org/name/best.pt``); or ``transformers:`` and the folder or Hub id of a detector of
            transformers; None for no objects. The paper's YOLOv7 is not part of ultralytics.
        preset: ``paper`` or ``released-code``: settings of model and processor.
        config: Further fields of ``GeMKRConfig``.
        processor: Further arguments of ``GeMKRProcessor``.
        bits: 4 or 8: quantise the language model with bitsandbytes (4: QLoRA).
        dtype: Type of the weights that are neither trained nor quantised.
        attention: ``eager``, ``sdpa`` or ``flash_attention_2``; None for transformers' choice.
        revision: Branch, tag or commit of ``checkpoint`` on the Hub.
    """

    checkpoint: str | None = None
    language_model: str = "huggyllama/llama-7b"
    vision_model: str = "openai/clip-vit-large-patch14"
    detector: str | None = "Ultralytics/YOLOv8/yolov8x.pt"
    preset: Literal["paper", "released-code"] = "paper"
    config: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    bits: Literal[4, 8] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: str | None = None
    revision: str | None = None


@renamed_fields(
    {
        "batch_size": "per_device_train_batch_size",
        "gradient_accumulation": "gradient_accumulation_steps",
        "epochs": "num_train_epochs",
        "scheduler": "lr_scheduler_type",
        "optimizer": "optim",
        "workers": "dataloader_num_workers",
        "lora_rank": "lora_r",
        "lora_layers": "lora_target_modules",
    }
)
@dataclass(frozen=True)
class TuningConfig(Settings):
    """Hyper-parameters of instruction tuning.

    Attributes:
        learning_rate: Learning rate of LoRA, prefix, gates and projections ("a learning rate of
            6e-5").
        visual_learning_rate: Another learning rate for prefix, gates and projections; None for
            ``learning_rate``.
        per_device_train_batch_size: Instructions per process and step ("batches of 12 instruction
            data").
        gradient_accumulation_steps: Batches per update of the weights.
        num_train_epochs: Passes over the instructions; the released code makes 5 x 2400 batches.
        max_steps: Maximum number of weight updates; None for no limit.
        warmup_steps: Steps of linear warm-up ("the Adam optimizer with a warm-up strategy"); the
            number is the released code's.
        lr_scheduler_type: Schedule after the warm-up (released code: cosine).
        min_learning_rate: Final rate of the cosine (released code: 1e-5); None for 0.
        optim: Optimizer; ``paged_adamw_8bit`` is meant for QLoRA.
        weight_decay: Weight decay of AdamW (released code: 0.05).
        max_grad_norm: Maximum norm of the gradients.
        lora_r, lora_alpha, lora_dropout: LoRA on query and value projections. With rank 16 the
            paper's model has its "14M parameters" to train; the released code has 8 and 16. Rank 0
            freezes the language model (Table 3, "w/o Lora").
        lora_target_modules: Names of the adapted layers; None for query and value projections.
        precision: Precision of the computation: ``fp32``, or autocast to ``bf16`` or ``fp16``.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        fit_objects: First fit the projections to the captions of the training objects, or to the
            detector's labels where the benchmark has no captions.
        dataloader_num_workers: Processes that prepare batches.
        seed: Seed of sampled clues, initial weights and the order of the instructions.
        save_steps: Steps between two checkpoints of a run without validation; with validation, one
            is saved at each validation.
        logging_steps: Steps between two entries of the training curve.
        report_to: ``tensorboard``, ``trackio``, ...
    """

    learning_rate: float = 6e-5
    visual_learning_rate: float | None = None
    per_device_train_batch_size: int = 12
    gradient_accumulation_steps: int = 1
    num_train_epochs: float = 5.0
    max_steps: int | None = None
    warmup_steps: int = 200
    lr_scheduler_type: str = "cosine"
    min_learning_rate: float | None = None
    optim: str = "adamw_torch"
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_target_modules: tuple[str, ...] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    fit_objects: bool = False
    dataloader_num_workers: int = 0
    seed: int = 0
    save_steps: int = 100
    logging_steps: int = 10
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.check_positive(
            "learning_rate",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "num_train_epochs",
            "max_steps",
            "lora_alpha",
            "save_steps",
            "logging_steps",
        )
        self.check_not_negative("warmup_steps", "lora_r", "weight_decay", "dataloader_num_workers")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(
                f"lora_dropout must be at least 0 and below 1, got {self.lora_dropout}"
            )
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ValueError(f"precision must be fp32, bf16 or fp16, got '{self.precision}'")


@renamed_fields({"every": "eval_steps"})
@dataclass(frozen=True)
class ValidationConfig(Settings):
    """Validation during training, by loss and by retrieval, and the choice of the checkpoint.

    Attributes:
        eval_steps: Steps between two validations; None for once per epoch.
        questions: Number of questions of the validation split to retrieve for, the first ones; None
            for all, 0 for the loss alone.
        metric: The checkpoint with the best value is kept: ``R@5``, ``P@1``, ``P@5``, ``R@10`` or
            ``loss``.
        hit: Hit preset, see `gemkr_hf.utils.hit_presets`: ``gold`` (the id of a relevant document),
            ``vrr`` (the lowercased text contains an answer; pseudo-relevance of OKVQA), ...
        num_beams: Beams of the search; None for the model's own.
        batch_size: Questions decoded together.
    """

    eval_steps: int | None = None
    questions: int | None = 500
    metric: Literal["R@5", "P@1", "P@5", "R@10", "loss"] = "R@5"
    hit: Annotated[str, BeforeValidator(check_preset)] = "gold"
    num_beams: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        self.check_positive("eval_steps", "batch_size")
        self.check_not_negative("questions")
        check_preset(self.hit)
        if self.questions == 0 and self.metric != "loss":
            raise ValueError(f"metric {self.metric} needs questions: set metric to loss")


@renamed_fields({"batch_size": "per_device_train_batch_size", "epochs": "num_train_epochs"})
@dataclass(frozen=True)
class PreferenceConfig(Settings):
    """Preference tuning from relevance feedback, after instruction tuning (beyond the paper).

    Clues that led to relevant documents are preferred to others, by direct preference optimisation
    (Rafailov et al. 2023) with TRL's trainer.

    Attributes:
        questions: Number of training questions to collect feedback for; None for all.
        pairs: Maximum number of pairs of a preferred and a dispreferred clue per question.
        only_mistakes: Skip questions whose first document is already relevant.
        hard_negatives: Number of pairs per question whose dispreferred clue is almost distinctive:
            a clue of another document with the longest common beginning.
        learning_rate, per_device_train_batch_size, num_train_epochs, warmup_steps: As in
            `TuningConfig`.
        beta: Strength of the tie to the starting model (DPO).
        sft_weight: Weight of the preferred clue's likelihood in the loss.
    """

    questions: int | None = None
    pairs: int = 2
    only_mistakes: bool = False
    hard_negatives: int = 0
    learning_rate: float = 5e-6
    per_device_train_batch_size: int = 12
    num_train_epochs: float = 1.0
    warmup_steps: int = 20
    beta: float = 0.1
    sft_weight: float = 0.0

    def __post_init__(self) -> None:
        self.check_positive(
            "pairs", "learning_rate", "per_device_train_batch_size", "num_train_epochs", "beta"
        )
        if not 0 <= self.hard_negatives <= self.pairs:
            raise ValueError(
                f"hard_negatives must be in 0..{self.pairs} (pairs), got {self.hard_negatives}"
            )


@dataclass(frozen=True)
class TrainConfig(Settings):
    """All settings of one training run: what ``gemkr train --config`` reads.

    Attributes:
        data: Questions, images and documents.
        output: Folder of the run.
        model: The model that training starts from.
        sampling: How clues are sampled from relevant documents.
        tuning: Hyper-parameters of instruction tuning.
        validation: Validation during training.
        preferences: Preference tuning after instruction tuning; None to omit it.
        captions: Append the images' captions to the questions, as the released code does; or use
            them instead of images, with ``use_visual_query: false`` in ``model.config`` (Table 3,
            "w/o Visual Queries"). The tuned model then needs a caption with each question.
        aggregate: How a document's score follows from the scores of its clues: ``max`` (paper) or
            ``logsumexp``. It is saved in the model's configuration.
    """

    data: DataConfig
    output: str
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    preferences: PreferenceConfig | None = None
    captions: bool = False
    aggregate: Literal["max", "logsumexp"] = "max"


__all__ = [
    "ModelConfig",
    "PreferenceConfig",
    "TrainConfig",
    "TuningConfig",
    "ValidationConfig",
]
