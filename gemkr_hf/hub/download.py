"""Download of repositories into the cache of huggingface_hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from gemkr_hf.hub.upload_plan import RepoType
from gemkr_hf.utils.io import sha256

_SHA256_LENGTH = 64  # hexadecimal digits


class HubError(FileNotFoundError):
    """A repository, revision or file that cannot be downloaded."""


def download_folder(
    repo_id: str, repo_type: RepoType, patterns: Sequence[str] | None = None, **options: Any
) -> Path:
    """Download a repository, or the files that match patterns.

    Args:
        repo_id: ``"owner/name"``.
        repo_type: "model", "dataset" or "space".
        patterns: patterns of the files wanted; all files if None.
        **options: for ``huggingface_hub.snapshot_download``: ``revision``, ``token``,
            ``cache_dir``, ``local_files_only``, ``force_download``... None is the default.

    Returns:
        The snapshot's folder in the cache, named by its commit.

    Raises:
        HubError: the repository or the revision cannot be downloaded.
    """
    options = {name: value for name, value in options.items() if value is not None}
    wanted = None if patterns is None else list(patterns)
    try:
        folder = snapshot_download(repo_id, repo_type=repo_type, allow_patterns=wanted, **options)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise HubError(_message(error, repo_id, repo_type, options.get("revision"))) from error
    return Path(folder)


def download_files(repo_id: str, repo_type: RepoType, names: Sequence[str], **options: Any) -> Path:
    """Download files of a repository; see `download_folder`.

    Raises:
        HubError: the repository cannot be downloaded, or lacks one of the files.
    """
    patterns = [name.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]") for name in names]
    folder = download_folder(repo_id, repo_type, patterns, **options)
    for name in names:
        if not (folder / name).is_file():
            raise HubError(f"The {repo_type} repository '{repo_id}' has no file {name}")
    return folder


def check_cached(folder: Path, up_to: int | None) -> None:
    """Compare the files of a cached snapshot with the Hub's checksums, which are their names.

    Args:
        folder: a snapshot; files of other folders are not checked.
        up_to: largest size that is checked, in bytes; all files if None.

    Raises:
        ValueError: a file differs from the Hub's.
    """
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        if blob.parent.name != "blobs" or len(blob.name) != _SHA256_LENGTH:
            continue
        if (up_to is None or blob.stat().st_size <= up_to) and sha256(blob) != blob.name:
            raise ValueError(
                f"The cached {path.name} differs from the Hub's: delete '{blob}', or load with "
                "force_download=True"
            )


def _message(error: Exception, repo_id: str, repo_type: str, revision: str | None) -> str:
    repository = f"The {repo_type} repository '{repo_id}'"
    if isinstance(error, RevisionNotFoundError):
        return f"{repository} has no revision '{revision}'"
    if isinstance(error, GatedRepoError):
        return f"{repository} is gated: accept its terms on its page, and run 'hf auth login'"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"No local folder '{repo_id}' found, and the {repo_type} repository on the Hub does "
            "not exist or is private: run 'hf auth login', or pass token="
        )
    if isinstance(error, EntryNotFoundError) and isinstance(error, HfHubHTTPError):
        return f"{repository} lists a file that is missing: {error.response.url}"
    if isinstance(error, HfHubHTTPError):
        return f"{repository} cannot be read: the Hub answered HTTP {error.response.status_code}"
    return (
        f"No local folder '{repo_id}' found, the {repo_type} repository is not, or not completely, "
        f"cached, and the Hub cannot be reached ({type(error.__cause__ or error).__name__})"
    )


__all__ = ["HubError", "check_cached", "download_files", "download_folder"]
