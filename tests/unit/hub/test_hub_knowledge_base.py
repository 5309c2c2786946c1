"""Knowledge bases on the Hub: complete, in parts, changed, and of older revisions."""

from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import HfApi

from gemkr_hf import KnowledgeBase
from gemkr_hf.knowledge_base.hub_repository import KnowledgeBaseCard, plan_knowledge_base
from tests.unit.knowledge_base.knowledge_base_parts import word_tokenizer

TEXTS = [f"The {name} is a {kind} number {n}." for n, (name, kind) in enumerate(
    [("ship", "red"), ("harbour", "blue"), ("crane", "green"), ("anchor", "old"), ("sail", "new"),
     ("mast", "tall"), ("keel", "deep"), ("deck", "wide")]
)]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer([*TEXTS, "Another one sinks ."])


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory) -> Path:
    """Eight documents in four shards."""
    documents = [{"id": f"d{n}", "text": text} for n, text in enumerate(TEXTS)]
    folder = tmp_path_factory.mktemp("kb") / "ships"
    knowledge_base = KnowledgeBase.from_documents(documents, tokenizer, shard_tokens=20)
    assert knowledge_base.index.num_shards == 4
    knowledge_base.save_pretrained(folder)
    return folder


PUSH = (
    "from gemkr_hf import KnowledgeBase\nKnowledgeBase.from_pretrained({0!r}).push_to_hub({1!r})\n"
)


@pytest.fixture
def pushed(hub, client, saved):
    client(PUSH.format(str(saved), "alice/ships"))
    hub.requests.clear()
    return hub


def test_the_whole_is_what_was_pushed(pushed, client, saved) -> None:
    printed = client(f"""
from gemkr_hf import KnowledgeBase
ours = KnowledgeBase.from_pretrained({str(saved)!r})
kb = KnowledgeBase.from_pretrained("alice/ships")
assert list(kb) == list(ours) and len(kb) == 8
assert [kb.index.extract(row).tolist() for row in range(8)] == \\
    [ours.index.extract(row).tolist() for row in range(8)]
kb.verify()
maps = open("/proc/self/maps").read()
print(maps.count("/blobs/"), kb.tokenizer.name_or_path != "")
""", token=None)  # fmt: skip
    # The index is memory-mapped in the cache.
    assert int(printed.split()[0]) >= 4


def test_the_index_only(pushed, client) -> None:
    client(
        """
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained("alice/ships", documents=False)
assert len(kb) == 8 and not kb.has_documents
clue = kb.encode("ship is a red")
assert kb.lookup([clue]).tolist() == [0]
kb.constraint()
kb.verify()
try:
    kb[0]
except ValueError as error:
    assert "without its documents" in str(error)
else:
    raise AssertionError
""",
        token=None,
    )
    names = pushed.downloaded()
    assert not any(name.startswith("documents-") for name in names)
    assert sum(name.startswith("shard-") for name in names) == 4


def test_some_shards(pushed, client, saved) -> None:
    client(
        f"""
from gemkr_hf import KnowledgeBase
whole = KnowledgeBase.from_pretrained({str(saved)!r})
kb = KnowledgeBase.from_pretrained("alice/ships", shards=[3, 1])
assert [document["id"] for document in kb] == ["d2", "d3", "d6", "d7"]
assert kb.index.num_shards == 2 and kb.row_of("d6") == 2
assert kb.lookup([whole.encode("keel is a deep")]).tolist() == [2]
assert kb.lookup([whole.encode("ship is a red")]).tolist() == [-1]
kb.verify()
kb.save_pretrained("some")
again = KnowledgeBase.from_pretrained("some")
assert list(again) == list(kb)
again.verify()
""",
        token=None,
    )
    names = pushed.downloaded()
    assert sum(name.startswith("shard-") for name in names) == 2
    assert sum(name.startswith("documents-") for name in names) == 2


def test_shards_that_do_not_exist(saved) -> None:
    with pytest.raises(ValueError, match=r"has 4 shard\(s\), numbered from 0: no shard 4"):
        KnowledgeBase.from_pretrained(saved, shards=[0, 4])
    with pytest.raises(ValueError, match="shards is empty"):
        KnowledgeBase.from_pretrained(saved, shards=[])


def test_further_ids_and_removed_documents_of_some_shards(tokenizer, tmp_path) -> None:
    documents = [{"id": f"d{n}", "text": text} for n, text in enumerate(TEXTS)]
    documents += [{"id": "again", "text": TEXTS[5]}, {"id": "twice", "text": TEXTS[0]}]
    knowledge_base = KnowledgeBase.from_documents(documents, tokenizer, shard_tokens=20).remove(
        ["d4", "d5"]
    )
    knowledge_base.save_pretrained(tmp_path / "kb")
    some = KnowledgeBase.from_pretrained(tmp_path / "kb", shards=[2, 3])
    assert [document["id"] for document in some] == ["again", "d6", "d7"]
    assert len(some) == 3 and some.row_ids() == {"again": 1, "d6": 2, "d7": 3}
    some.save_pretrained(tmp_path / "some")
    again = KnowledgeBase.from_pretrained(tmp_path / "some")
    assert list(again) == list(some)
    again.verify()
    assert list(again.compact()) == list(some)


