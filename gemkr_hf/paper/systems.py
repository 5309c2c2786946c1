"""The systems of Table 1: each loaded from its checkpoint, or trained on the benchmark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gemkr_hf.baselines import BM25Retriever, Retriever
from gemkr_hf.paper.encoder_baselines import clip, clip_fusion, dpr, reviz, reviz_ict, vrr
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.gemkr_rows import gemkr_system, trained_gemkr
from gemkr_hf.paper.language_model_baselines import corpusbrain, seal

Build = Callable[[Ground, int], Retriever]


@dataclass(frozen=True)
class System:
    """A row of a comparison.

    Attributes:
        name: on the command line.
        label: in tables.
        paper: the paper's row that it stands beside.
        build: makes the retriever, for a seed; documents are not indexed yet.
        parts: what is loaded from a checkpoint or trained; one row for each seed where any of them
            is trained.
        reads_captions: needs the images in words.
        looks: its training needs the training images.
        detects: it looks at detected objects, found by the evaluation's processor.
        settings: names of the settings that its training follows from.
        after: names of systems that are a part of it, which are trained first.
    """

    name: str
    label: str
    paper: str
    build: Build
    parts: tuple[str, ...] = ()
    reads_captions: bool = False
    looks: bool = False
    detects: bool = False
    settings: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def _bm25(ground: Ground, seed: int) -> Retriever:
    return BM25Retriever()


def _bm25_caption(ground: Ground, seed: int) -> Retriever:
    return BM25Retriever(captions=True)


def _gemkr(ground: Ground, seed: int) -> Retriever:
    return gemkr_system(ground, trained_gemkr(ground, seed))


GEMKR = "gemkr"
_ENCODERS = ("encoders",)
_WRITERS = ("text_models", "sampling")
_PRETRAINED = ("encoders", "pretraining")
_TUNED = ("tuning", "sampling", "aggregate")

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System("bm25", "BM25, question", "BM25", _bm25),
        System(
            "bm25-caption",
            "BM25, question + caption",
            "BM25",
            _bm25_caption,
            reads_captions=True,
        ),
        System("dpr", "DPR", "DPR", dpr, ("dpr",), reads_captions=True, settings=_ENCODERS),
        System(
            "corpusbrain",
            "CorpusBrain",
            "CorpusBrain",
            corpusbrain,
            ("corpusbrain",),
            reads_captions=True,
            settings=_WRITERS,
        ),
        System("seal", "SEAL", "SEAL", seal, ("seal",), reads_captions=True, settings=_WRITERS),
        System(
            "clip",
            "CLIP, image to text",
            "CLIP",
            clip,
            ("clip",),
            looks=True,
            settings=_ENCODERS,
        ),
        System(
            "clip-fusion",
            "CLIP, image + question",
            "CLIP",
            clip_fusion,
            ("clip",),
            looks=True,
            settings=_ENCODERS,
        ),
        System(
            "vrr",
            "VRR",
            "VRR",
            vrr,
            ("dpr", "lxmert"),
            reads_captions=True,
            looks=True,
            detects=True,
            settings=_ENCODERS,
            after=("dpr",),
        ),
        System("reviz", "ReViz", "ReViz", reviz, ("reviz",), looks=True, settings=_ENCODERS),
        System(
            "reviz-ict",
            "ReViz-ICT",
            "ReViz-ICT",
            reviz_ict,
            ("reviz-ict",),
            looks=True,
            settings=_PRETRAINED,
        ),
        System(GEMKR, "GeMKR", "GeMKR", _gemkr, (GEMKR,), looks=True, settings=_TUNED),
    )
}
"""Table 1's rows in its order."""


def checkpoint_names() -> list[str]:
    """What a checkpoint may be named for."""
    parts = dict.fromkeys(part for system in SYSTEMS.values() for part in system.parts)
    return [*parts, "captions"]


def check_checkpoints(checkpoints: Mapping[str, str]) -> None:
    """Raise ValueError where a checkpoint is named for something that has none."""
    for name in checkpoints:
        if name not in checkpoint_names():
            raise ValueError(
                f"There is no checkpoint for '{name}': there are {', '.join(checkpoint_names())}"
            )


__all__ = ["GEMKR", "SYSTEMS", "System", "check_checkpoints", "checkpoint_names"]
