"""Object caches that are damaged, of another kind, or cannot be created."""

import sqlite3

import pytest

from gemkr_hf.processing import Object, ObjectCache
from tests.unit.processing.processing_parts import FixedDetector, make_image

FOUND = [Object((1.5, 2.0, 30.25, 31.0), 0.75, "cat")]
IMAGES = [make_image(seed=seed) for seed in range(3)]


class Detector(FixedDetector):
    def fingerprint(self):
        return "one"


@pytest.fixture
def cache(tmp_path) -> ObjectCache:
    cache = ObjectCache(tmp_path / "objects.sqlite")
    cache.detect(Detector(FOUND), IMAGES)
    return cache


def change(cache, statement, *values):
    connection = sqlite3.connect(cache.path)
    with connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    "entry",
    [
        "", "[", "3", "null", "[3]", "[{}]", '{"box": 1}', b"\xff\xfe", 7,
        '[{"box": [1, 2, 3], "score": 1, "label": ""}]',
        '[{"box": [1, 2, 3, "x"], "score": 1, "label": ""}]',
    ],
)  # fmt: skip
def test_an_unreadable_entry_is_detected_again(cache, entry):
    detector = Detector(FOUND)
    change(cache, "UPDATE objects SET found = ? WHERE rowid = 2", entry)
    assert cache.detect(detector, IMAGES) == [FOUND] * 3
    assert detector.calls == 1
    assert cache.detect(detector, IMAGES) == [FOUND] * 3
    assert (detector.calls, len(cache)) == (1, 3)


def test_invalid_utf8_entry(cache):
    change(cache, "UPDATE objects SET found = CAST(? AS TEXT) WHERE rowid = 2", b"\xff[")
    assert ObjectCache(cache.path).detect(Detector(FOUND), IMAGES) == [FOUND] * 3


@pytest.mark.parametrize("again", [False, True], ids=["while open", "opened again"])
def test_a_damaged_file_raises_a_clear_error(cache, again):
    size = cache.path.stat().st_size
    with cache.path.open("r+b") as file:  # behind what tells that it is a database
        file.seek(24)
        file.write(b"\xa5" * (size - 24))
    message = r"objects\.sqlite is not an object cache, or is damaged .*: delete it"
    for call in (len, lambda cache: cache.detect(Detector(FOUND), IMAGES)):
        with pytest.raises(ValueError, match=message) as error:
            call(ObjectCache(cache.path) if again else cache)
        assert "\n" not in str(error.value)
    cache.path.unlink()
    assert ObjectCache(cache.path).detect(Detector(FOUND), IMAGES) == [FOUND] * 3


def test_a_database_of_something_else(tmp_path):
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE objects (a, b, c)")
    connection.close()
    with pytest.raises(ValueError, match=r"other\.sqlite is not an object cache.*delete it"):
        ObjectCache(path).detect(Detector(FOUND), IMAGES)


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        OSError, match=r"Cannot create the folder of the object cache .*deep.objects"
    ):
        ObjectCache(tmp_path / "file" / "deep" / "objects")


def test_a_locked_database_is_not_reported_as_damaged(cache, monkeypatch):
    monkeypatch.setattr("gemkr_hf.processing.object_cache._LOCK_TIMEOUT", 0.01)
    waiting = ObjectCache(cache.path)
    other = sqlite3.connect(cache.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match=r"objects\.sqlite cannot be used: database is locked"):
        waiting.detect(Detector(FOUND), IMAGES)
    other.close()
