import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from gemkr_hf.knowledge_base import (
    KnowledgeBase,
    encode_documents,
    tokenizer_fingerprint,
)
from gemkr_hf.knowledge_base import (
    hub_repository as hub,
)
from gemkr_hf.knowledge_base import (
    storage as files,
)
from gemkr_hf.knowledge_base.document_tables import write_table
from gemkr_hf.knowledge_base.storage import HEADER_FILE
from gemkr_hf.utils.io import write_json_header
from tests.unit.knowledge_base.knowledge_base_parts import DIFFERENT, DOCUMENTS, word_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


@pytest.fixture(scope="module")
def knowledge_base(tokenizer: PreTrainedTokenizerFast) -> KnowledgeBase:
    return KnowledgeBase.from_documents(DOCUMENTS, tokenizer)


@pytest.fixture
def saved(knowledge_base: KnowledgeBase, tmp_path: Path) -> Path:
    knowledge_base.save_pretrained(tmp_path / "kb")
    return tmp_path / "kb"


def clue(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_clues_lead_to_their_documents(knowledge_base, tokenizer) -> None:
    texts = [
        " ship in its place at",
        " anchor holds it",
        " turns another",
        " in its place",
        " moon",
    ]
    rows = knowledge_base.lookup([clue(tokenizer, text) for text in texts])
    assert rows.dtype == np.int64
    assert rows.tolist() == [0, 3, 1, -1, -1]
    assert knowledge_base[rows[1]] == DOCUMENTS[4]


def test_sequence_protocol(knowledge_base) -> None:
    assert len(knowledge_base) == 4
    assert list(knowledge_base) == DIFFERENT
    for row in (-1, 4):
        with pytest.raises(IndexError, match=f"No document {row}"):
            knowledge_base[row]


def test_index_contains_the_documents_tokens(knowledge_base, tokenizer) -> None:
    expected = encode_documents([document["text"] for document in DIFFERENT], tokenizer)
    assert [knowledge_base.index.extract(row).tolist() for row in range(4)] == expected
    assert knowledge_base.index.vocab_size == len(tokenizer)


@pytest.mark.parametrize("form", [iter, Dataset.from_list], ids=["iterator", "Dataset"])
def test_sources_of_documents(form, knowledge_base, tokenizer) -> None:
    other = KnowledgeBase.from_documents(form(DOCUMENTS), tokenizer)
    assert list(other) == DIFFERENT
    assert other.index.num_tokens == knowledge_base.index.num_tokens


def test_a_column_that_some_documents_lack(tokenizer) -> None:
    documents = [{"id": 1, "text": "a"}, {"id": 2, "text": "b", "title": "B"}]
    loaded = KnowledgeBase.from_documents(documents, tokenizer)
    assert [document["title"] for document in loaded] == [None, "B"]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "at least one document"),
        ([{"id": 1}], "needs the column 'text'"),
        ([{"text": "a"}], "needs the column 'id'"),
        ([{"id": 1, "text": "a"}, {"id": 2, "text": None}], r"document 1 \(id 2\) is None"),
        ([{"id": 1, "text": 5}], "not a string"),
        ([{"id": "x", "text": "a"}, {"id": "x", "text": "b"}], "'x' occurs twice"),
        ([{"id": None, "text": "a"}], "Document 0 has no id"),
        (["a text"], "must be records"),
        ([{"id": 1, "text": "a"}, {"id": "b", "text": "b"}], "must be records"),
    ],
)
def test_bad_documents(documents, message, tokenizer) -> None:
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.from_documents(documents, tokenizer)