def test_one_file_of_documents_for_several_shards(saved, tokenizer, tmp_path) -> None:
    """As an earlier version of this library wrote them."""
    from gemkr_hf.knowledge_base.document_tables import write_table
    from gemkr_hf.knowledge_base.storage import read_header, write_header

    KnowledgeBase.from_pretrained(saved).save_pretrained(tmp_path / "kb")
    header = read_header(tmp_path / "kb")
    arrow = KnowledgeBase.from_pretrained(saved).documents.with_format("arrow")[:]
    content = {name: value for name, value in header.items() if not name.startswith("format")}
    content["documents"] = [write_table(arrow, tmp_path / "kb", "documents-00000")]
    write_header(tmp_path / "kb", content)
    some = KnowledgeBase.from_pretrained(tmp_path / "kb", shards=[1, 2])
    assert [document["id"] for document in some] == ["d2", "d3", "d4", "d5"]


def test_only_new_files_are_sent_and_old_ones_deleted(pushed, client, saved) -> None:
    before = set(pushed.files("alice/ships", "dataset"))
    client(
        f"""
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained({str(saved)!r})
kb.add([{{"id": "new", "text": "Another one sinks ."}}]).push_to_hub("alice/ships")
"""
    )
    after = set(pushed.files("alice/ships", "dataset"))
    assert len(pushed.uploaded()) == 2  # a shard and its documents
    new = {name.split("-")[0] for name in after - before}
    assert new == {"documents", "shard"} and before <= after
    pushed.requests.clear()
    client(
        """
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained("alice/ships")
kb.compact().push_to_hub("alice/ships", commit_message="compact")
"""
    )
    compact = set(pushed.files("alice/ships", "dataset"))
    assert sum(name.startswith("shard-") for name in compact) == 1
    assert ".gitattributes" in compact
    # Earlier commits are whole.
    assert set(pushed.files("alice/ships", "dataset", _commit(pushed, 1))) == before
    printed = client(
        f"""
from gemkr_hf import KnowledgeBase
print(len(KnowledgeBase.from_pretrained("alice/ships")), len(
    KnowledgeBase.from_pretrained("alice/ships", revision="{_commit(pushed, 1)}")))
""",
        token=None,
    )
    assert printed.split() == ["9", "8"]


def _commit(hub, number: int) -> str:
    return list(hub.repository("alice/ships", "dataset").commits)[number]


def test_a_branch(pushed, client, saved) -> None:
    client(
        f"""
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained({str(saved)!r})
kb.remove(["d0"]).push_to_hub("alice/ships", revision="fewer")
assert len(KnowledgeBase.from_pretrained("alice/ships")) == 8
assert len(KnowledgeBase.from_pretrained("alice/ships", revision="fewer")) == 7
"""
    )


def test_a_pull_request(pushed, client, saved, hub) -> None:
    """It does not change the branch, and its URL is returned."""
    printed = client(
        f"""
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained({str(saved)!r})
print(kb.remove(["d0"]).push_to_hub("alice/ships", create_pr=True))
assert len(KnowledgeBase.from_pretrained("alice/ships")) == 8
assert len(KnowledgeBase.from_pretrained("alice/ships", revision="refs/pr/1")) == 7
"""
    )
    assert "/discussions/1" in printed


def test_the_documents_are_a_data_set(saved, tmp_path) -> None:
    """The card configures the dataset viewer to read only the documents."""
    card = plan_knowledge_base(saved, "alice/ships").files[0].read().decode()
    assert "data_files: documents-*.parquet" in card
    files = str(saved / "documents-*.parquet")
    table = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert sorted(table["id"]) == [f"d{n}" for n in range(8)]


def test_a_custom_card_is_kept(saved, hub, tmp_path) -> None:
    knowledge_base = KnowledgeBase.from_pretrained(saved)
    knowledge_base.save_pretrained(tmp_path / "kb")
    (tmp_path / "kb" / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    plan = plan_knowledge_base(tmp_path / "kb", "alice/ships", KnowledgeBaseCard(license="gpl-3.0"))
    assert plan.files[0].read().decode().endswith("Mine.\n")
    (tmp_path / "kb" / "notes.docx").write_bytes(b"x")
    assert plan_knowledge_base(tmp_path / "kb", "alice/ships").left_out == ("notes.docx",)


def test_a_second_load_sends_few_requests(pushed, client) -> None:
    client("from gemkr_hf import KnowledgeBase\nKnowledgeBase.from_pretrained('alice/ships')", None)
    first = len(pushed.requests)
    client("from gemkr_hf import KnowledgeBase\nKnowledgeBase.from_pretrained('alice/ships')", None)
    assert len(pushed.requests) - first <= 2  # checks for updates
    assert HfApi(endpoint=pushed.endpoint).repo_info("alice/ships", repo_type="dataset").sha
