"""The stand-in for the detector: a small YOLO with the single class "object"."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from gemkr_hf.processing import import_ultralytics
from gemkr_hf.toy.stand_ins.training_loop import Log
from gemkr_hf.toy.symbols.symbol_documents import load_catalogue_symbols, load_known_symbols
from gemkr_hf.toy.symbols.symbol_scenes import PLACES, SCENE_SIZE, draw_scene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorTraining:
    """Size of the detector and its training.

    Attributes:
        width, depth: Multiples of YOLOv8's channels and layers; 0.25 and 0.33 are YOLOv8n's.
        scenes, held_out: Number of images for training and validation.
        epochs: Passes over the training images.
        batch: Images per step.
        seed: Seed of the weights and of all images.
    """

    width: float = 0.125
    depth: float = 0.33
    scenes: int = 1200
    held_out: int = 200
    epochs: int = 24
    batch: int = 32
    seed: int = 0


def write_scenes(folder: Path, split: str, number: int, seed: int) -> None:
    """Write images and YOLO's label files (class, centre and size relative to the image)."""
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    # Ordered by character, so that the images do not depend on which symbols have prose.
    symbols = sorted(
        (*load_known_symbols(), *load_catalogue_symbols()), key=lambda symbol: symbol.char
    )
    for row in range(number):
        rng = np.random.default_rng([seed, row])
        rows = rng.choice(len(symbols), size=int(rng.integers(1, len(PLACES) + 1)), replace=False)
        scene = draw_scene([symbols[chosen] for chosen in rows], rng)
        scene.image.save(images / f"{row:05d}.png")
        lines = []
        for item in scene.objects:
            left, top, right, bottom = (edge / SCENE_SIZE for edge in item.box)
            center = f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f}"
            lines.append(f"0 {center} {right - left:.6f} {bottom - top:.6f}")
        (labels / f"{row:05d}.txt").write_text("\n".join(lines) + "\n")


def _write_architecture(training: DetectorTraining, path: Path) -> Path:
    """Write YOLOv8's architecture with one class and the given size."""
    from ultralytics.utils import ROOT

    architecture = yaml.safe_load((ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text())
    architecture["nc"] = 1
    architecture["scales"] = {"n": [training.depth, training.width, 1024]}
    path.write_text(yaml.safe_dump(architecture, sort_keys=False))
    return path


def train_detector(
    training: DetectorTraining, folder: Path, log: Log = logger.info
) -> tuple[Any, dict[str, float]]:
    """Train a detector, or resume after the last finished epoch in a folder.

    Returns:
        The trained ``ultralytics.YOLO``, and its metrics on held-out images.
    """
    threads = torch.get_num_threads()
    try:
        return _train_detector(training, folder, log, threads)
    finally:
        # ultralytics changes the number of threads of the whole process.
        torch.set_num_threads(threads)


def _train_detector(
    training: DetectorTraining, folder: Path, log: Log, threads: int
) -> tuple[Any, dict[str, float]]:
    YOLO = import_ultralytics().YOLO

    def log_epoch(trainer: Any) -> None:
        precision = trainer.metrics.get("metrics/mAP50(B)", float("nan"))
        log(f"detector: epoch {trainer.epoch + 1}/{trainer.epochs}, mAP50 {precision:.3f}")

    def load(source: Path) -> Any:
        model = YOLO(source)
        model.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
        model.add_callback("on_fit_epoch_end", log_epoch)
        return model

    log(f"detector: drawing {training.scenes} scenes")
    images = folder / "yolo_data"
    data = images / "data.yaml"
    if not data.exists():
        write_scenes(images, "train", training.scenes, training.seed + 100)
        write_scenes(images, "val", training.held_out, training.seed + 200)
        content = {"path": str(images), "train": "images/train", "val": "images/val"}
        data.write_text(yaml.safe_dump({**content, "names": {0: "object"}}))
    options: dict[str, Any] = {
        "data": str(data),
        "imgsz": SCENE_SIZE,
        "device": "cpu",
        "workers": 0,
        "project": str(folder),
        "exist_ok": True,
        "plots": False,
        "verbose": False,
    }
    weights = folder / "yolo_run" / "weights"
    finished = weights / "finished"
    if not finished.exists() and (weights / "last.pt").exists():
        log("detector: resuming after the last finished epoch")
        load(weights / "last.pt").train(resume=True)
    elif not finished.exists():
        load(_write_architecture(training, folder / "yolov8n.yaml")).train(
            **options,
            name="yolo_run",
            epochs=training.epochs,
            batch=training.batch,
            seed=training.seed,
            pretrained=False,
            optimizer="AdamW",
            lr0=0.003,
            warmup_epochs=1,
            close_mosaic=8,
            mosaic=0.5,
            scale=0.3,
            amp=False,
        )
    finished.touch()
    best = YOLO(weights / "best.pt")
    box = best.val(**options, name="yolo_val").box
    figures = {"mAP50": box.map50, "mAP50-95": box.map, "precision": box.mp, "recall": box.mr}
    return best, {name: float(value) for name, value in figures.items()}
