"""The systems of the tables: how each is built, and what its training and its runs depend on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from gemkr_hf.baselines import BM25Retriever, Retriever
from gemkr_hf.modeling import ABLATIONS
from gemkr_hf.paper.encoder_systems import INVERSE_CLOZE, clip, dpr, reviz, vrr
from gemkr_hf.paper.gemkr_systems import FULL_MODEL, WITHOUT_IMAGES, gemkr
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.writing_systems import corpusbrain, seal
from gemkr_hf.training.training_checks import has_images

Build = Callable[[Evaluation, int], Retriever]
"""Loads or trains a system for a seed; its documents are not indexed yet."""


@dataclass(frozen=True)
class System:
    """A system of a table.

    Attributes:
        label: in tables.
        paper: name of the paper's row for comparison.
        build: returns the retriever for a seed. It is a function of a module or a partial of one,
            so that other processes can import it.
        parts: what `--checkpoint` can replace; trained otherwise.
        settings: names of the settings that its training depends on; empty if nothing is trained.
        variant: further values that its runs depend on.
        reads_captions: the queries contain captions.
        trains_on_images: its training reads the training images.
        detects_objects: it reads objects that the evaluation's processor detects.
        after: labels of systems that train a part of it, and run before it.
        first_seed_only: run with the first seed only.
    """

    label: str
    paper: str
    build: Build
    parts: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    variant: Mapping[str, Any] = field(default_factory=dict)
    reads_captions: bool = False
    trains_on_images: bool = False
    detects_objects: bool = False
    after: tuple[str, ...] = ()
    first_seed_only: bool = False

    def checkpoints(self, evaluation: Evaluation) -> dict[str, str]:
        """Return the checkpoints that the evaluation names for its parts."""
        named = evaluation.config.checkpoints
        return {part: named[part] for part in self.parts if part in named}

    def is_trained(self, evaluation: Evaluation) -> bool:
        """Return whether any part is trained."""
        all_loaded = self.parts and len(self.checkpoints(evaluation)) == len(self.parts)
        return bool(self.settings) and not all_loaded

    def seeds(self, evaluation: Evaluation) -> tuple[int, ...]:
        """Return the seeds of its runs: one if nothing is trained."""
        seeds = evaluation.config.seeds
        return seeds[:1] if self.first_seed_only or not self.is_trained(evaluation) else seeds


def _bm25(evaluation: Evaluation, seed: int, captions: bool = False) -> Retriever:
    return BM25Retriever(captions)


_BM25_CAPTION = partial(_bm25, captions=True)
# The sum of the vectors of image and question.
_CLIP_FUSION = partial(clip, name="clip-fusion", question=0.5)
_REVIZ_ICT = partial(reviz, name=INVERSE_CLOZE)
_TUNED = ("tuning", "sampling", "aggregate")
_ENCODERS = ("encoders",)
_WRITERS = ("text_models", "sampling")

SYSTEMS: dict[str, System] = {
    "bm25": System("BM25, question", "BM25", _bm25),
    "bm25-caption": System("BM25, question + caption", "BM25", _BM25_CAPTION, reads_captions=True),
    "dpr": System("DPR", "DPR", dpr, ("dpr",), _ENCODERS, reads_captions=True),
    "corpusbrain": System(
        "CorpusBrain", "CorpusBrain", corpusbrain, ("corpusbrain",), _WRITERS, reads_captions=True
    ),
    "seal": System("SEAL", "SEAL", seal, ("seal",), _WRITERS, reads_captions=True),
    "clip": System(
        "CLIP, image to text", "CLIP", clip, ("clip",), _ENCODERS, trains_on_images=True
    ),
    "clip-fusion": System(
        "CLIP, image + question", "CLIP", _CLIP_FUSION, ("clip",), _ENCODERS, trains_on_images=True
    ),
    "vrr": System(
        "VRR",
        "VRR",
        vrr,
        ("dpr", "lxmert"),
        _ENCODERS,
        reads_captions=True,
        trains_on_images=True,
        detects_objects=True,
        after=("DPR",),
    ),
    "reviz": System("ReViz", "ReViz", reviz, ("reviz",), _ENCODERS, trains_on_images=True),
    "reviz-ict": System(
        "ReViz-ICT",
        "ReViz-ICT",
        _REVIZ_ICT,
        ("reviz-ict",),
        (*_ENCODERS, "pretraining"),
        trains_on_images=True,
    ),
    "gemkr": System("GeMKR", "GeMKR", gemkr, ("gemkr",), _TUNED, trains_on_images=True),
}
"""Name on the command line -> row of Table 1, in the table's order."""

