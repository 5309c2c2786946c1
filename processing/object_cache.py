"""A cache of detected objects on disk. It stays in the library: a checkpoint has no use for it."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .detection_gemkr import Detector
from .images_gemkr import Object

_TABLE = "CREATE TABLE IF NOT EXISTS objects (key BLOB PRIMARY KEY, found TEXT NOT NULL)"
_KEYS_PER_QUERY = 500
_LOCK_TIMEOUT = 60  # seconds to wait for another process that writes


class ObjectCache:
    """A file that stores detected objects, so that no image is detected twice.

    Entries are keyed by the image's size and pixels and by the detector's ``fingerprint()``: the
    same image under another name hits, another detector or confidence misses. Several processes
    may use one file. An image whose entry is unreadable is detected again.

    Args:
        path: str or Path. An SQLite database, which is created if necessary.

    Raises:
        ValueError: if the file is something else, or damaged (then or later).
        OSError: if it cannot be created, read or written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: an object cache is a file.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"Cannot create the folder of the object cache {self.path}: "
                f"{error.strerror or error}."
            ) from error
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        with self._database():
            pass

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """Give this process' connection in a transaction; errors name the file and the remedy."""
        try:
            # A connection must not be shared with a forked process.
            if self._connection is None or self._process != os.getpid():
                connection = sqlite3.connect(
                    self.path, timeout=_LOCK_TIMEOUT, check_same_thread=False
                )
                connection.text_factory = bytes  # invalid UTF-8 damages one entry only
                with connection:
                    connection.execute(_TABLE)
                self._connection, self._process = connection, os.getpid()
            with self._connection:
                yield self._connection
        except sqlite3.DatabaseError as error:
            reason = str(error).rstrip(".")
            # A table of another layout; other operational errors are the machine's, not the file's.
            foreign = reason.startswith(("no such", "table"))
            if isinstance(error, sqlite3.OperationalError) and not foreign:
                raise OSError(f"The object cache {self.path} cannot be used: {reason}.") from error
            raise ValueError(
                f"{self.path} is not an object cache, or is damaged ({reason}): delete it, or give "
                "another path."
            ) from error

    def __len__(self) -> int:
        with self._database() as database:
            return database.execute("SELECT COUNT(*) FROM objects").fetchone()[0]

    def detect(self, detector: Detector, images: Sequence[Image.Image]) -> list[list[Object]]:
        """Return ``detector.detect(images)``, computed only for the images that are new.

        Raises:
            ValueError: if the detector has no ``fingerprint()``.
        """
        if not hasattr(detector, "fingerprint"):
            raise ValueError(
                f"A {type(detector).__name__} has no fingerprint(), which an object cache needs to "
                "tell detectors apart."
            )
        fingerprint = detector.fingerprint()
        keys = [_image_key(image, fingerprint) for image in images]
        known = self._read(keys)
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        if new:
            results = detector.detect(list(new.values()))
            if len(results) != len(new):
                raise ValueError(
                    f"The detector returned {len(results)} lists for {len(new)} images."
                )
            detected = dict(zip(new, results, strict=True))
            rows = [(k, json.dumps([obj.to_dict() for obj in v])) for k, v in detected.items()]
            with self._database() as database:
                database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?)", rows)
            known |= detected
        return [list(known[key]) for key in keys]

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, list[Object]]:
        known: dict[bytes, list[Object]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = list(keys[start : start + _KEYS_PER_QUERY])
            marks = ",".join("?" * len(some))
            query = f"SELECT key, found FROM objects WHERE key IN ({marks})"
            with self._database() as database:
                rows = database.execute(query, some).fetchall()
            for key, text in rows:
                try:
                    known[bytes(key)] = [_read_object(item) for item in json.loads(text)]
                except (ValueError, TypeError, LookupError):  # unreadable: detected again
                    continue
        return known

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "ObjectCache":
        return type(self)(self.path)

    def __repr__(self) -> str:
        return f"ObjectCache({str(self.path)!r})"


def _read_object(item: dict[str, Any]) -> Object:
    x0, y0, x1, y1 = map(float, item["box"])
    return Object((x0, y0, x1, y1), float(item["score"]), str(item["label"]))


def _image_key(image: Image.Image, fingerprint: str) -> bytes:
    """Digest a detector's fingerprint and an RGB image's size and pixels, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{fingerprint} {image.mode} {image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    return digest.digest()


def tensors_digest(tensors: Mapping[str, Any]) -> str:
    """Digest a model's weights, for the fingerprint of a detector."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


__all__ = ["ObjectCache", "tensors_digest"]
