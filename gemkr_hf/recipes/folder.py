"""The folder of a training: whose it is, and how something is written there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import yaml

from gemkr_hf.index.files import write_renamed
from gemkr_hf.settings import as_plain
from gemkr_hf.training.config import TrainConfig

CONFIG_FILE = "train.yaml"
MADE = (
    "instructions",
    "checkpoints",
    "preferences",
    "model",
    "adapter",
    "base",
    "metrics.json",
)
"""What belongs to the settings and is made anew with others."""


def claim(folder: Path, config: TrainConfig, overwrite: bool) -> None:
    """Make the folder this run's own, or find that it is.

    Raises:
        ValueError: it holds a run with other settings, or something that no run made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG_FILE
    if not path.exists():
        foreign = [name for name in MADE if (folder / name).exists()]
        if foreign:
            raise ValueError(
                f"'{folder}' holds '{foreign[0]}', which no training has made: name another output"
            )
    settings = json.loads(json.dumps(as_plain(config)))
    del settings["output"]  # a folder may be moved
    stated = yaml.safe_dump(settings, sort_keys=False)
    if path.exists() and path.read_text(encoding="utf-8") != stated:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        changed = _first_difference(before, yaml.safe_load(stated))
        if not overwrite:
            raise ValueError(
                f"'{folder}' holds a run with other settings ({changed}): name another output, or "
                "replace it with --overwrite"
            )
        for name in MADE:
            remove(folder / name)
    write_renamed(path, lambda unfinished: unfinished.write_text(stated, encoding="utf-8"))


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _first_difference(before: Any, after: Any, name: str = "") -> str:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                where = f"{name}.{key}" if name else str(key)
                return _first_difference(before.get(key), after.get(key), where)
    return f"{name} was {before!r} and is {after!r}"


def save_dataset(made: datasets.Dataset, target: Path) -> None:
    """A data set in a folder that is there whole or not at all."""
    unfinished = target.with_name(f".{target.name}.new")
    remove(unfinished)
    made.save_to_disk(unfinished)
    unfinished.rename(target)


__all__ = ["claim", "save_dataset"]
