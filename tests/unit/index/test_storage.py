"""Saved indexes: the same answers, and a clear error for broken files."""

import json
import mmap
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from gemkr_hf.index import FMIndex
from gemkr_hf.index import index_storage as storage
from gemkr_hf.index.mapped_safetensors import map_safetensors
from gemkr_hf.index.shard import DTYPES, REMOVED_DTYPES
from gemkr_hf.utils.io import write_json_header

DOCUMENTS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8], [], [3, 1, 4, 1, 5, 9, 2, 6], [5]]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    FMIndex.build(DOCUMENTS, vocab_size=50).save(tmp_path / "index")
    return tmp_path / "index"


def shard_file(folder: Path) -> Path:
    (path,) = folder.glob("shard-*.safetensors")
    return path


def test_loaded_index_gives_the_same_answers(saved: Path, backend: str) -> None:
    built, loaded = FMIndex.build(DOCUMENTS, vocab_size=50), FMIndex.load(saved, backend=backend)
    sequences = [[1], [8, 2], [5, 9], [], [50]]
    assert loaded.lookup_doc(sequences).tolist() == built.lookup_doc(sequences).tolist()
    assert loaded.count(sequences).tolist() == built.count(sequences).tolist()
    assert [loaded.extract(row).tolist() for row in range(5)] == DOCUMENTS
    assert (loaded.vocab_size, loaded.num_tokens) == (50, 23)
    assert loaded.backend == backend
    loaded.verify()


def test_every_backend_writes_the_same_file(saved: Path, backend: str, tmp_path: Path) -> None:
    FMIndex.build(DOCUMENTS, vocab_size=50, backend=backend).save(tmp_path / "other")
    assert shard_file(tmp_path / "other").name == shard_file(saved).name
    assert shard_file(tmp_path / "other").read_bytes() == shard_file(saved).read_bytes()


def test_index_without_documents(tmp_path: Path) -> None:
    FMIndex.build([]).save(tmp_path)
    assert FMIndex.load(tmp_path).num_documents == 0


def test_the_files_are_safetensors_and_json(saved: Path) -> None:
    path = shard_file(saved)
    assert sorted(file.name for file in saved.iterdir()) == ["index.json", path.name]
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == set(DTYPES)
    mapped = map_safetensors(path)[1]
    for name, array in load_file(path).items():
        assert np.array_equal(array, mapped[name])
    header = json.loads((saved / storage.HEADER_FILE).read_text())
    assert (header["format_version"], header["num_documents"]) == (storage.FORMAT_VERSION, 5)


def test_load_maps_the_file_on_a_cache_line(saved: Path) -> None:
    lines = FMIndex.load(saved)._shards[0].matrix.arrays.lines
    base = lines
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj, mmap.mmap)
    assert lines.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        lines[0, 0] = 1


def test_truncated_file(saved: Path) -> None:
    path = shard_file(saved)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="truncated"):
        FMIndex.load(saved)


@pytest.mark.parametrize("place", [0, 20, -1, -100, -1000])
def test_flipped_bit(saved: Path, place: int) -> None:
    path = shard_file(saved)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="changed"):
        FMIndex.load(saved)


def test_verify_finds_a_flipped_bit_that_loading_ignored(saved: Path) -> None:
    path = shard_file(saved)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    index = FMIndex.load(saved, verify=False)
    with pytest.raises(ValueError, match="changed"):
        index.verify()


@pytest.mark.parametrize("seed", range(60))
def test_unchecked_flipped_bits_do_not_crash(tmp_path: Path, seed: int) -> None:
    """A file too large to be compared may give wrong answers, but no read outside of it."""
    rng = np.random.default_rng(seed)
    documents = [rng.integers(0, 40, size=rng.integers(0, 30)) for _ in range(30)]
    index = FMIndex.build(documents, vocab_size=50, sample_rate=4, list_threshold=2)
    # Every second one has no removed documents, and no file of them to corrupt.
    index = index.remove(rng.choice(30, 10, replace=False)) if seed % 2 else index
    index.save(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        data = bytearray(path.read_bytes())
        body = 8 + int.from_bytes(data[:8], "little")
        for place in rng.integers(body, len(data), size=rng.integers(1, 40)):
            data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
    try:
        broken = FMIndex.load(tmp_path, verify=False)
        sequences = [[token] for token in range(50)] + [[1, 4], [2, 8], []]
        broken.get_next(sequences)
        broken.valid_distinct(sequences)
        for row in range(broken.num_rows):
            if row not in broken.removed:
                broken.extract(row)
        broken.find_documents([[], [3]])
        broken.lookup_doc(sequences)
        broken.locate([3])
    except ValueError as error:
        assert "corrupt" in str(error) or "safetensors" in str(error)


def test_files_of_two_indexes(saved: Path, tmp_path: Path) -> None:
    FMIndex.build([row[::-1] for row in DOCUMENTS], vocab_size=50).save(tmp_path / "other")
    shutil.copy(shard_file(tmp_path / "other"), shard_file(saved))
    with pytest.raises(ValueError, match=r"changed|replaced"):
        FMIndex.load(saved)


def test_unchecked_files_of_two_indexes(saved: Path, tmp_path: Path) -> None:
    # Files of the same size.
    FMIndex.build([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 7], [], [3, 1, 4, 1, 5, 9, 2, 6], [5]],
                  vocab_size=50).save(tmp_path / "other")  # fmt: skip
    shutil.copy(shard_file(tmp_path / "other"), shard_file(saved))
    with pytest.raises(ValueError, match="belong to two indexes"):
        FMIndex.load(saved, verify=False)


