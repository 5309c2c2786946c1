"""Settings of an evaluation; the defaults are for the symbols benchmark on two cores."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gemkr_hf.data import DataConfig
from gemkr_hf.evaluation.hits import GOLD, check_preset
from gemkr_hf.evaluation.run_metrics import MEASURES, check_measures
from gemkr_hf.training.arguments import ModelConfig, TuningConfig
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.registry import Registry
from gemkr_hf.utils.text import slug

DEFAULT_BENCHMARK = "symbols"


@dataclass(frozen=True)
class LanguageModelSize(Settings):
    """A language model of Figure 3.

    Attributes:
        name: label of its row.
        language_model: folder or Hub id; None to train one.
        training: settings with which the benchmark's plug-in trains a language model.
    """

    name: str
    language_model: str | None = None
    training: Any = None

    def __post_init__(self) -> None:
        if (self.language_model is None) == (self.training is None):
            raise ValueError(
                f"Language model '{self.name}': give either language_model (an existing model) or "
                "training (to train one)"
            )


@dataclass(frozen=True)
class EvaluationPlugin:
    """What a plug-in adds for the evaluation of its benchmark format.

    Attributes:
        tuning: returns default training settings with some of them changed.
        language_models: returns the default rows of Figure 3.
        train_language_model: trains the language model of a row. Takes the model settings, the
            row's ``training``, a target folder and a working folder; returns the model settings
            with the trained language model.
    """

    tuning: Callable[..., TuningConfig]
    language_models: Callable[[], tuple[LanguageModelSize, ...]]
    train_language_model: Callable[[ModelConfig, Any, Path, Path], ModelConfig]


EVALUATION_PLUGINS: Registry[Callable[[], EvaluationPlugin]] = Registry("evaluation plug-in")
"""Benchmark format -> function that returns its plug-in."""


def _tuning(**changes: Any) -> Callable[[], TuningConfig]:
    return lambda: EVALUATION_PLUGINS.get(DEFAULT_BENCHMARK)().tuning(**changes)


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is evaluated, on which benchmark, and how the systems are trained.

    Attributes:
        output: folder of all results; an interrupted evaluation resumes in it.
        data: the benchmark.
        model: the untuned GeMKR; the other systems use its tokenizer, language model and vision
            tower.
        split: split of the questions.
        hit: hit preset, see ``gemkr_hf.evaluation.hits``.
        measures: such as ``P@5``.
        k: documents retrieved for each question.
        seeds: each system that is trained is trained once with each seed.
        captions: captions for the text-only systems: ``written`` by a caption model that is
            trained on the captions of the training images, or ``given`` by the question files
            (OKVQA and ReMuQ have captions).
        checkpoints: system -> folder or Hub id, instead of training it. ``dpr`` takes two encoders
            separated by a comma, a model of sentence-transformers, or a folder.
        sampling, tuning, aggregate: GeMKR's training and search, as in ``gemkr train``.
        encoders: contrastive training of DPR, CLIP, LXMERT and ReViz.
        pretraining: inverse-cloze pretraining of ReViz-ICT.
        text_models: training of SEAL's and CorpusBrain's language models, with LoRA or, with rank
            0, in full.
        captioner: training of the caption model.
        language_models: rows of Figure 3.
    """

    output: str = "runs/evaluation"
    data: DataConfig = field(default_factory=lambda: DataConfig(format=DEFAULT_BENCHMARK))
    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(checkpoint="small-world", attention="eager")
    )
    split: str = "test"
    hit: str = GOLD
    measures: tuple[str, ...] = MEASURES
    k: int = 10
    seeds: tuple[int, ...] = (0, 1)
    captions: Literal["written", "given"] = "written"
    checkpoints: dict[str, str] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    tuning: TuningConfig = field(default_factory=_tuning())
    aggregate: Literal["max", "logsumexp"] = "logsumexp"
    encoders: TuningConfig = field(
        default_factory=_tuning(learning_rate=5e-4, num_train_epochs=1.5)
    )
    pretraining: TuningConfig = field(
        default_factory=_tuning(learning_rate=5e-4, num_train_epochs=1.0)
    )
    text_models: TuningConfig = field(
        default_factory=_tuning(learning_rate=5e-4, num_train_epochs=0.6, lora_r=0)
    )
    captioner: TuningConfig = field(
        default_factory=_tuning(learning_rate=2e-3, num_train_epochs=16.0)
    )
    language_models: tuple[LanguageModelSize, ...] = field(
        default_factory=lambda: EVALUATION_PLUGINS.get(DEFAULT_BENCHMARK)().language_models()
    )

    def __post_init__(self) -> None:
        check_preset(self.hit)
        check_measures(self.measures)
        if self.k < 1:
            raise ValueError(f"k is the number of documents to retrieve, at least 1, got {self.k}")
        for measure in self.measures:
            if int(measure.split("@")[1]) > self.k:
                raise ValueError(
                    f"{measure} needs more documents than k = {self.k}: increase k or choose other "
                    "measures"
                )
        names = [slug(size.name) for size in self.language_models]
        if len(set(names)) < len(names) or "" in names:
            raise ValueError(
                "language_models need unique names with letters or digits, got "
                + ", ".join(f"'{size.name}'" for size in self.language_models)
            )
        if not self.seeds:
            raise ValueError("seeds is empty: give at least one seed")
        for seed in self.seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"A seed is a number from 0 to 4,294,967,295, got {seed}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds contains duplicates: {', '.join(map(str, self.seeds))}")


__all__ = ["EVALUATION_PLUGINS", "EvaluationConfig", "EvaluationPlugin", "LanguageModelSize"]
