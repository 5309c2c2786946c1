"""What an upload would do, before it does it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Literal

RepoType = Literal["model", "dataset", "space"]


@dataclass(frozen=True)
class PlannedFile:
    """One file of an upload.

    Attributes:
        path: in the repository, with slashes.
        source: where it lies, or its contents.
    """

    path: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self, limit: int | None = None) -> bytes:
        """Its contents, or the first ``limit`` bytes."""
        if isinstance(self.source, bytes):
            return self.source[:limit]
        with self.source.open("rb") as file:
            return file.read(-1 if limit is None else limit)


@dataclass(frozen=True)
class UploadPlan:
    """Files for one repository, which get there in one commit or not at all.

    Attributes:
        repo_id: "owner/name".
        repo_type: "model", "dataset" or "space".
        files: what is uploaded.
        left_out: names in the folder that are no part of it.
        owned: patterns of files that are this kind of upload's: those that are in the repository
            and not among ``files`` are of an older one, and are deleted by the commit.
        message: of the commit.
    """

    repo_id: str
    repo_type: RepoType
    files: tuple[PlannedFile, ...]
    left_out: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    message: str = "Upload with gemkr_hf"
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def stale(self, present: Iterable[str]) -> list[str]:
        """Files in the repository that an older upload left there."""
        kept = {file.path for file in self.files}
        return sorted(
            path
            for path in present
            if path not in kept and any(fnmatch(path, pattern) for pattern in self.owned)
        )

    def lines(self) -> list[str]:
        """The plan for a reader: files with their sizes, largest first."""
        files = sorted(self.files, key=lambda file: (-file.size, file.path))
        width = max((len(file.path) for file in files), default=0)
        lines = [f"{file.path:<{width}}  {readable_size(file.size):>9}" for file in files]
        lines.append(
            f"{len(files)} files, {readable_size(self.size)}, for the {self.repo_type} repository "
            f"{self.repo_id}"
        )
        if self.left_out:
            lines.append("Left out: " + ", ".join(self.left_out))
        return lines


def readable_size(size: int) -> str:
    """Bytes in words.

    >>> readable_size(999), readable_size(1_234_567)
    ('999 B', '1.2 MB')
    """
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def files_of(
    folder: Path, belongs: Callable[[str], bool]
) -> tuple[tuple[PlannedFile, ...], tuple[str, ...]]:
    """The files of a folder that belong to an upload, and the names of the others."""
    files, others = [], []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = PurePosixPath(path.relative_to(folder)).as_posix()
        if belongs(name):
            files.append(PlannedFile(name, path))
        else:
            others.append(name)
    return tuple(files), tuple(others)


__all__ = ["PlannedFile", "RepoType", "UploadPlan", "files_of", "readable_size"]
