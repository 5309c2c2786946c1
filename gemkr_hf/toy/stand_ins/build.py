"""Train the stand-in checkpoints (``gemkr small-world``), one stage after the other."""

import logging
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from gemkr_hf.processing import YoloDetector
from gemkr_hf.toy.stand_ins.clip_stand_in import ClipTraining, image_processor, train_clip
from gemkr_hf.toy.stand_ins.detector_stand_in import DetectorTraining, train_detector
from gemkr_hf.toy.stand_ins.language_model_stand_in import (
    LanguageModelTraining,
    text_accuracy,
    train_language_model,
)
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer, train_tokenizer
from gemkr_hf.toy.stand_ins.training_loop import Log
from gemkr_hf.utils.io import atomic_folder, read_json, write_json

logger = logging.getLogger(__name__)

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""Folder of the stand-ins that are part of the library."""

STAGES = ("tokenizer", "detector", "clip", "language_model")


@dataclass(frozen=True)
class SmallWorldTraining:
    """Settings of all stand-ins; those of the library were trained with the defaults."""

    detector: DetectorTraining = field(default_factory=DetectorTraining)
    clip: ClipTraining = field(default_factory=ClipTraining)
    language_model: LanguageModelTraining = field(default_factory=LanguageModelTraining)


def build_small_world(
    work: str | Path,
    target: str | Path = CHECKPOINTS,
    training: SmallWorldTraining | None = None,
    stages: tuple[str, ...] = STAGES,
) -> Path:
    """Train the stages that are not finished yet.

    Args:
        work: Folder of training states and of marks for finished stages; an interrupted training
            resumes from it.
        target: Folder of the finished checkpoints in half precision, with ``figures.json``
            (metrics on held-out data) and ``logs``.
        training: Sizes, steps and seeds.
        stages: Which of `STAGES` to train; all but the first two need the tokenizer.

    Returns:
        The absolute path of ``target``.

    Raises:
        ValueError: If a stage is unknown.
    """
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise ValueError(f"Unknown stage '{unknown[0]}': choose {', '.join(STAGES)}")
    work, target = Path(work).resolve(), Path(target).resolve()
    training = training or SmallWorldTraining()
    work.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    settings, figures_file = asdict(training), target / "figures.json"
    for stage in (stage for stage in STAGES if stage in stages):
        mark, log_file = work / f"{stage}.done", work / f"{stage}.log"
        if mark.exists():
            logger.info(f"{stage}: already finished")
            continue
        log = _log_to(log_file)
        log(f"{stage}: starting, {settings.get(stage, {})}")
        started = time.time()
        figures = _train_stage(stage, work, target, training, log)
        figures["minutes since the last start"] = round((time.time() - started) / 60, 1)
        log(f"{stage}: {figures}")
        known = read_json(figures_file) if figures_file.exists() else {}
        known[stage] = figures
        ordered = {name: known[name] for name in STAGES if name in known}
        write_json(figures_file, ordered, ensure_ascii=True)
        (target / "logs").mkdir(exist_ok=True)
        shutil.copy(log_file, target / "logs" / log_file.name)
        mark.touch()
    return target


def _log_to(path: Path) -> Log:
    """Return a function that writes lines to a file and to the library's log."""

    def log(line: str) -> None:
        logger.info(line)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    return log


def _train_stage(
    stage: str, work: Path, target: Path, training: SmallWorldTraining, log: Log
) -> dict[str, Any]:
    """Train and save one stand-in, and return its metrics."""
    if stage == "tokenizer":
        trained = train_tokenizer()
        with atomic_folder(target / "tokenizer") as folder:
            trained.save_pretrained(folder)
        return {"tokens": len(trained)}
    if stage == "detector":
        yolo, figures = train_detector(training.detector, work, log)
        detector = YoloDetector.from_ultralytics(yolo, half=True, confidence=0.25)
        with atomic_folder(target / "detector") as folder:
            detector.save_pretrained(folder)
        return figures
    tokenizer = load_tokenizer(target / "tokenizer")
    if stage == "clip":
        clip, figures = train_clip(tokenizer, training.clip, work, log)
        _save_half(clip, target / "clip")
        image_processor().save_pretrained(target / "clip")
        return figures
    language_model, figures = train_language_model(tokenizer, training.language_model, work, log)
    figures |= text_accuracy(language_model, tokenizer)
    _save_half(language_model, target / "language_model")
    return figures


def _save_half(model: PreTrainedModel, target: Path) -> None:
    with atomic_folder(target) as folder:
        model.half().save_pretrained(folder)
        # Only the special tokens matter for generation, and config.json has them.
        (folder / "generation_config.json").unlink(missing_ok=True)
