"""Settings of an evaluation; the defaults are for the symbols benchmark on two cores."""

from dataclasses import dataclass, field
from typing import Literal

from gemkr_hf.data import DataConfig
from gemkr_hf.evaluation.hits import GOLD, check_preset
from gemkr_hf.evaluation.run_metrics import MEASURES, check_measures
from gemkr_hf.toy.stand_ins.language_model_stand_in import LanguageModelTraining
from gemkr_hf.toy.stand_ins.toy_tuning import small_world_tuning
from gemkr_hf.training.arguments import ModelConfig, TuningConfig
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.training.starting_model import SMALL_WORLD
from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.text import slug


@dataclass(frozen=True)
class LanguageModelSize(Settings):
    """A language model of Fig. 3.

    Attributes:
        name: of its row.
        language_model: folder or Hub id; None to train one in words for the symbols.
        training: of that one.
    """

    name: str
    language_model: str | None = None
    training: LanguageModelTraining | None = None

    def __post_init__(self) -> None:
        if (self.language_model is None) == (self.training is None):
            raise ValueError(
                f"The language model '{self.name}' is one that there is (language_model) or one to "
                "be trained (training): give one of the two"
            )


def _sizes() -> tuple[LanguageModelSize, ...]:
    """Stand-ins of three sizes, each taught the documents and the task by as many steps."""
    return tuple(
        LanguageModelSize(
            f"Llama, {width} wide",
            training=LanguageModelTraining(
                hidden_size=width, intermediate_size=2 * width, heads=width // 32, steps=600
            ),
        )
        for width in (64, 128, 256)
    )


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is measured, on which benchmark, and how what must be trained is trained.

    Attributes:
        output: folder of everything that is made; a run that was stopped goes on in it.
        data: the benchmark.
        model: what GeMKR starts from; the other systems take its tokenizer, its language model and
            its vision tower.
        split: whose questions are asked.
        hit: the preset that says what counts as a hit, see ``gemkr_hf.evaluation.hits``.
        measures: what is measured.
        k: documents retrieved for each question.
        seeds: each system that is trained is trained once with each.
        captions: the images in words, for systems that cannot see: ``written`` by a caption model
            that is trained on the captions of the training images, or ``given`` by the questions'
            files (OKVQA's and ReMuQ's hold captions).
        checkpoints: system -> folder or Hub id, in the place of training it. ``dpr`` takes the two
            encoders with a comma between them, a model of sentence-transformers, or a folder.
        sampling, tuning, aggregate: GeMKR's training and search, as ``gemkr train`` has them.
        encoders: contrastive training of DPR, LXMERT and ReViz.
        pretraining: inverse-cloze pretraining of ReViz-ICT.
        text_models: training of SEAL's and CorpusBrain's language models: by LoRA, or with rank 0
            of all their weights.
        captioner: training of the caption model.
        language_models: the rows of Fig. 3.
    """

    output: str = "runs/evaluation"
    data: DataConfig = field(default_factory=lambda: DataConfig(format="symbols"))
    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(checkpoint=SMALL_WORLD, attention="eager")
    )
    split: str = "test"
    hit: str = GOLD
    measures: tuple[str, ...] = MEASURES
    k: int = 10
    seeds: tuple[int, ...] = (0, 1)
    captions: Literal["written", "given"] = "written"
    checkpoints: dict[str, str] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    tuning: TuningConfig = field(default_factory=small_world_tuning)
    aggregate: Literal["max", "logsumexp"] = "logsumexp"
    encoders: TuningConfig = field(
        default_factory=lambda: small_world_tuning(learning_rate=5e-4, num_train_epochs=1.5)
    )
    pretraining: TuningConfig = field(
        default_factory=lambda: small_world_tuning(learning_rate=5e-4, num_train_epochs=1.0)
    )
    text_models: TuningConfig = field(
        default_factory=lambda: small_world_tuning(
            learning_rate=5e-4, num_train_epochs=0.6, lora_r=0
        )
    )
    captioner: TuningConfig = field(
        default_factory=lambda: small_world_tuning(learning_rate=2e-3, num_train_epochs=16.0)
    )
    language_models: tuple[LanguageModelSize, ...] = field(default_factory=_sizes)

    def __post_init__(self) -> None:
        check_preset(self.hit)
        check_measures(self.measures)
        if self.k < 1:
            raise ValueError(f"k is the number of documents retrieved, at least 1, got {self.k}")
        for measure in self.measures:
            if int(measure.split("@")[1]) > self.k:
                raise ValueError(
                    f"{measure} needs more documents than k = {self.k} retrieved ones: raise k or "
                    "choose other measures"
                )
        names = [slug(size.name) for size in self.language_models]
        if len(set(names)) < len(names) or "" in names:
            raise ValueError(
                "language_models need names of their own, in letters and digits: "
                + ", ".join(f"'{size.name}'" for size in self.language_models)
            )
        if not self.seeds:
            raise ValueError("seeds must name one seed at least")
        for seed in self.seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"A seed is a number from 0 to 4,294,967,295, got {seed}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names one twice: {', '.join(map(str, self.seeds))}")


__all__ = ["EvaluationConfig", "LanguageModelSize"]