STRATEGIES = {
    "document": "Full Document w/ Constraints",
    "first_sentence": "First Sentence w/ Constraints",
    "clue": "Knowledge Clue w/ Constraints",
    "free": "Free Text w/o Constraints",
}
"""Strategy of ``GeMKRRetriever.retrieve`` -> row of Table 4."""


def ablation_systems() -> list[System]:
    """Return Table 3's rows: the full model of Table 1, and it without each of its parts."""
    without = [
        System(
            label,
            label,
            partial(gemkr, ablation=label),
            settings=_TUNED,
            variant={"ablation": label},
            reads_captions=label == WITHOUT_IMAGES,
            trains_on_images=label != WITHOUT_IMAGES,
        )
        for label in ABLATIONS
        if label != FULL_MODEL
    ]
    return [replace(SYSTEMS["gemkr"], paper=FULL_MODEL), *without]


def strategy_systems() -> list[System]:
    """Return Table 4's rows: the full model with each generation strategy."""
    trains_model = STRATEGIES["clue"]
    return [
        replace(
            SYSTEMS["gemkr"],
            label=label,
            paper=label,
            build=partial(gemkr, strategy=strategy),
            variant={"strategy": strategy},
            after=() if label == trains_model else (trains_model,),
        )
        for strategy, label in STRATEGIES.items()
    ]


def language_model_systems(evaluation: Evaluation) -> list[System]:
    """Return Figure 3's rows: GeMKR with other language models, tuned with the same settings."""
    return [
        System(
            size.name,
            size.name,
            partial(gemkr, size=size),
            settings=_TUNED,
            variant={"language_model": asdict(size)},
            trains_on_images=True,
            first_seed_only=True,
        )
        for size in evaluation.config.language_models
    ]


def table_systems(
    evaluation: Evaluation, table: str, names: Sequence[str] | None = None
) -> tuple[list[System], str]:
    """Return the systems of Table 1, 3 or 4 or Figure 3, and the label of the reference row.

    Args:
        evaluation: the evaluation.
        table: ``table1``, ``table3``, ``table4`` or ``figure3``.
        names: systems of Table 1; all if None.

    Raises:
        ValueError: Unknown table or system, or a checkpoint for something that has none.
    """
    check_checkpoints(evaluation.config.checkpoints)
    if table == "table1":
        check_systems(names or ())
        chosen = [system for name, system in SYSTEMS.items() if names is None or name in names]
        return chosen, SYSTEMS["gemkr"].label
    if table == "table3":
        return ablation_systems(), SYSTEMS["gemkr"].label
    if table == "table4":
        return strategy_systems(), STRATEGIES["clue"]
    if table == "figure3":
        systems = language_model_systems(evaluation)
        return systems, systems[-1].label
    raise ValueError(f"Unknown table '{table}': choose table1, table3, table4 or figure3")


# -- checks before any long work -------------------------------------------------------------------


def check_systems(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown system or a duplicate."""
    for name in names:
        if name not in SYSTEMS:
            raise ValueError(f"Unknown system '{name}': choose {', '.join(SYSTEMS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"A system is given twice: {', '.join(names)}")


def check_checkpoints(checkpoints: Mapping[str, str]) -> None:
    """Raise ValueError for a checkpoint of something that has none."""
    parts = dict.fromkeys(part for system in SYSTEMS.values() for part in system.parts)
    for name in checkpoints:
        if name not in (*parts, "captions"):
            raise ValueError(
                f"No checkpoint can be given for '{name}': choose {', '.join(parts)}, captions"
            )


def check_trainable(evaluation: Evaluation, systems: Sequence[System]) -> None:
    """Raise ValueError for a system whose training needs images or questions that are missing."""
    on_images = [s for s in systems if s.trains_on_images and s.is_trained(evaluation)]
    if on_images and not has_images(evaluation.benchmark):
        raise ValueError(
            f"{on_images[0].label} is trained on images, and data.images is not set: choose other "
            "systems (--system bm25) or set data.images"
        )
    if on_images:
        evaluation.check_training_questions()


def unused_checkpoints(evaluation: Evaluation, systems: Sequence[System]) -> list[str]:
    """Return the names of checkpoints that none of the systems uses."""
    used = {part for system in systems for part in system.parts}
    if any(system.reads_captions for system in systems):
        used.add("captions")
    return [name for name in evaluation.config.checkpoints if name not in used]


__all__ = [
    "STRATEGIES",
    "SYSTEMS",
    "System",
    "check_checkpoints",
    "check_systems",
    "check_trainable",
    "table_systems",
    "unused_checkpoints",
]
