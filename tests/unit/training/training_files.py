"""A custom training set on disk, small enough for tuning in seconds."""

import csv
import json
from pathlib import Path

import yaml

from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.toy.symbols.symbols_dataset import SymbolsConfig, load_symbols

SCENES = SymbolsConfig(
    train_scenes=8, validation_scenes=3, test_scenes=1, unseen_scenes=1, train_questions=2
)
SETTINGS = {
    "output": "runs/own",
    "data": {
        "format": "table",
        "train": "train.csv",
        "validation": "validation.csv",
        "documents": "documents.csv",
        "knowledge_base": "runs/knowledge_base",
        "images": "images",
    },
    "model": {"checkpoint": "small-world"},
    "tuning": {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "warmup_steps": 1,
        "lora_dropout": 0.0,
        "logging_steps": 1,
        "fit_objects": False,
    },
    "validation": {"eval_steps": 4, "num_beams": 4, "questions": 3},
}


def write_files(folder: Path) -> Path:
    """Spreadsheets, images, documents and `own.yaml`; 32 instructions about 8 images."""
    world = load_symbols(SCENES, cache_dir=folder / "cache")
    (folder / "images").mkdir()
    for split in ("train", "validation"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "image", "document", "answer"])
            for record in world[split]:
                name = f"{record['image_id']}.png"
                record["image"].save(folder / "images" / name)
                ids = ";".join(record["relevant_ids"])
                answers = ";".join(record["answers"])
                writer.writerow([record["question"], name, ids, answers])
    with (folder / "documents.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows((document["id"], document["text"]) for document in load_documents())
    return write_settings(folder)


def write_settings(folder: Path, name: str = "own.yaml", **sections) -> Path:
    """`SETTINGS` with some sections' settings replaced."""
    settings = json.loads(json.dumps(SETTINGS))
    for section, values in sections.items():
        if isinstance(values, dict):
            settings.setdefault(section, {}).update(values)
        else:
            settings[section] = values
    path = folder / name
    path.write_text(yaml.safe_dump(settings))
    return path


def losses(output: Path) -> list[float]:
    history = json.loads((output / "metrics.json").read_text())["history"]
    return [entry["loss"] for entry in history if "loss" in entry]
