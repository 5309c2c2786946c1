"""Builds on disk, in shards, interrupted and resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import Dataset, IterableDataset

from gemkr_hf.index import FMIndex
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.builder import RecordDigest
from gemkr_hf.knowledge_base.storage import HEADER_FILE, named_files, read_header
from tests.project import python_path
from tests.unit.knowledge_base.knowledge_base_parts import DIFFERENT, DOCUMENTS, word_tokenizer

WORDS = [
    "sun",
    "moon",
    "star",
    "sea",
    "ship",
    "gear",
    "sign",
    "red",
    "blue",
    "of",
    "the",
    "in",
    "place",
    "turns",
]


def many(number: int = 3000) -> list[dict]:
    """Different documents, every tenth of them repeated."""
    records = [
        {"id": n, "text": f"{WORDS[n % 14]} {WORDS[n // 14 % 14]} {n} {WORDS[n // 196 % 14]}"}
        for n in range(number)
    ]
    return records + [{"id": -1 - n, "text": records[n]["text"]} for n in range(0, number, 10)]


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


@pytest.mark.parametrize(
    "form",
    [
        list,
        iter,
        Dataset.from_list,
        lambda records: Dataset.from_list(records).to_iterable_dataset(),
    ],
    ids=["list", "iterator", "Dataset", "IterableDataset"],
)
def test_build_equals_from_documents(form, tokenizer, tmp_path) -> None:
    built = KnowledgeBase.build(form(DOCUMENTS), tokenizer, tmp_path / "kb", shard_tokens=12)
    assert list(built) == DIFFERENT
    assert built.ids(1) == ["gear", "again"]
    assert built.index.num_shards == 3
    built.verify()
    memory = KnowledgeBase.from_documents(DOCUMENTS, tokenizer, shard_tokens=12)
    assert [tokens.tolist() for tokens in built.index.extract_all()] == [
        tokens.tolist() for tokens in memory.index.extract_all()
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]


def test_shard_sizes(tokenizer, tmp_path) -> None:
    built = KnowledgeBase.build(many(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    assert len(built) == 3000
    sizes = [shard.num_tokens for shard in built.index._shards]
    assert max(sizes) <= 5000
    assert len(sizes) == built.index.num_shards > 3
    # Duplicates of documents in earlier shards are found.
    assert built.ids(built.row_of(-1)) == [0, -1]


class Interrupted(Exception):
    pass


def test_resume_after_the_last_finished_shard(tokenizer, tmp_path, monkeypatch) -> None:
    sizes: list[int] = []
    build = FMIndex.build.__func__

    def counted(cls, documents, *args, **kwargs):
        sizes.append(len(documents))
        return build(cls, documents, *args, **kwargs)

    monkeypatch.setattr(FMIndex, "build", classmethod(counted))

    def until(number: int) -> Iterator[dict]:
        for count, record in enumerate(many()):
            if count == number:
                raise Interrupted
            yield record

    for number in (1700, 2500):
        with pytest.raises(Interrupted):
            KnowledgeBase.build(until(number), tokenizer, tmp_path / "kb", shard_tokens=5000)
        assert not (tmp_path / "kb").exists()
        assert sum(sizes) > 0
    built = KnowledgeBase.build(many(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    # No shard was built twice.
    assert sum(sizes) == 3000
    rebuilt = KnowledgeBase.build(many(), tokenizer, tmp_path / "rebuilt", shard_tokens=5000)
    assert list(built) == list(rebuilt)
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("kb", "rebuilt")]
    assert names[0] == names[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kb", "rebuilt"]


def test_resume_with_changed_documents_is_rejected(tokenizer, tmp_path) -> None:
    def broken() -> Iterator[dict]:
        yield from many()[:2500]
        raise Interrupted

    with pytest.raises(Interrupted):
        KnowledgeBase.build(broken(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    others = many()
    others[7] = {"id": 7, "text": "something else"}
    for documents in (others, many()[:100]):
        with pytest.raises(ValueError, match="have changed since this build was started"):
            KnowledgeBase.build(documents, tokenizer, tmp_path / "kb", shard_tokens=5000)
    # Other settings start again.
    assert len(KnowledgeBase.build(others, tokenizer, tmp_path / "kb", shard_tokens=9000)) == 3000


def test_a_broken_shard_is_rebuilt(tokenizer, tmp_path) -> None:
    def broken() -> Iterator[dict]:
        yield from many()[:2500]
        raise Interrupted

    with pytest.raises(Interrupted):
        KnowledgeBase.build(broken(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    shards = sorted((tmp_path / ".kb.building").glob("shard-*"))
    shards[0].write_bytes(shards[0].read_bytes()[:-1])
    built = KnowledgeBase.build(many(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    built.verify()
    assert len(built) == 3000


def test_an_older_knowledge_base_stays_until_the_new_one_is_complete(tokenizer, tmp_path) -> None:
    old = KnowledgeBase.build(DOCUMENTS, tokenizer, tmp_path / "kb")

    def broken() -> Iterator[dict]:
        yield from many()[:2500]
        raise Interrupted

    with pytest.raises(Interrupted):
        KnowledgeBase.build(broken(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    assert list(KnowledgeBase.from_pretrained(tmp_path / "kb")) == DIFFERENT
    KnowledgeBase.build(many(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    new = KnowledgeBase.from_pretrained(tmp_path / "kb")
    new.verify()
    assert len(new) == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]
    assert old.index.extract(0).tolist()


@pytest.mark.parametrize("there", [False, True], ids=["new", "over an older one"])
def test_interrupted_while_moving_to_the_target(there, tokenizer, tmp_path, monkeypatch) -> None:
    """All shards are finished, but not moved to the target."""
    if there:
        KnowledgeBase.build(DOCUMENTS, tokenizer, tmp_path / "kb")
    replace = Path.replace

    def until_the_header(self: Path, target: Path) -> Path:
        name = target.name
        if name == "kb" or (target.parent.name == "kb" and name == "knowledge_base.json"):
            raise Interrupted
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", until_the_header)
    with pytest.raises(Interrupted):
        KnowledgeBase.build(many(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    monkeypatch.undo()
    if there:
        assert list(KnowledgeBase.from_pretrained(tmp_path / "kb")) == DIFFERENT
    monkeypatch.setattr(FMIndex, "build", lambda *args, **kwargs: pytest.fail("a shard again"))
    built = KnowledgeBase.build(many(), tokenizer, tmp_path / "kb", shard_tokens=5000)
    built.verify()
    assert len(built) == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]
    header = read_header(tmp_path / "kb")
    on_disk = {path.name for path in (tmp_path / "kb").iterdir() if path.is_file()}
    assert on_disk == {name for name in named_files(header) if "/" not in name} | {HEADER_FILE}


BUILD = """
import sys
from tests.unit.knowledge_base.test_build import many, delayed
from tests.unit.knowledge_base.knowledge_base_parts import word_tokenizer
from gemkr_hf.knowledge_base import KnowledgeBase
KnowledgeBase.build(delayed(many()), word_tokenizer(), sys.argv[1], shard_tokens=int(sys.argv[2]))
"""


def delayed(records: list[dict]) -> Iterator[dict]:
    """Leave time to be killed between any two shards."""
    for number, record in enumerate(records):
        if number % 100 == 0:
            time.sleep(0.02)
        yield record


@pytest.mark.slow
def test_killed_and_resumed(tokenizer, tmp_path) -> None:
    """SIGKILL after each of the first shards, then build the rest."""
    target, building = tmp_path / "kb", tmp_path / ".kb.building"
    command = [sys.executable, "-c", BUILD, str(target), "3000"]
    finished: list[int] = []
    for _ in range(3):
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": python_path()}
        )
        before = len(list(building.glob("step-*.json")))
        while process.poll() is None and len(list(building.glob("step-*.json"))) <= before:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished.append(len(list(building.glob("step-*.json"))))
        assert not target.exists()
    assert finished == sorted(set(finished))
    built = KnowledgeBase.build(many(), tokenizer, target, shard_tokens=3000)
    built.verify()
    assert len(built) == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "at least one document"),
        ([{"id": 1}], "column 'text'"),
        ([{"id": 1, "text": None}], "text of document 0"),
        ([{"id": 1, "text": 5}], "not a string"),
        ([{"id": None, "text": "a"}, {"id": 1, "text": "b"}], "Document 0 has no id"),
        ([{"id": 1, "text": "a"}, {"id": 1, "text": "b"}], "id 1 occurs twice"),
        (["text"], "must be records"),
        ([{"id": 1, "text": "a"}, {"id": "x", "text": "b"}], "each column of one type"),
    ],
)
def test_bad_documents_leave_nothing(documents, message, tokenizer, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.build(documents, tokenizer, tmp_path / "kb")
    assert not (tmp_path / "kb").exists()


def test_a_column_that_first_occurs_late(tokenizer) -> None:
    documents = [{"id": n, "text": str(n)} for n in range(1500)] + [{"id": -1, "text": "a", "x": 1}]
    with pytest.raises(ValueError, match="The column 'x' first occurs after document 1000"):
        KnowledgeBase.from_documents(documents, tokenizer)


def test_output_folder_with_other_content(tokenizer, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")

    def never() -> Iterator[dict]:
        pytest.fail("read before the output folder was checked")
        yield {}

    for target, message in (
        (tmp_path, "not a knowledge base"),
        (tmp_path / "thesis.txt", "a file"),
    ):
        with pytest.raises(ValueError, match=message):
            KnowledgeBase.build(never(), tokenizer, target)
    with pytest.raises(ValueError, match="shard_tokens must be at least 1"):
        KnowledgeBase.build(never(), tokenizer, tmp_path / "kb", shard_tokens=0)


def test_iterable_dataset_of_unknown_columns(tokenizer, tmp_path) -> None:
    dataset = IterableDataset.from_generator(lambda: iter(DOCUMENTS))
    assert list(KnowledgeBase.build(dataset, tokenizer, tmp_path / "kb")) == DIFFERENT


def test_digest_of_records() -> None:
    """The digest does not depend on the batches."""
    import pyarrow as pa

    whole, parts = RecordDigest(), RecordDigest()
    table = pa.Table.from_pylist(many(30))
    whole.update(table)
    parts.update(table.slice(0, 7))
    parts.update(table.slice(7))
    assert whole.at(20) == parts.at(20)
    assert whole.at(7) == parts.at(7) != whole.at(8)


def test_two_builds_of_one_folder(tokenizer, tmp_path) -> None:
    code = """
import sys
from gemkr_hf.utils.io import file_lock
with file_lock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "kb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError, match="Another process is writing"):
            KnowledgeBase.build(DOCUMENTS, tokenizer, tmp_path / "kb")
        other.communicate()
    assert len(KnowledgeBase.build(DOCUMENTS, tokenizer, tmp_path / "kb")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["kb"]
