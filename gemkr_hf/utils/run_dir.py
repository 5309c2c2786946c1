"""The folder of a training: whose it is, and how something is written there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import yaml

from gemkr_hf.training.arguments import TrainConfig
from gemkr_hf.utils.config import as_plain
from gemkr_hf.utils.io import atomic_folder, atomic_write_text, remove

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
    settings = as_plain(config)
    del settings["output"]  # a folder may be moved
    claim_for(folder, settings, overwrite, MADE, CONFIG_FILE)


def claim_for(
    folder: Path, settings: Mapping[str, Any], overwrite: bool, made: Sequence[str], file: str
) -> None:
    """Make a folder belong to some settings, or find that it does.

    Args:
        folder: made where it is not there.
        settings: what is made follows from them.
        overwrite: remove what was made with others.
        made: names of files and folders that follow from the settings.
        file: where the folder keeps them.

    Raises:
        ValueError: it holds what was made with other settings, or what these did not make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    if not path.exists():
        foreign = [name for name in made if (folder / name).exists()]
        if foreign:
            raise ValueError(
                f"'{folder}' holds '{foreign[0]}', which no run has made: name another output"
            )
    stated = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False)
    if path.exists() and path.read_text(encoding="utf-8") == stated:
        return
    if path.exists():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        changed = first_difference(before, yaml.safe_load(stated))
        if not overwrite:
            raise ValueError(
                f"'{folder}' holds a run with other settings ({changed}): name another output, or "
                "replace it with --overwrite"
            )
        for name in made:
            remove(folder / name)
    atomic_write_text(path, stated)


def first_difference(before: Any, after: Any, name: str = "") -> str:
    """The first setting of two nested mappings that is not the same, in words."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                where = f"{name}.{key}" if name else str(key)
                return first_difference(before.get(key), after.get(key), where)
    return f"{name} was {before!r} and is {after!r}"


def save_dataset(made: datasets.Dataset, target: Path) -> None:
    """A data set in a folder that is there whole or not at all."""
    with atomic_folder(target) as folder:
        made.save_to_disk(folder)


__all__ = ["claim", "claim_for", "first_difference", "remove", "save_dataset"]
