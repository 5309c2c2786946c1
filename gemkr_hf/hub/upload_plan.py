"""Plan of an upload: which files go to which repository."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

RepoType = Literal["model", "dataset", "space"]


@dataclass(frozen=True)
class PlannedFile:
    """One file of an upload.

    Attributes:
        path: in the repository, with slashes.
        source: local path, or the contents.
    """

    path: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self, limit: int | None = None) -> bytes:
        """Read the contents, or the first ``limit`` bytes."""
        if isinstance(self.source, bytes):
            return self.source[:limit]
        with self.source.open("rb") as file:
            return file.read(-1 if limit is None else limit)


@dataclass(frozen=True)
class UploadPlan:
    """Files that are uploaded to one repository in one commit.

    Attributes:
        repo_id: ``"owner/name"``.
        repo_type: "model", "dataset" or "space".
        files: what is uploaded.
        left_out: files of the local folder that are not uploaded.
        owned: patterns of files that this kind of upload writes. Files in the repository that match
            and are not among ``files`` are left from an older upload; the commit deletes them.
        message: commit message.
    """

    repo_id: str
    repo_type: RepoType
    files: tuple[PlannedFile, ...]
    left_out: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    message: str = "Upload with gemkr_hf"

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(file.size for file in self.files)

    def stale(self, present: Iterable[str]) -> list[str]:
        """Return those files of a repository that an older upload left there."""
        old = set(present) - {file.path for file in self.files}
        return sorted(path for path in old if any(fnmatch(path, owned) for owned in self.owned))

    def lines(self) -> list[str]:
        """Describe the plan: files with their sizes, largest first."""
        files = sorted(self.files, key=lambda file: (-file.size, file.path))
        width = max((len(file.path) for file in files), default=0)
        lines = [f"{file.path:<{width}}  {readable_size(file.size):>9}" for file in files]
        lines.append(
            f"{len(files)} files, {readable_size(self.size)}, for the {self.repo_type} repository "
            f"{self.repo_id}"
        )
        if self.left_out:
            lines.append("Not uploaded: " + ", ".join(self.left_out))
        return lines


def readable_size(size: int) -> str:
    """Format a number of bytes.

    >>> readable_size(999), readable_size(1_234_567)
    ('999 B', '1.2 MB')
    """
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def split_files(
    folder: Path, belongs: Callable[[str], bool]
) -> tuple[list[PlannedFile], tuple[str, ...]]:
    """List the files of a folder that belong to an upload, and the names of all others."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    files = [PlannedFile(name, folder / name) for name in names if belongs(name)]
    return files, tuple(name for name in names if not belongs(name))


__all__ = ["PlannedFile", "RepoType", "UploadPlan", "readable_size", "split_files"]
