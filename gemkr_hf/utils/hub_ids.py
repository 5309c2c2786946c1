"""Decide whether a name is a local path or a Hub id, and separate options of Hub downloads.

A name is local if a file or folder of this name exists, or if it cannot be a Hub id: an absolute
path, a path that begins with ``.`` or ``~``, one with more than one slash. Any other
``"owner/name"`` is a Hub id; ``"name"`` is one only where base models are named (``"gpt2"``).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Keyword arguments that ``huggingface_hub`` and ``from_pretrained`` have in common."""

# The rules of huggingface_hub.utils.validate_repo_id.
_REPO_ID = re.compile(r"(?:\b[\w.-]{1,96}\b/)?\b[\w.-]{1,96}\b", re.ASCII)


def split_hub_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate the options of a download from all others; options that are None are dropped.

    Returns:
        The options in `HUB_OPTIONS`, and the others.

    >>> split_hub_options({"revision": "v1", "token": None, "dtype": "float32"})
    ({'revision': 'v1'}, {'dtype': 'float32'})
    """
    given = {name: value for name, value in options.items() if value is not None}
    hub = {name: given.pop(name) for name in HUB_OPTIONS if name in given}
    return hub, given


def is_repo_id(name: str, bare_ids: bool = False) -> bool:
    """Whether a name has the form of a Hub id. The Hub is not asked.

    Args:
        name: to check.
        bare_ids: accept ``"name"`` beside ``"owner/name"``.

    >>> [is_repo_id(name) for name in ("org/model", "gpt2", "./model", "a/b/c", "/model")]
    [True, False, False, False, False]
    """
    valid = _REPO_ID.fullmatch(name) is not None and not name.endswith(".git")
    return valid and "--" not in name and ".." not in name and (bare_ids or "/" in name)


def check_repo_id(name: str, local: bool = True) -> None:
    """Check that a name is a Hub id with an owner.

    Args:
        name: to check.
        local: accept the id if a local file or folder has this name as well.

    Raises:
        ValueError: it is not of the form ``"owner/name"``, or is a local path.
    """
    if not is_repo_id(name):
        raise ValueError(f"'{name}' is not a valid Hub id: write 'owner/name'")
    if not local and Path(name).exists():
        raise ValueError(f"'{name}' is a local folder: a Hub id is needed here")


def is_local(
    name: str | PathLike[str],
    base: str | PathLike[str] = ".",
    bare_ids: bool = False,
    file_suffixes: Collection[str] = (),
) -> bool:
    """Whether a name is a local path and not a Hub id; see the module's docstring.

    Args:
        name: path or Hub id.
        base: folder that relative paths start from.
        bare_ids: accept ``"name"`` as a Hub id, for base models and datasets.
        file_suffixes: a name that ends in one of them (``".csv"``) is local.
    """
    return (
        not isinstance(name, str)
        or Path(base, name).exists()
        or not is_repo_id(name, bare_ids)
        or Path(name).suffix.lower() in file_suffixes
    )


def portable_name(name: str | PathLike[str]) -> str:
    """A name to publish: a Hub id unchanged, a local path's last part.

    >>> portable_name("org/model"), portable_name("/home/me/model")
    ('org/model', 'model')
    """
    return Path(name).name if is_local(name, bare_ids=True) else str(name)


def resolve_source(
    name: str | PathLike[str],
    what: str,
    contains: Sequence[str] = (),
    *,
    base: str | PathLike[str] = ".",
    bare_ids: bool = False,
    file_suffixes: Collection[str] = (),
    early: bool = False,
) -> Path | str:
    """Find what a name stands for. The Hub is not asked.

    Args:
        name: path or Hub id.
        what: what is looked for, for messages: ``"Knowledge base"``.
        contains: files of which a local folder must contain at least one.
        base: see `is_local`.
        bare_ids: see `is_local`.
        file_suffixes: see `is_local`.
        early: for a check long before the name is used: ``"runs/model"`` is local if there is a
            folder ``runs``, so that a misspelt path is reported at once.

    Returns:
        A ``Path``, from ``base``, if it is local, a ``str`` if it is a Hub id.

    Raises:
        FileNotFoundError: it is local and does not exist, or contains none of the files.
    """
    path = Path(base, name)
    shown = name if Path(base) == Path() else path
    reason = ""
    if not is_local(name, base, bare_ids, file_suffixes):
        owner = path.parent
        if not (early and owner != Path(base) and owner.is_dir()):
            return str(name)
        reason = f" (not looked up on the Hub, because there is a local folder '{owner}')"
    if not path.exists():
        raise FileNotFoundError(f"{what} not found: no local file or folder '{shown}'{reason}")
    if contains and not any((path / file).is_file() for file in contains):
        raise FileNotFoundError(f"{what} not found in '{shown}': {contains[0]} is missing")
    return path


__all__ = [
    "HUB_OPTIONS",
    "check_repo_id",
    "is_local",
    "is_repo_id",
    "portable_name",
    "resolve_source",
    "split_hub_options",
]
