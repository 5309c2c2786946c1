"""Duplicates, added and removed documents, and compaction."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.storage import HEADER_FILE, named_files, read_header
from tests.unit.knowledge_base.knowledge_base_parts import DIFFERENT, DOCUMENTS, word_tokenizer

GEAR, AGAIN = DOCUMENTS[1], DOCUMENTS[3]
NEW = [
    {"id": "moon", "title": "Moon", "text": "The moon turns the sea."},
    {"id": "third", "title": "Gear, again", "text": GEAR["text"]},
]


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


@pytest.fixture
def knowledge_base(tokenizer) -> KnowledgeBase:
    return KnowledgeBase.from_documents(DOCUMENTS, tokenizer)


def rows(knowledge_base: KnowledgeBase, *texts: str) -> list[int]:
    tokenizer = knowledge_base.tokenizer
    clues = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return knowledge_base.lookup(clues).tolist()


def test_repeated_texts_are_one_document_with_several_ids(knowledge_base) -> None:
    assert len(knowledge_base) == 4
    assert knowledge_base.ids(1) == ["gear", "again"]
    assert knowledge_base.ids(0) == ["anchor"]
    assert knowledge_base.further_ids() == {"again": "gear"}
    assert knowledge_base.row_of("again") == knowledge_base.row_of("gear") == 1
    assert knowledge_base[1] == GEAR
    with pytest.raises(KeyError, match="No document with the id 'moon'"):
        knowledge_base.row_of("moon")
    # Their clues are distinctive: two documents with the same text could never be found.
    assert rows(knowledge_base, " turns another") == [1]


def test_added_documents_get_the_next_rows(knowledge_base) -> None:
    more = knowledge_base.add(NEW)
    assert (len(knowledge_base), len(more)) == (4, 5)
    assert more[4] == NEW[0]
    assert more.ids(1) == ["gear", "again", "third"]
    assert more.further_ids() == {"again": "gear", "third": "gear"}
    assert rows(more, " moon turns", " turns another", " turns") == [4, 1, -1]
    assert rows(knowledge_base, " moon turns") == [-1]
    # Duplicates among the added ones too.
    twice = more.add(iter([{"id": 7, "text": "x", "title": None}, {"id": 8, "text": "x"}][:1] * 1))
    assert len(twice) == 6


def test_invalid_additions(knowledge_base) -> None:
    with pytest.raises(ValueError, match="The id 'again' occurs twice"):
        knowledge_base.add([{"id": "again", "text": "something new"}])
    with pytest.raises(ValueError, match="no column 'url'"):
        knowledge_base.add([{"id": "new", "text": "something new", "url": "x"}])
    with pytest.raises(ValueError, match="was built with the tokenizer"):
        knowledge_base.add(NEW, tokenizer=word_tokenizer(["another one"]))


def test_removed_documents_are_not_found(knowledge_base) -> None:
    assert rows(knowledge_base, " in its place") == [-1]
    less = knowledge_base.remove(["anchor"])
    assert len(less) == 3
    assert [document["id"] for document in less] == ["gear", "empty", "ship"]
    assert rows(less, " in its place", " ship in its place at") == [3, -1]
    with pytest.raises(IndexError, match="Document 0 was removed"):
        less[0]
    with pytest.raises(KeyError, match="anchor"):
        less.row_of("anchor")
    with pytest.raises(KeyError, match="anchor"):
        less.remove(["anchor"])
    assert knowledge_base[0] == DOCUMENTS[0]
    # A removed id can be used again.
    back = less.add([DOCUMENTS[0]])
    assert back.row_of("anchor") == 4
    assert rows(back, " in its place") == [-1]


def test_a_document_is_removed_with_its_last_id(knowledge_base) -> None:
    other = knowledge_base.remove(["again"])
    assert (len(other), other.ids(1), other[1]) == (4, ["gear"], GEAR)
    first_gone = knowledge_base.remove(["gear"])
    assert (len(first_gone), first_gone.ids(1), first_gone[1]) == (4, ["again"], AGAIN)
    assert list(first_gone)[1] == first_gone.documents[1] == AGAIN
    with pytest.raises(KeyError, match="gear"):
        first_gone.row_of("gear")
    for gone in (other.remove(["gear"]), first_gone.remove(["again"])):
        assert len(gone) == 3
        assert rows(gone, " turns another") == [-1]
    assert len(knowledge_base.remove(["gear", "again"])) == 3


def test_compact_frees_space(knowledge_base, tmp_path) -> None:
    changed = knowledge_base.add(NEW).remove(["anchor", "gear"])
    compact = changed.compact()
    assert compact.index.num_shards == 1
    assert compact.index.nbytes < changed.index.nbytes
    assert list(compact) == list(changed)
    assert compact.index.num_rows == len(compact) == 4
    assert compact.ids(0) == ["again", "third"]
    assert compact.further_ids() == {"third": "again"}
    assert rows(compact, " in its place", " moon turns") == [2, 3]
    # It replaces the knowledge base it came from, of which nothing remains.
    changed.save_pretrained(tmp_path / "kb")
    compact.save_pretrained(tmp_path / "kb")
    loaded = KnowledgeBase.from_pretrained(tmp_path / "kb")
    loaded.verify()
    assert list(loaded) == list(changed)
    assert loaded.ids(0) == ["again", "third"]
    for path in (tmp_path / "kb").glob("*.parquet"):
        assert "anchor" not in pq.read_table(path).column("id").to_pylist()


def test_saving_changes_writes_only_what_is_new(knowledge_base, tmp_path) -> None:
    folder = tmp_path / "kb"
    knowledge_base.save_pretrained(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    loaded = KnowledgeBase.from_pretrained(folder)
    loaded.add(NEW).remove(["ship"]).save_pretrained(folder)
    kept = {
        path for path, time in times.items() if path.exists() and path.stat().st_mtime_ns == time
    }
    names = {path.name for path in kept}
    assert sum(name.startswith(("shard-", "documents-")) for name in names) == 2
    again = KnowledgeBase.from_pretrained(folder)
    again.verify()
    assert [document["id"] for document in again] == ["anchor", "gear", "empty", "moon"]
    assert again.ids(1) == ["gear", "again", "third"]
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert on_disk == named_files(read_header(folder)) | {HEADER_FILE}
    # An index loaded earlier still answers, and can be saved back.
    assert rows(loaded, " its place an anchor") == [3]
    loaded.save_pretrained(folder)
    assert list(KnowledgeBase.from_pretrained(folder)) == DIFFERENT


def test_an_interrupted_save_changes_nothing(knowledge_base, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "kb"
    knowledge_base.save_pretrained(folder)
    changed = KnowledgeBase.from_pretrained(folder).add(NEW)
    monkeypatch.setattr("gemkr_hf.knowledge_base.storage.write_json_header", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        changed.save_pretrained(folder)
    monkeypatch.undo()
    loaded = KnowledgeBase.from_pretrained(folder)
    loaded.verify()
    assert list(loaded) == DIFFERENT


def test_random_changes_equal_a_rebuilt_knowledge_base(tokenizer) -> None:
    rng = np.random.default_rng(0)
    words = ["sun", "moon", "star", "sea", "ship", "gear", "sign", "red", "blue", "of", "the", "in"]

    def documents(first: int, number: int) -> list[dict]:
        return [
            {"id": first + n, "text": " ".join(rng.choice(words, size=rng.integers(0, 4)))}
            for n in range(number)
        ]

    records = documents(0, 60)
    changing = KnowledgeBase.from_documents(Dataset.from_list(records), tokenizer, shard_tokens=40)
    for step in range(6):
        gone = set(rng.choice([record["id"] for record in records], 12, replace=False).tolist())
        new = documents(1000 * (step + 1), 15)
        changing = changing.remove(gone).add(new)
        records = [record for record in records if record["id"] not in gone] + new
        rebuilt = KnowledgeBase.from_documents(records, tokenizer)
        assert len(changing) == len(rebuilt)
        assert changing.index.num_tokens == rebuilt.index.num_tokens
        clues = tokenizer(
            [" " + " ".join(rng.choice(words, size=2)) for _ in range(100)],
            add_special_tokens=False,
        )["input_ids"]
        for mine, other in zip(changing.lookup(clues), rebuilt.lookup(clues), strict=True):
            assert (mine < 0) == (other < 0)
            if mine >= 0:
                assert set(changing.ids(mine)) == set(rebuilt.ids(other))
        assert {record["id"] for record in records} == {
            identifier
            for document in changing
            for identifier in changing.ids(changing.row_of(document["id"]))
        }
    assert list(changing.compact()) == list(changing)


def numbered(number: int, kind: type = int) -> list[dict]:
    return [
        {"id": kind(i), "text": f"The number {i} is {'odd' if i % 2 else 'even'}."}
        for i in range(number)
    ]


@pytest.mark.parametrize(("kind", "other"), [(int, str), (str, int)])
def test_ids_of_another_type(tokenizer, kind, other) -> None:
    knowledge_base = KnowledgeBase.from_documents(numbered(5, kind), tokenizer)
    with pytest.raises(ValueError, match="occurs twice"):
        knowledge_base.add([{"id": other(1), "text": "something new"}])
    more = knowledge_base.add([{"id": other(7), "text": "something new"}])
    assert more.row_of(kind(7)) == 5
    if kind is int:
        with pytest.raises(ValueError, match="column 'id' has another type"):
            knowledge_base.add([{"id": "seven", "text": "something new"}])


def test_remove_all_documents(tokenizer, tmp_path) -> None:
    knowledge_base = KnowledgeBase.from_documents(numbered(5), tokenizer).remove(range(5))
    knowledge_base.save_pretrained(tmp_path / "kb")
    KnowledgeBase.from_pretrained(tmp_path / "kb").compact().save_pretrained(tmp_path / "kb")
    nothing = KnowledgeBase.from_pretrained(tmp_path / "kb")
    assert len(nothing) == 0
    assert len(nothing.add(numbered(2))) == 2


def test_reserved_column_names(tokenizer, tmp_path) -> None:
    records = [{"id": i, "text": "the same", "row": 5 + i, "primary": "yes"} for i in range(2)]
    KnowledgeBase.from_documents(records, tokenizer).save_pretrained(tmp_path / "kb")
    loaded = KnowledgeBase.from_pretrained(tmp_path / "kb")
    assert loaded.ids(0) == [0, 1]
    assert loaded.remove([0])[0] == records[1]
    with pytest.raises(ValueError, match="column name '_row' is reserved"):
        KnowledgeBase.from_documents([{"id": 1, "text": "a", "_row": 1}], tokenizer)


def test_a_column_with_late_values(tokenizer, tmp_path) -> None:
    empty = [{**record, "title": None} for record in numbered(1001)]
    filled = [*empty, {"id": 2000, "text": "A late one.", "title": "Late"}]
    KnowledgeBase.build(iter(filled), tokenizer, tmp_path / "kb", shard_tokens=5000)
    assert KnowledgeBase.from_pretrained(tmp_path / "kb")[1001]["title"] == "Late"
    added = KnowledgeBase.from_documents(empty[:3], tokenizer).add(filled[-1:])
    assert [record["title"] for record in added] == [None, None, None, "Late"]
    added.save_pretrained(tmp_path / "added")
    assert KnowledgeBase.from_pretrained(tmp_path / "added")[3]["title"] == "Late"


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"sample_rate": 0}, {"list_threshold": 0}, {"shard_tokens": 0}],
    ids=str,
)
def test_invalid_options_are_reported_before_reading(tokenizer, tmp_path, options) -> None:
    def documents():
        raise AssertionError("read")
        yield

    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        KnowledgeBase.build(documents(), tokenizer, tmp_path / "kb", **options)
    with pytest.raises(TypeError, match="sample_rat"):
        KnowledgeBase.build(documents(), tokenizer, tmp_path / "kb", sample_rat=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": [1], "text": "a"}, r"The id of document 0 is \[1\]"),
        ({"id": 0.5, "text": "a"}, r"The id of document 0 is 0\.5"),
        ({"id": 1, "text": "a \ud800"}, "not valid Unicode"),
    ],
)
def test_invalid_records(tokenizer, record, message) -> None:
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.from_documents([record], tokenizer)


def test_the_current_folder_as_target(tokenizer, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    KnowledgeBase.build(numbered(3), tokenizer, ".")
    assert len(KnowledgeBase.from_pretrained(".")) == 3
    KnowledgeBase.from_documents(numbered(4), tokenizer).save_pretrained(".")
    assert len(KnowledgeBase.from_pretrained(tmp_path)) == 4