def test_save_and_load(saved, knowledge_base, tokenizer) -> None:
    loaded = KnowledgeBase.from_pretrained(saved, tokenizer)
    assert list(loaded) == DIFFERENT
    assert loaded.tokenizer_identity == knowledge_base.tokenizer_identity
    clues = [clue(tokenizer, " ship in its place at")]
    assert loaded.lookup(clues).tolist() == [0]
    assert list(loaded.constraint().rules.eos_token_ids) == [tokenizer.eos_token_id]
    header = json.loads((saved / HEADER_FILE).read_text())
    assert header["format_version"] == 3
    on_disk = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert files.named_files(header) | {HEADER_FILE} == on_disk


def test_saving_over_an_older_one(saved, tokenizer) -> None:
    loaded = KnowledgeBase.from_pretrained(saved)
    KnowledgeBase.from_documents(DOCUMENTS[:2], tokenizer).save_pretrained(saved)
    assert len(KnowledgeBase.from_pretrained(saved)) == 2
    # An index loaded earlier still answers, and can be saved where it came from.
    assert loaded.index.extract(0).tolist()
    loaded.save_pretrained(saved)
    assert len(KnowledgeBase.from_pretrained(saved)) == 4
    assert [path.name for path in saved.parent.iterdir()] == ["kb"]


def test_saving_over_other_content(knowledge_base, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(ValueError, match="not a knowledge base"):
        knowledge_base.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        knowledge_base.save_pretrained(tmp_path / "thesis.txt")


def test_a_failed_save_leaves_nothing(knowledge_base, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "write_json_header", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        knowledge_base.save_pretrained(tmp_path / "kb")
    assert list(tmp_path.iterdir()) == []


def test_no_local_path_is_saved(tokenizer, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path / "words")
    local = PreTrainedTokenizerFast.from_pretrained(tmp_path / "words")
    KnowledgeBase.from_documents(DOCUMENTS, local).save_pretrained(tmp_path / "kb")
    assert '"name": "words"' in (tmp_path / "kb" / HEADER_FILE).read_text()
    for path in (tmp_path / "kb").rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()


def test_another_tokenizer(saved, knowledge_base) -> None:
    other = word_tokenizer(["something else entirely"])
    with pytest.raises(ValueError, match="was built with the tokenizer"):
        knowledge_base.check_tokenizer(other)
    with pytest.raises(ValueError, match="rebuild it"):
        KnowledgeBase.from_pretrained(saved, other)


@pytest.mark.parametrize("kind", ["documents-", "duplicates-", "shard-", "tokenizer-"])
def test_broken_files(saved, kind) -> None:
    path = next(path for path in sorted(saved.rglob("*")) if path.is_file() and kind in str(path))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path.name}' was changed"):
        KnowledgeBase.from_pretrained(saved)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=f"{path.name}' is truncated"):
        KnowledgeBase.from_pretrained(saved)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name}' is missing"):
        KnowledgeBase.from_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(format_version=4), "format version 4"),
        (lambda header: header.update(format="other"), "not a header of a knowledge base"),
        (lambda header: header.update(num_documents=5), "belong to two knowledge bases"),
        (lambda header: header.pop("tokenizer"), "it has no tokenizer"),
        (lambda header: header.pop("documents"), "names no documents"),
        (lambda header: header.pop("index"), "names no documents"),
        (
            lambda header: header["documents"][0].update(file="../x"),
            "names '../x' instead of a file",
        ),
        (lambda header: header["tokenizer_files"].update({"/x": {}}), "it names '/x'"),
    ],
)
def test_broken_header(saved, change, message) -> None:
    header = json.loads((saved / HEADER_FILE).read_text())
    change(header)
    write_json_header(saved / HEADER_FILE, header)
    with pytest.raises(ValueError, match=message):
        KnowledgeBase.from_pretrained(saved)


