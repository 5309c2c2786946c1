"""``make small-world``: train the stand-in checkpoints, one stage after the other, resumable."""

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers import PreTrainedModel

from gemkr_hf.toy.stand_ins.clip_stand_in import ClipTraining, image_processor, train_clip
from gemkr_hf.toy.stand_ins.detector_stand_in import DetectorTraining, train_detector
from gemkr_hf.toy.stand_ins.language_model_stand_in import (
    LanguageModelTraining,
    train_language_model,
)
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer, train_tokenizer
from gemkr_hf.toy.stand_ins.words_accuracy import words_accuracy
from gemkr_hf.utils.io import atomic_folder, write_json

logger = logging.getLogger(__name__)

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""Where the library keeps the stand-ins it ships."""

STAGES = ("tokenizer", "detector", "clip", "language_model")


@dataclass(frozen=True)
class SmallWorldTraining:
    """All settings of the stand-ins; the defaults made the ones that are shipped."""

    detector: DetectorTraining = field(default_factory=DetectorTraining)
    clip: ClipTraining = field(default_factory=ClipTraining)
    language_model: LanguageModelTraining = field(default_factory=LanguageModelTraining)


class _Log:
    """Writes each line to the log file and to the library's logger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, line: str) -> None:
        logger.info(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")


def _save_half(model: PreTrainedModel, target: Path) -> None:
    with atomic_folder(target) as folder:
        model.half().save_pretrained(folder)
        # Of the generation settings only the special tokens matter, and config.json has them.
        (folder / "generation_config.json").unlink(missing_ok=True)


def _keep_figures(target: Path, stage: str, figures: dict[str, object]) -> None:
    path = target / "figures.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[stage] = figures
    ordered = {name: known[name] for name in STAGES if name in known}
    write_json(path, ordered, ensure_ascii=True)


def build_small_world(
    work: str | Path,
    target: str | Path = CHECKPOINTS,
    training: SmallWorldTraining | None = None,
    stages: tuple[str, ...] = STAGES,
) -> Path:
    """Train what is not finished in ``work`` and put it into ``target``.

    Args:
        work: folder for training states, so that a stopped run goes on; and marks of what is done.
        target: folder of the finished checkpoints, in half precision, with ``figures.json``
            (held-out figures) and ``build.log``.
        training: sizes, steps and seeds.
        stages: which of ``STAGES``; the later ones need the tokenizer.

    Raises:
        ValueError: an unknown stage.
    """
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise ValueError(f"There is no stage '{unknown[0]}'; the stages are {', '.join(STAGES)}")
    work, target = Path(work).resolve(), Path(target).resolve()
    training = training or SmallWorldTraining()
    work.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    settings = asdict(training)
    for stage in (stage for stage in STAGES if stage in stages):
        mark = work / f"{stage}.done"
        if mark.exists():
            logger.info(f"{stage}: done before")
            continue
        log = _Log(work / f"{stage}.log")
        log(f"{stage}: begins, {settings.get(stage, {})}")
        started = time.time()
        figures = _run_stage(stage, work, target, training, log)
        figures["minutes since the last start"] = round((time.time() - started) / 60, 1)
        log(f"{stage}: {figures}")
        _keep_figures(target, stage, figures)
        (target / "logs").mkdir(exist_ok=True)
        shutil.copy(work / f"{stage}.log", target / "logs" / f"{stage}.log")
        mark.touch()
    return target


def _run_stage(
    stage: str, work: Path, target: Path, training: SmallWorldTraining, log: _Log
) -> dict[str, object]:
    if stage == "tokenizer":
        trained = train_tokenizer()
        with atomic_folder(target / "tokenizer") as folder:
            trained.save_pretrained(folder)
        return {"tokens": len(trained)}
    if stage == "detector":
        from gemkr_hf.processing import YoloDetector

        yolo, figures = train_detector(training.detector, work, log)
        detector = YoloDetector.from_ultralytics(yolo, half=True, confidence=0.25)
        with atomic_folder(target / "detector") as folder:
            detector.save_pretrained(folder)
        return dict(figures)
    tokenizer = load_tokenizer(target / "tokenizer")
    if stage == "clip":
        clip, figures = train_clip(tokenizer, training.clip, work, log)
        _save_half(clip, target / "clip")
        image_processor().save_pretrained(target / "clip")
        return dict(figures)
    language_model, figures = train_language_model(tokenizer, training.language_model, work, log)
    figures |= words_accuracy(language_model, tokenizer)
    _save_half(language_model, target / "language_model")
    return dict(figures)
