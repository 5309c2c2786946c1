"""An index on disk: the same answers, and one sentence for whatever is broken."""

import json
import mmap
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from gemkr_hf.index import FMIndex, storage

DOCUMENTS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8], [], [3, 1, 4, 1, 5, 9, 2, 6], [5]]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    FMIndex.build(DOCUMENTS, vocab_size=50).save(tmp_path / "index")
    return tmp_path / "index"


def test_loaded_index_gives_the_same_answers(saved: Path, backend: str) -> None:
    built, loaded = FMIndex.build(DOCUMENTS, vocab_size=50), FMIndex.load(saved, backend=backend)
    sequences = [[1], [8, 2], [5, 9], [], [50]]
    assert loaded.lookup_doc(sequences).tolist() == built.lookup_doc(sequences).tolist()
    assert loaded.count(sequences).tolist() == built.count(sequences).tolist()
    assert [loaded.extract(row).tolist() for row in range(5)] == DOCUMENTS
    assert (loaded.vocab_size, loaded.num_tokens) == (50, 23)


def test_every_backend_writes_the_same_file(saved: Path, backend: str, tmp_path: Path) -> None:
    FMIndex.build(DOCUMENTS, vocab_size=50, backend=backend).save(tmp_path / "other")
    assert (tmp_path / "other" / storage.INDEX_FILE).read_bytes() == (
        saved / storage.INDEX_FILE
    ).read_bytes()


def test_index_without_documents(tmp_path: Path) -> None:
    FMIndex.build([]).save(tmp_path)
    assert FMIndex.load(tmp_path).num_documents == 0


def test_the_files_are_safetensors_and_json(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["index.json", "index.safetensors"]
    with safe_open(saved / storage.INDEX_FILE, framework="np") as file:
        assert set(file.keys()) == set(storage.DTYPES)
    header = json.loads((saved / storage.HEADER_FILE).read_text())
    assert (header["format_version"], header["num_documents"]) == (storage.FORMAT_VERSION, 5)


def test_load_maps_the_file(saved: Path) -> None:
    index = FMIndex.load(saved)
    base = index._transform.levels
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        index._transform.levels[0, 0, 0] = 1


def test_cut_short(saved: Path) -> None:
    path = saved / storage.INDEX_FILE
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="cut short"):
        FMIndex.load(saved)


@pytest.mark.parametrize("place", [0, 20, -1, -100, -1000])
def test_flipped_bit(saved: Path, place: int) -> None:
    path = saved / storage.INDEX_FILE
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="changed"):
        FMIndex.load(saved)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_that_nobody_checks_crash_nothing(saved: Path, seed: int) -> None:
    """A file too large to be compared may answer wrongly, but reads nothing outside of itself."""
    path = saved / storage.INDEX_FILE
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(1000, len(data), size=20):
        data[place] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    try:
        index = FMIndex.load(saved, verify=False)
        sequences = [[token] for token in range(50)] + [[1, 4], [2, 8], []]
        index.get_next(sequences)
        index.valid_distinct(sequences)
        for row in range(len(index)):
            index.extract(row)
        index.lookup_doc(sequences)
    except ValueError as error:
        assert "corrupt" in str(error) or "safetensors" in str(error)


def test_files_of_two_indexes(saved: Path, tmp_path: Path) -> None:
    # As large as the first.
    FMIndex.build([row[::-1] for row in DOCUMENTS], vocab_size=50).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / storage.INDEX_FILE, saved)
    with pytest.raises(ValueError, match="changed"):
        FMIndex.load(saved)


def test_files_of_two_indexes_too_large_to_be_compared(saved: Path, tmp_path: Path) -> None:
    FMIndex.build([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 7], [], [3, 1, 4, 1, 5, 9, 2, 6], [5]],
                  vocab_size=50).save(tmp_path / "other")  # fmt: skip
    shutil.copy(tmp_path / "other" / storage.INDEX_FILE, saved)
    with pytest.raises(ValueError, match="mixed from two"):
        FMIndex.load(saved, verify=False)


def test_other_version(saved: Path) -> None:
    path = saved / storage.HEADER_FILE
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(ValueError, match="format version 9"):
        FMIndex.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "gemkr-fm-index"}'])
def test_broken_header(saved: Path, text: str) -> None:
    (saved / storage.HEADER_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"no JSON|no header|format version None"):
        FMIndex.load(saved)


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no FM-index in"):
        FMIndex.load(tmp_path / "nowhere")
    (saved / storage.INDEX_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="not complete"):
        FMIndex.load(saved)


def test_a_failed_save_leaves_the_old_index(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arrays: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(storage, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        FMIndex.build([[1]]).save(saved)
    assert FMIndex.load(saved).num_documents == 5
    assert len(list(saved.iterdir())) == 2
