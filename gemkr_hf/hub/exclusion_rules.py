"""What is never uploaded: secrets, paths of a machine, states of a training, pickles."""

import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from gemkr_hf.hub.upload_plan import PlannedFile

TEXT = {".cfg", ".ini", ".jinja", ".json", ".jsonl", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
PICKLES = {".bin", ".ckpt", ".joblib", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
STATES = re.compile(
    r"(^|/)(optimizer|scheduler|scaler|rng_state|training_args|trainer_state|sharded_state"
    r"|global_step\d*|checkpoint-\d+)[^/]*(/|$)"
)
VOCABULARIES = {"merges.txt", "tokenizer.json", "vocab.json", "vocab.txt"}
"""Their entries are words of any text, paths among them."""

_SECRETS = {
    "a token of the Hub": re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    "a token of GitHub": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    "a key of OpenAI": re.compile(r"\bsk-[A-Za-z0-9_-]{32,}"),
    "a key of AWS": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
_ROOTS = (
    "Users|Volumes|content|data|dbfs|gpfs|home|kaggle|lustre|media|mnt|nfs|opt|private|root|"
    "scratch|srv|tmp|usr|var|work|workspace|workspaces"
)
_IN_TEXT = re.compile(
    rf"(?<![\w/.:~}}>*-])(?:/(?:{_ROOTS})/[\w.@+-]+(?:/[\w.@+-]+)*|[A-Za-z]:\\[\w.\\ -]+)"
)
_WHOLE = re.compile(r"(?:file://)?(?:/[\w.@+ -]+){2,}/?|~/\S+|[A-Za-z]:[\\/].+")
_READ = 8 * 2**20
"""Texts are read so far (bytes)."""


class Refused(ValueError):
    """An upload holds something that nobody should see, or run."""


def check(files: Iterable[PlannedFile]) -> None:
    """Look through an upload.

    Tables (Parquet) are not looked into: documents are the user's own words.

    Raises:
        Refused: with every file that must not go, and why.
    """
    found = [f"{file.path} ({why})" for file in files for why in reasons(file)]
    if found:
        raise Refused("Nothing was uploaded, since this must not be: " + "; ".join(found))


def is_forbidden(name: str) -> bool:
    """Whether a file's name alone says that it must not be uploaded."""
    return bool(STATES.search(name)) or PurePosixPath(name).suffix in PICKLES


def reasons(file: PlannedFile) -> Iterator[str]:
    """Why a file must not be uploaded; nothing of one that may."""
    path = PurePosixPath(file.path)
    if STATES.search(file.path):
        yield "the state of a training, which nobody loads a model from"
    elif path.suffix in PICKLES or _is_pickle(file):
        yield "a pickle, which runs code when it is loaded: save safetensors"
    if path.suffix in TEXT or path.suffix == "":
        text = file.read(_READ).decode("utf-8", errors="replace")
        for what, pattern in _SECRETS.items():
            if pattern.search(text):
                yield f"{what} in it: take it out, and have the owner withdraw it"
        if path.name not in VOCABULARIES and (known := _machine_path(path, text)):
            yield f"a path of this machine in it, '{known}': take it out"


def _is_pickle(file: PlannedFile) -> bool:
    head = file.read(4)
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    if head != b"PK\x03\x04":
        return False
    try:
        source = BytesIO(file.source) if isinstance(file.source, bytes) else file.source
        with zipfile.ZipFile(source) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _machine_path(path: PurePosixPath, text: str) -> str | None:
    """The first path of a machine in a text."""
    if path.suffix == ".json":
        try:
            return next(filter(_is_path, _strings(json.loads(text))), None)
        except ValueError:
            pass  # cut, or none: it is read as any other text
    own = [str(Path.home()), str(Path.cwd()), tempfile.gettempdir()]
    for prefix in own:
        if len(prefix) > 1 and f"{prefix}/" in text:
            return prefix
    found = _IN_TEXT.search(text)
    return found[0] if found else None


def _is_path(value: str) -> bool:
    return bool(_WHOLE.fullmatch(value)) or any(
        len(prefix) > 1 and f"{prefix}/" in value for prefix in (str(Path.home()), str(Path.cwd()))
    )


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield name
            yield from _strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value)


__all__ = ["Refused", "check", "is_forbidden", "reasons"]
