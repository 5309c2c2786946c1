"""Settings of instruction tuning; the defaults are the paper's."""

from dataclasses import dataclass, field
from typing import Any, Literal

from gemkr_hf.data import DataConfig
from gemkr_hf.training.clue_sampling import SamplingConfig


@dataclass(frozen=True)
class ModelConfig:
    """The model that tuning starts from: a checkpoint, or parts that are joined.

    Attributes:
        checkpoint: folder or Hub id of a GeMKR; ``small-world`` for the stand-ins of the symbols
            benchmark. None: the parts below.
        language_model: folder or Hub id of a causal language model (paper: LLaMA-7b).
        vision_model: folder or Hub id of a CLIP or SigLIP (paper: ViT-L/14 of CLIP).
        detector: YOLO weights that ``ultralytics`` reads (paper: YOLOv7, which ultralytics does not
            have), a file here or in a repository of the Hub (``org/name/best.pt``); or a detector
            of transformers, ``transformers:`` before its folder or Hub id; None for no objects.
        preset: ``paper`` or ``released-code``, settings of model and processor.
        config: further fields of ``GeMKRConfig``.
        processor: further arguments of ``GeMKRProcessor``.
        bits: 4 or 8, the language model quantised by bitsandbytes (4: QLoRA); None for all.
        dtype: of the weights that are not trained and not quantised.
        attention: ``eager``, ``sdpa`` or ``flash_attention_2``; transformers' choice where None.
        revision: of the checkpoint.
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


@dataclass(frozen=True)
class TuningConfig:
    """How the model is tuned.

    Attributes:
        learning_rate: of prefix, gates, projections and LoRA ("a learning rate of 6e-5").
        visual_learning_rate: of prefix, gates and projections alone; the same as
            ``learning_rate`` where None.
        batch_size: instructions a process and step ("batches of 12 instruction data").
        gradient_accumulation: such batches before the weights change.
        epochs: passes over the instructions; the released code goes through 5 x 2400 batches.
        max_steps: stop after so many changes of the weights.
        warmup_steps: steps of linear warm-up ("the Adam optimizer with a warm-up strategy"); the
            number is the released code's.
        scheduler: what follows the warm-up, a name of transformers; the released code's cosine.
        min_learning_rate: where the cosine ends (released code: 1e-5); 0 where None.
        optimizer: a name of transformers; ``paged_adamw_8bit`` is for QLoRA.
        weight_decay: AdamW's; the released code's value.
        max_grad_norm: gradients are scaled down to this norm.
        lora_rank, lora_alpha, lora_dropout: LoRA on query and value projections. With rank 16 the
            paper's model has its "14M parameters" to train; the released code has 8 and 16. Rank 0
            leaves the language model frozen (Table 3, "w/o Lora").
        lora_layers: names of the layers that are adapted; query and value projections where None.
        precision: of the computation: ``fp32``, ``bf16`` or ``fp16`` by autocast.
        gradient_checkpointing: compute activations again in the backward pass, to save memory.
        fit_objects: fit the projections to captions of the training objects first (the symbols have
            them; elsewhere the detector's labels are taken).
        workers: processes that prepare batches beside the training one.
        seed: of the sampled clues, the initial weights and the order of the instructions.
        save_steps: steps between two saved states, from which a stopped tuning goes on; those of
            the validation where there is one.
        logging_steps: steps between two entries of the curve.
        report_to: ``tensorboard``, ``trackio``, ...
    """

    learning_rate: float = 6e-5
    visual_learning_rate: float | None = None
    batch_size: int = 12
    gradient_accumulation: int = 1
    epochs: float = 5.0
    max_steps: int | None = None
    warmup_steps: int = 200
    scheduler: str = "cosine"
    min_learning_rate: float | None = None
    optimizer: str = "adamw_torch"
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_layers: tuple[str, ...] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    fit_objects: bool = False
    workers: int = 0
    seed: int = 0
    save_steps: int = 100
    logging_steps: int = 10
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "learning_rate",
            "batch_size",
            "gradient_accumulation",
            "epochs",
            "lora_alpha",
            "save_steps",
            "logging_steps",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup_steps", "lora_rank", "weight_decay", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be positive, got {self.max_steps}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout lies in 0..1, got {self.lora_dropout}")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ValueError(f"precision is fp32, bf16 or fp16, not '{self.precision}'")


@dataclass(frozen=True)
class ValidationConfig:
    """Validation by loss and by retrieval, and which state is kept.

    Attributes:
        every: steps between two validations; once an epoch where None.
        questions: how many of the validation split are retrieved for, the first ones; all where
            None, 0 for the loss alone.
        metric: the state with the best of these is kept: ``R@5``, ``P@1``, ``P@5``, ``R@10``, or
            ``loss``.
        hit: what counts as a hit: ``gold``, a relevant document's id, or ``answer``, a document
            whose lowercased text holds an answer (pseudo-relevance of OKVQA).
        num_beams: beams of the search; the model's own where None.
        batch_size: questions decoded together.
    """

    every: int | None = None
    questions: int | None = 500
    metric: Literal["R@5", "P@1", "P@5", "R@10", "loss"] = "R@5"
    hit: Literal["gold", "answer"] = "gold"
    num_beams: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be positive, got {self.every}")
        if self.questions == 0 and self.metric != "loss":
            raise ValueError(
                f"Without questions there is only the loss: set metric to loss, not {self.metric}"
            )
        for name in ("questions", "batch_size"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class PreferenceConfig:
    """Preference tuning from relevance feedback, after instruction tuning (beyond the paper).

    Clues that led to relevant documents are preferred to those that did not, by direct preference
    optimisation (Rafailov et al. 2023) as TRL has it.

    Attributes:
        questions: training questions that are retrieved for, to see which clues lead where; all
            where None.
        pairs: preferred and dispreferred clues for each question, at most.
        only_mistakes: leave out questions whose first document was relevant already.
        hard_negatives: how many of them have, in the place of a clue that the model wrote, a clue
            of another document that begins as the preferred one does, as long as possible.
        learning_rate, batch_size, epochs, warmup_steps: of the preference tuning.
        beta: how strongly the model is held to where it started (DPO).
        sft_weight: weight of the preferred clue's own likelihood in the loss.
    """

    questions: int | None = None
    pairs: int = 2
    only_mistakes: bool = False
    hard_negatives: int = 0
    learning_rate: float = 5e-6
    batch_size: int = 12
    epochs: float = 1.0
    warmup_steps: int = 20
    beta: float = 0.1
    sft_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("pairs", "learning_rate", "batch_size", "epochs", "beta"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.hard_negatives <= self.pairs:
            raise ValueError(
                f"hard_negatives lies in 0..{self.pairs} (pairs), got {self.hard_negatives}"
            )


@dataclass(frozen=True)
class TrainConfig:
    """All of one training: what ``gemkr train --config`` reads.

    Attributes:
        data: questions, images and documents.
        output: folder of everything that is made.
        model: what tuning starts from.
        sampling: how clues are cut from relevant documents.
        tuning: how the model is tuned.
        validation: when it is validated, and what is kept.
        preferences: preference tuning afterwards; None for none.
        captions: put the images' captions behind the questions, as the released code does, or
            in the place of images (Table 3, "w/o Visual Queries"). Questions asked later need
            captions as well.
        aggregate: a document's score from those of its clues, kept in the model: ``max`` (paper) or
            ``logsumexp``.
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