def test_removed_documents_of_another_shard(tmp_path: Path) -> None:
    for name, documents in (("a", DOCUMENTS), ("b", [row[::-1] for row in DOCUMENTS])):
        FMIndex.build(documents, vocab_size=50).remove([1]).save(tmp_path / name)
    (mine,), (other,) = ((tmp_path / name).glob("removed-*") for name in "ab")
    header = json.loads((tmp_path / "a" / storage.HEADER_FILE).read_text())
    strange = json.loads((tmp_path / "b" / storage.HEADER_FILE).read_text())["shards"][0]
    header["shards"][0]["removed"] = strange["removed"]
    write_json_header(tmp_path / "a" / storage.HEADER_FILE, header)
    shutil.copy(other, tmp_path / "a")
    with pytest.raises(ValueError, match="belong to two indexes"):
        FMIndex.load(tmp_path / "a")
    with safe_open(mine, framework="np") as file:
        assert set(file.keys()) == set(REMOVED_DTYPES)


def test_other_version(saved: Path) -> None:
    path = saved / storage.HEADER_FILE
    write_json_header(path, {**json.loads(path.read_text()), "format_version": 9})
    with pytest.raises(ValueError, match="format version 9"):
        FMIndex.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "gemkr-fm-index"}'])
def test_broken_header(saved: Path, text: str) -> None:
    (saved / storage.HEADER_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"not valid JSON|not a header|format version None"):
        FMIndex.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.pop("shards"), "lacks a count"),
        (lambda header: header.update(num_documents=4), "belong to two indexes"),
        (lambda header: header.update(vocab_size=3), "are inconsistent"),
        (lambda header: header["shards"][0].pop("file"), "names None instead of a file"),
        (lambda header: header["shards"][0].update(file="../x"), "names '../x' instead of a file"),
        (lambda header: header["shards"].append(None), "names None instead of a file"),
    ],
)
def test_headers_of_wrong_content(saved: Path, change, message: str) -> None:
    header = json.loads((saved / storage.HEADER_FILE).read_text())
    change(header)
    write_json_header(saved / storage.HEADER_FILE, header)
    with pytest.raises(ValueError, match=message):
        FMIndex.load(saved)


def test_every_flipped_bit_of_the_header_is_detected(saved: Path) -> None:
    path = saved / storage.HEADER_FILE
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            same = json.loads(changed) == json.loads(data)
        except ValueError:
            same = False
        if not same:  # the bit changed the layout only
            with pytest.raises(
                ValueError, match=r"not valid JSON|not a header|format version|was changed"
            ):
                FMIndex.load(saved)


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No FM-index found in"):
        FMIndex.load(tmp_path / "nowhere")
    shard_file(saved).unlink()
    with pytest.raises(FileNotFoundError, match="incomplete"):
        FMIndex.load(saved)


def test_a_failed_save_leaves_the_old_index(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, arrays: object, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(storage, "write_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        FMIndex.build([[1]]).save(saved)
    assert FMIndex.load(saved).num_documents == 5
    assert len(list(saved.iterdir())) == 2


def test_saving_again_writes_only_what_is_new(saved: Path) -> None:
    index = FMIndex.load(saved)
    path = shard_file(saved)
    before = path.stat().st_mtime_ns
    more = index.add([[9, 9, 9]]).remove([1])
    more.save(saved)
    names = {file.name for file in saved.iterdir()}
    assert path.stat().st_mtime_ns == before
    assert len(names) == 4  # the header, two shards, removed documents of the first
    again = FMIndex.load(saved)
    assert again.lookup_doc([[9, 9], [7]]).tolist() == [5, -1]
    # Files that the header no longer names are deleted.
    index.save(saved)
    assert {file.name for file in saved.iterdir()} == {"index.json", path.name}


def test_saving_after_the_source_was_deleted(saved: Path, tmp_path: Path) -> None:
    index = FMIndex.load(saved)
    shutil.rmtree(saved)
    index.save(tmp_path / "other")
    assert FMIndex.load(tmp_path / "other").extract(0).tolist() == DOCUMENTS[0]
