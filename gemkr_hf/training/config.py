"""Settings of instruction tuning; the defaults are the paper's."""

from dataclasses import dataclass, field

from gemkr_hf.training.sampling import SamplingConfig


@dataclass(frozen=True)
class TuningConfig:
    """What ``tune`` does.

    Attributes:
        learning_rate: of prefix, gates, projections and LoRA ("a learning rate of 6e-5").
        visual_learning_rate: of prefix, gates and projections alone; the same as
            ``learning_rate`` where None.
        batch_size: instructions a step ("batches of 12 instruction data").
        epochs: passes over the instructions.
        warmup_steps: steps of linear warm-up ("the Adam optimizer with a warm-up strategy").
        weight_decay: AdamW's; the released code's value.
        lora_rank, lora_alpha, lora_dropout: LoRA on query and value projections. With rank 16 the
            paper's model has its "14M parameters" to train; the released code has 8 and 16.
        sampling: how clues are cut from relevant documents ("sample two knowledge clues for each
            positive document").
        seed: of the sampled clues, the initial weights and the order of the instructions.
        bf16: autocast to bfloat16.
        save_steps: steps between two saved states, from which a stopped tuning goes on.
    """

    learning_rate: float = 6e-5
    visual_learning_rate: float | None = None
    batch_size: int = 12
    epochs: float = 5.0
    warmup_steps: int = 200
    weight_decay: float = 0.05
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = 0
    bf16: bool = False
    save_steps: int = 100

    def __post_init__(self) -> None:
        for name in (
            "learning_rate",
            "batch_size",
            "epochs",
            "lora_rank",
            "lora_alpha",
            "save_steps",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {self.warmup_steps}")
