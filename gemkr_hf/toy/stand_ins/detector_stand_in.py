"""A YOLO of one class, "object", trained from ultralytics' YAML on drawn scenes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from gemkr_hf.processing import import_ultralytics
from gemkr_hf.toy.symbols.scenes import PLACES, SCENE_SIZE, draw_scene
from gemkr_hf.toy.symbols.symbol_documents import Symbol, load_catalogue_symbols, load_known_symbols

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorTraining:
    """Size of the detector and its training; ``width`` 0.25 is YOLOv8n's."""

    width: float = 0.125
    depth: float = 0.33
    scenes: int = 1200
    held_out: int = 200
    epochs: int = 24
    batch: int = 32
    seed: int = 0


def _all_symbols() -> list[Symbol]:
    """In the order of their characters: the images do not depend on who has prose."""
    return sorted((*load_known_symbols(), *load_catalogue_symbols()), key=lambda item: item.char)


def write_scenes(folder: Path, split: str, number: int, seed: int) -> None:
    """Images and YOLO's label files (class, centre, size, relative to the image)."""
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    symbols = _all_symbols()
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


def _model_yaml(training: DetectorTraining) -> dict[str, Any]:
    """YOLOv8's architecture with one class and a scale of our own."""
    from ultralytics.utils import ROOT

    architecture = yaml.safe_load((ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text())
    architecture["nc"] = 1
    architecture["scales"] = {"n": [training.depth, training.width, 1024]}
    return architecture


def train_detector(
    training: DetectorTraining, folder: Path, report: Callable[[str], None] = logger.info
) -> tuple[Any, dict[str, float]]:
    """Train, or go on from the last epoch in ``folder``.

    Returns:
        The trained ``ultralytics.YOLO`` and its held-out figures.
    """
    threads = torch.get_num_threads()
    try:
        return _train_detector(training, folder, report, threads)
    finally:
        # ultralytics sets its own number for all that runs in this process afterwards.
        torch.set_num_threads(threads)


def _train_detector(
    training: DetectorTraining, folder: Path, report: Callable[[str], None], threads: int
) -> tuple[Any, dict[str, float]]:
    YOLO = import_ultralytics().YOLO

    def use_all_threads(_: Any) -> None:
        torch.set_num_threads(threads)

    def tell_epoch(trainer: Any) -> None:
        found = trainer.metrics.get("metrics/mAP50(B)", float("nan"))
        report(f"detector: epoch {trainer.epoch + 1}/{trainer.epochs}, mAP50 {found:.3f}")

    def follow(model: Any) -> Any:
        model.add_callback("on_train_start", use_all_threads)
        model.add_callback("on_fit_epoch_end", tell_epoch)
        return model

    data = folder / "yolo_data"
    run = folder / "yolo_run"
    last = run / "weights" / "last.pt"
    if not (data / "data.yaml").exists():
        report(f"detector: drawing {training.scenes} scenes")
        write_scenes(data, "train", training.scenes, training.seed + 100)
        write_scenes(data, "val", training.held_out, training.seed + 200)
        described = {"path": str(data), "train": "images/train", "val": "images/val"}
        (data / "data.yaml").write_text(yaml.safe_dump({**described, "names": {0: "object"}}))
    finished = run / "weights" / "finished"
    if last.exists() and not finished.exists():
        report("detector: going on from the last epoch")
        follow(YOLO(last)).train(resume=True)
    elif not finished.exists():
        model_yaml = folder / "yolov8n.yaml"
        model_yaml.write_text(yaml.safe_dump(_model_yaml(training), sort_keys=False))
        follow(YOLO(model_yaml)).train(
            data=str(data / "data.yaml"),
            epochs=training.epochs,
            batch=training.batch,
            imgsz=SCENE_SIZE,
            device="cpu",
            workers=0,
            seed=training.seed,
            project=str(folder),
            name="yolo_run",
            exist_ok=True,
            pretrained=False,
            optimizer="AdamW",
            lr0=0.003,
            warmup_epochs=1,
            close_mosaic=8,
            mosaic=0.5,
            scale=0.3,
            amp=False,
            plots=False,
            verbose=False,
        )
    finished.touch()
    best = YOLO(run / "weights" / "best.pt")
    measured = best.val(
        data=str(data / "data.yaml"),
        imgsz=SCENE_SIZE,
        device="cpu",
        workers=0,
        plots=False,
        verbose=False,
        project=str(folder),
        name="yolo_val",
        exist_ok=True,
    )
    return best, {
        "mAP50": float(measured.box.map50),
        "mAP50-95": float(measured.box.map),
        "precision": float(measured.box.mp),
        "recall": float(measured.box.mr),
    }
