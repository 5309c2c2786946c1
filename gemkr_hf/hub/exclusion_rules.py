"""Exclusion rules of uploads: secrets, local paths, training states and pickles."""

import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from gemkr_hf.hub.upload_plan import PlannedFile

_TEXT_SUFFIXES = {
    "", ".cfg", ".ini", ".jinja", ".json", ".jsonl", ".md", ".py", ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
_TRAINING_STATES = re.compile(
    r"(^|/)(optimizer|scheduler|scaler|rng_state|training_args|trainer_state|sharded_state"
    r"|global_step\d*|checkpoint-\d+)[^/]*(/|$)"
)
# Entries of a vocabulary are pieces of any text, and may look like paths.
_VOCABULARIES = {"merges.txt", "tokenizer.json", "vocab.json", "vocab.txt"}
_SECRETS = {
    "a Hugging Face token": re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    "an OpenAI key": re.compile(r"\bsk-[A-Za-z0-9_-]{32,}"),
    "an AWS key": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
_ROOT_FOLDERS = (
    "Users|Volumes|content|data|dbfs|gpfs|home|kaggle|lustre|media|mnt|nfs|opt|private|root|"
    "scratch|srv|tmp|usr|var|work|workspace|workspaces"
)
_PATH_IN_TEXT = re.compile(
    rf"(?<![\w/.:~}}>*-])(?:/(?:{_ROOT_FOLDERS})/[\w.@+-]+(?:/[\w.@+-]+)*|[A-Za-z]:\\[\w.\\ -]+)"
)
_PATH = re.compile(r"(?:file://)?(?:/[\w.@+ -]+){2,}/?|~/\S+|[A-Za-z]:[\\/].+")
_MAX_TEXT_SIZE = 8 * 2**20  # bytes of a text file that are searched


class UploadRefused(ValueError):
    """An upload contains files that must not be published."""


def check_files(files: Iterable[PlannedFile]) -> None:
    """Check that an upload contains no secrets, local paths, training states or pickles.

    Tables (Parquet) are not searched: they contain the user's documents.

    Raises:
        UploadRefused: the message lists all forbidden files with the reasons.
    """
    forbidden = [f"{file.path} ({reason})" for file in files for reason in reasons(file)]
    if forbidden:
        raise UploadRefused("Nothing was uploaded. Not allowed: " + "; ".join(forbidden))


def is_forbidden(name: str) -> bool:
    """Whether a file must not be uploaded because of its name."""
    return bool(_TRAINING_STATES.search(name)) or PurePosixPath(name).suffix in _PICKLE_SUFFIXES


def reasons(file: PlannedFile) -> Iterator[str]:
    """Yield the reasons why a file must not be uploaded; none for an allowed file."""
    path = PurePosixPath(file.path)
    if _TRAINING_STATES.search(file.path):
        yield "a training state, not part of a model: remove it"
    elif path.suffix in _PICKLE_SUFFIXES or _is_pickle(file):
        yield "a pickle, which can run code when it is loaded: save it as safetensors"
    if path.suffix in _TEXT_SUFFIXES:
        text = file.read(_MAX_TEXT_SIZE).decode("utf-8", errors="replace")
        for secret, pattern in _SECRETS.items():
            if pattern.search(text):
                yield f"contains {secret}: remove and revoke it"
        if path.name not in _VOCABULARIES and (local := _find_local_path(path, text)):
            yield f"contains a local path, '{local}': remove it"


def _is_pickle(file: PlannedFile) -> bool:
    """Recognize a pickle, or an archive of pickles (``torch.save``), by its contents."""
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


def _find_local_path(path: PurePosixPath, text: str) -> str | None:
    """Return the first path of a local file system in a text."""
    folders = (str(Path.home()), str(Path.cwd()), tempfile.gettempdir())
    prefixes = [f"{folder}/" for folder in folders if len(folder) > 1]
    if path.suffix == ".json":
        with suppress(ValueError):  # truncated or invalid: searched like any other text
            for string in _strings(json.loads(text)):
                if _PATH.fullmatch(string) or any(prefix in string for prefix in prefixes):
                    return string
            return None
    match = _PATH_IN_TEXT.search(text)
    return next((prefix for prefix in prefixes if prefix in text), match[0] if match else None)


def _strings(content: Any) -> Iterator[str]:
    """Yield all strings of a JSON document, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (dict, list)):
        parts = chain.from_iterable(content.items()) if isinstance(content, dict) else content
        yield from chain.from_iterable(map(_strings, parts))


__all__ = ["UploadRefused", "check_files", "is_forbidden", "reasons"]
