"""Having a repository's files, or some of them, in the cache."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from gemkr_hf.hub.upload_plan import RepoType
from gemkr_hf.utils.io import sha256

_SHA256 = 64


class HubError(FileNotFoundError):
    """A repository, a revision or a file that cannot be had."""


def is_repo_id(name: str | PathLike[str]) -> bool:
    """Whether a name may be a repository's, and is no folder's."""
    if not isinstance(name, str) or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not name.startswith(".")


def download_folder(
    repo_id: str, repo_type: RepoType, patterns: Sequence[str] | None = None, **where: Any
) -> Path:
    """A snapshot of a repository, or of the files that match patterns.

    Args:
        repo_id: "owner/name".
        repo_type: of the repository.
        patterns: of the files wanted; all where None.
        **where: for ``huggingface_hub.snapshot_download``: ``revision``, ``token``, ``cache_dir``,
            ``local_files_only``, ``force_download``...

    Raises:
        HubError: it cannot be had.
    """
    where = {name: value for name, value in where.items() if value is not None}
    try:
        return Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                allow_patterns=None if patterns is None else list(patterns),
                **where,
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise HubError(_in_one_sentence(error, repo_id, repo_type, where)) from error


def download_files(repo_id: str, repo_type: RepoType, names: Sequence[str], **where: Any) -> Path:
    """The folder of a snapshot that holds these files.

    Raises:
        HubError: the repository cannot be had, or has no such file.
    """
    folder = download_folder(repo_id, repo_type, [_escaped(name) for name in names], **where)
    for name in names:
        if not (folder / name).is_file():
            raise HubError(f"The {repo_type} repository '{repo_id}' has no {name}")
    return folder


def check_cached(folder: Path, up_to: int | None) -> None:
    """Compare files of a cached snapshot with the checksums under which the Hub keeps them.

    Args:
        folder: a snapshot; a folder of another kind has nothing to compare with.
        up_to: bytes of the largest file that is looked at; all where None.

    Raises:
        ValueError: a file is not what the Hub has.
    """
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        if blob.parent.name != "blobs" or len(blob.name) != _SHA256:
            continue
        if up_to is not None and blob.stat().st_size > up_to:
            continue
        if sha256(blob) != blob.name:
            raise ValueError(
                f"{path.name} in the cache is not what the Hub has: delete '{blob}', or load with "
                "force_download=True"
            )


def _escaped(name: str) -> str:
    """A pattern that matches this name alone."""
    return name.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def _in_one_sentence(error: Exception, repo_id: str, repo_type: str, where: dict[str, Any]) -> str:
    what = f"The {repo_type} repository '{repo_id}'"
    if isinstance(error, RevisionNotFoundError):
        return f"{what} has no revision '{where.get('revision')}'"
    if isinstance(error, GatedRepoError):
        return f"{what} is gated: accept its terms on its page, and run 'hf auth login'"
    if isinstance(error, RepositoryNotFoundError):
        return f"{what} is not there, or is private: run 'hf auth login', or pass token="
    if isinstance(error, EntryNotFoundError) and isinstance(error, HfHubHTTPError):
        return f"{what} lacks a file that it lists: {error.response.url}"
    if isinstance(error, HfHubHTTPError):
        return f"{what} could not be read: the Hub answered HTTP {error.response.status_code}"
    return (
        f"{what} is not in the cache, or not all of it, and the Hub cannot be reached "
        f"({type(error.__cause__ or error).__name__})"
    )


__all__ = ["HubError", "check_cached", "download_files", "download_folder", "is_repo_id"]