@pytest.mark.parametrize("name", ["../victim.txt", "{folder}/victim.txt", "..", ".", "", None, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda header, record: header.update(documents=[record]),
        lambda header, record: header.update(duplicates=record),
        lambda header, record: header["index"].update(shards=[record]),
        lambda header, record: header["index"]["shards"][0].update(removed=record),
    ],
    ids=["documents", "duplicates", "shard", "removed"],
)
def test_no_header_reaches_out_of_its_folder(saved, tokenizer, change, name) -> None:
    """Neither loading nor saving over it reads or deletes a file elsewhere."""
    victim = saved.parent / "victim.txt"
    victim.write_text("precious")
    header = json.loads((saved / HEADER_FILE).read_text())
    if isinstance(name, str):
        name = name.format(folder=victim.parent)
    counts = {"num_rows": 1, "bytes": 8, "num_documents": 1, "num_tokens": 1}
    change(header, {"file": name, **counts})
    write_json_header(saved / HEADER_FILE, header)
    with pytest.raises(ValueError, match="instead of a file in its folder"):
        KnowledgeBase.from_pretrained(saved)
    new = KnowledgeBase.from_documents([{"id": 1, "text": "a"}], tokenizer)
    new.save_pretrained(saved)
    KnowledgeBase.build([{"id": 1, "text": "b"}], tokenizer, saved)
    assert victim.read_text() == "precious"


def test_folders_without_a_knowledge_base(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hub, "download_files", lambda *args, **kwargs: pytest.fail("downloaded"))
    with pytest.raises(FileNotFoundError, match=r"knowledge_base\.json is missing"):
        KnowledgeBase.from_pretrained(tmp_path)
    for missing in (tmp_path / "nowhere", "./nowhere", "a/b/c", "/nowhere", "~/kb"):
        with pytest.raises(FileNotFoundError, match="no local file or folder"):
            KnowledgeBase.from_pretrained(missing)


def test_index_and_documents_of_two_knowledge_bases(saved, tokenizer, tmp_path) -> None:
    other = KnowledgeBase.from_documents(
        [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}], tokenizer
    )
    other.save_pretrained(tmp_path / "other")
    header = json.loads((saved / HEADER_FILE).read_text())
    strange = json.loads((tmp_path / "other" / HEADER_FILE).read_text())
    header["index"] = strange["index"]
    write_json_header(saved / HEADER_FILE, header)
    for record in strange["index"]["shards"]:
        shutil.copy(tmp_path / "other" / record["file"], saved)
    with pytest.raises(ValueError, match="belong to two knowledge bases"):
        KnowledgeBase.from_pretrained(saved)


def test_the_tokenizer_is_loaded_with_it(saved, tokenizer) -> None:
    loaded = KnowledgeBase.from_pretrained(saved)
    assert loaded.tokenizer("a ship")["input_ids"] == tokenizer("a ship")["input_ids"]
    assert tokenizer_fingerprint(loaded.tokenizer) == loaded.tokenizer_fingerprint


def test_verify(saved, tmp_path) -> None:
    KnowledgeBase.from_pretrained(saved).verify()
    # A replaced document, with a matching header.
    loaded = KnowledgeBase.from_pretrained(saved)
    table = loaded.documents.with_format("arrow")[:]
    texts = ["A " + text for text in table.column("text").to_pylist()]
    table = table.set_column(table.column_names.index("text"), "text", [texts])
    header = json.loads((saved / HEADER_FILE).read_text())
    header["documents"] = [write_table(table, saved, "documents-00000")]
    write_json_header(saved / HEADER_FILE, header)
    with pytest.raises(ValueError, match="differs from the index"):
        KnowledgeBase.from_pretrained(saved).verify()
    header["documents"][0]["sha256"] = "0"
    write_json_header(saved / HEADER_FILE, header)
    with pytest.raises(ValueError, match="was changed"):
        KnowledgeBase.from_pretrained(saved, verify=False).verify()


def test_the_old_name_of_the_strategies() -> None:
    import gemkr_hf.knowledge_base as package

    with pytest.warns(FutureWarning, match="use 'gemkr_hf.knowledge_base.CONSTRAINT_STRATEGIES'"):
        assert package.CONSTRAINED == package.CONSTRAINT_STRATEGIES
