"""Objects that were found before, on disk by the image's content."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .detection_gemkr import Detector, Object

_TABLE = "CREATE TABLE IF NOT EXISTS objects (key BLOB PRIMARY KEY, found TEXT NOT NULL)"
_TOGETHER = 500  # keys in one question to the database
_WAIT = 60  # seconds for another process that writes


class ObjectCache:
    """A file that keeps what detectors found, so that no image is detected twice.

    An entry is found again by the image's size and pixels and by the detector's `fingerprint()`:
    the same image under another name hits, another detector or confidence misses. Several
    processes may use one file. An image whose entry is unreadable is detected again.

    Args:
        path: str or Path. An SQLite database, made where there is none.

    Raises:
        ValueError: if the file is something else, or damaged (then or later).
        OSError: if it cannot be made, read or written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: an object cache is a file.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"There can be no object cache at {self.path}, whose folder cannot be made: "
                f"{error.strerror or error}."
            ) from error
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._open()

    def _open(self) -> sqlite3.Connection:
        # A connection must not be shared with a forked process.
        if self._connection is None or self._owner != os.getpid():
            with self._told():
                connection = sqlite3.connect(self.path, timeout=_WAIT, check_same_thread=False)
                connection.text_factory = bytes  # what is no UTF-8 is one entry's damage
                with connection:
                    connection.execute(_TABLE)
            self._connection, self._owner = connection, os.getpid()
        return self._connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """With the database's errors as a sentence that names the file and the mend."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            said = str(error).rstrip(".")
            # Another table of that name; any other of these is of the machine, not of the file.
            foreign = said.startswith(("no such", "table"))
            if isinstance(error, sqlite3.OperationalError) and not foreign:
                raise OSError(f"The object cache {self.path} cannot be used: {said}.") from error
            raise ValueError(
                f"{self.path} is no object cache, or a damaged one ({said}): delete it, or give "
                "another path."
            ) from error

    def __len__(self) -> int:
        with self._told():
            return self._open().execute("SELECT COUNT(*) FROM objects").fetchone()[0]

    def detect(self, detector: Detector, images: Sequence[Image.Image]) -> list[list[Object]]:
        """What `detector.detect(images)` finds; it runs for the images that are new.

        Raises:
            ValueError: if the detector has no `fingerprint()`.
        """
        identify = getattr(detector, "fingerprint", None)
        if identify is None:
            raise ValueError(
                f"A {type(detector).__name__} has no fingerprint(), which an object cache needs to "
                "tell detectors apart."
            )
        identity = identify()
        keys = [image_key(image, identity) for image in images]
        known = self._read(keys)
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        if new:
            results = detector.detect(list(new.values()))
            if len(results) != len(new):
                raise ValueError(
                    f"The detector answered {len(results)} lists for {len(new)} images."
                )
            found = dict(zip(new, results, strict=True))
            self._write(found)
            known |= found
        return [list(known[key]) for key in keys]

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, list[Object]]:
        known: dict[bytes, list[Object]] = {}
        for start in range(0, len(keys), _TOGETHER):
            some = list(keys[start : start + _TOGETHER])
            marks = ",".join("?" * len(some))
            question = f"SELECT key, found FROM objects WHERE key IN ({marks})"
            with self._told():
                rows = self._open().execute(question, some).fetchall()
            read = {bytes(key): _objects(text) for key, text in rows}
            known |= {key: found for key, found in read.items() if found is not None}
        return known

    def _write(self, found: dict[bytes, list[Object]]) -> None:
        rows = [
            (key, json.dumps([part.to_dict() for part in parts])) for key, parts in found.items()
        ]
        connection = self._open()
        with self._told(), connection:  # all of them or none
            connection.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?)", rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "ObjectCache":
        return type(self)(self.path)

    def __repr__(self) -> str:
        return f"ObjectCache({str(self.path)!r})"


def image_key(image: Image.Image, detector: str) -> bytes:
    """Digest of a detector's fingerprint and of an RGB image's size and pixels, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{detector} {image.mode} {image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    return digest.digest()


def _objects(text: Any) -> list[Object] | None:
    """The objects of an entry; None if it is unreadable."""
    found = []
    try:
        for part in json.loads(text):
            x0, y0, x1, y1 = map(float, part["box"])
            found.append(Object((x0, y0, x1, y1), float(part["score"]), str(part["label"])))
    except (ValueError, TypeError, LookupError):
        return None
    return found


def tensors_digest(tensors: dict[str, Any]) -> str:
    """Digest of a model's weights, for a detector's fingerprint."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


__all__ = ["ObjectCache", "image_key", "tensors_digest"]
