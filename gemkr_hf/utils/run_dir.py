"""Run directories: recorded settings, the check that they match, removal with ``--overwrite``."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import yaml

from gemkr_hf.utils.io import atomic_folder, atomic_write_text, remove


@dataclass(frozen=True)
class RunDirectory:
    """A directory whose content follows from settings that are recorded in it.

    Work in a directory with the same settings resumes. A directory with other settings raises an
    error, or is emptied where the caller overwrites.

    Attributes:
        path: The directory.
        settings: Plain values (dicts, lists, strings, numbers, booleans, None).
        settings_file: Name of the file that records them. Its suffix gives the format: ``.yaml``,
            ``.json``, or ``.txt`` for a single string such as a fingerprint.
        contents: Names or glob patterns of what follows from the settings.
        upgrade: Converts settings that an earlier version recorded, such as renamed keys.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> RunDirectory(folder, {"seed": 0}, contents=("model",)).prepare()
        >>> RunDirectory(folder, {"seed": 0}).is_current()
        True
        >>> RunDirectory(folder, {"seed": 1}).difference()
        'seed was 0 and is 1'
    """

    path: Path
    settings: Any
    settings_file: str = "settings.json"
    contents: tuple[str, ...] = ()
    upgrade: Callable[[Any], Any] = lambda settings: settings

    def saved_settings(self) -> Any:
        """Return the recorded settings; None where none are recorded or the file is damaged."""
        file = self.path / self.settings_file
        if not file.exists():
            return None
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".txt":
            return text
        try:
            saved = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError):
            return None
        return self.upgrade(saved)

    def difference(self) -> str | None:
        """Return the first setting that differs from the recorded ones, None if all are equal."""
        return first_difference(self.saved_settings(), _plain(self.settings))

    def is_current(self, overwrite: bool = False) -> bool:
        """Return whether the directory was written with these settings; see `settings_match`."""
        if not (self.path / self.settings_file).exists():
            return False
        return settings_match(self.path, self.saved_settings(), self.settings, overwrite)

    def prepare(self, overwrite: bool = False) -> str | None:
        """Create the directory and record the settings, or check that they are the recorded ones.

        Args:
            overwrite: Remove the contents of other settings instead of raising an error.

        Returns:
            The first setting that differs, if contents of other settings were removed.

        Raises:
            ValueError: The directory was written with other settings, or holds files of these
                names that no run has written.
        """
        if self.is_current(overwrite):
            return None
        recorded = (self.path / self.settings_file).exists()
        existing = [path for pattern in self.contents for path in self.path.glob(pattern)]
        if existing and not recorded:
            raise ValueError(
                f"'{self.path}' contains '{existing[0].name}', which no run has written: choose "
                "another output"
            )
        changed = self.difference() if recorded else None
        for path in existing:
            remove(path)
        self.record()
        return changed

    def record(self) -> None:
        """Write the settings; `prepare` does so first, and a completion mark is written last."""
        file = self.path / self.settings_file
        plain = _plain(self.settings)
        if file.suffix == ".txt":
            text = plain
        elif file.suffix == ".json":
            text = json.dumps(plain, indent=2) + "\n"
        else:
            text = yaml.safe_dump(plain, sort_keys=False)
        self.path.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, text)


def settings_match(path: Path, saved: Any, settings: Any, overwrite: bool = False) -> bool:
    """Return whether recorded settings equal the wanted ones.

    Args:
        path: The directory or file, for the message.
        saved: Settings that are recorded there; None if they are unreadable.
        settings: The wanted settings.
        overwrite: Return False for other settings instead of raising an error.

    Raises:
        ValueError: The settings differ.
    """
    changed = "unreadable" if saved is None else first_difference(saved, _plain(settings))
    if changed is not None and not overwrite:
        raise ValueError(
            f"'{path}' was written with other settings ({changed}): choose another output, or "
            "replace it with --overwrite"
        )
    return changed is None


def first_difference(before: Any, after: Any, name: str = "") -> str | None:
    """Return the first difference between nested settings as text, None if they are equal."""
    if before == after:
        return None
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            where = f"{name}.{key}" if name else str(key)
            if changed := first_difference(before.get(key), after.get(key), where):
                return changed
    return f"{name or 'the record'} was {before!r} and is {after!r}"


def save_dataset(dataset: datasets.Dataset, target: Path) -> None:
    """Save a dataset atomically: the folder is complete or absent."""
    with atomic_folder(target) as folder:
        dataset.save_to_disk(folder)


def _plain(settings: Any) -> Any:
    """Settings as JSON holds them: lists for tuples, strings for keys."""
    return json.loads(json.dumps(settings))


__all__ = ["RunDirectory", "first_difference", "save_dataset", "settings_match"]
