"""Local paths and Hub ids."""

from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from gemkr_hf.utils.hub_ids import (
    check_repo_id,
    is_local,
    is_repo_id,
    portable_name,
    resolve_source,
    split_hub_options,
)

NAMES = [
    "org/model", "gpt2", "Org-1/my_model.v2", "a" * 96, "./model", "../model", "~/model", "/model",
    "a/b/c", "a//b", "a--b", "a..b", "org/model.git", "-a", "a-", "org/.model", "a" * 97, "",
    "two words", "a\\b", "café", "a:b", "org/", "/",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_valid_where_huggingface_hub_says_so(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        assert not is_repo_id(name, bare_ids=True)
    else:  # huggingface_hub 1 accepts letters that the Hub refuses
        assert is_repo_id(name, bare_ids=True) == name.isascii()


def test_ids_without_an_owner() -> None:
    assert is_repo_id("org/model")
    assert not is_repo_id("gpt2")
    assert is_local("gpt2")
    assert not is_local("gpt2", bare_ids=True)


def test_existing_and_impossible_names_are_local(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_local("org/model")
    Path("org/model").mkdir(parents=True)
    assert is_local("org/model")
    assert is_local(Path("org/other"))
    assert is_local("./other")
    assert is_local("runs/first/model")
    assert not is_local("org/data.csv")
    assert is_local("org/data.csv", file_suffixes=(".csv",))
    assert is_local("model", base="org", bare_ids=True)


def test_a_source_is_a_path_or_an_id(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_source("runs/kb", "Knowledge base") == "runs/kb"
    Path("runs").mkdir()
    assert resolve_source("runs/kb", "Knowledge base") == "runs/kb"
    with pytest.raises(FileNotFoundError, match=r"'runs/kb' \(.*there is a local folder 'runs'\)$"):
        resolve_source("runs/kb", "Knowledge base", early=True)
    with pytest.raises(FileNotFoundError, match=r"not found: no local file or folder '/a'$"):
        resolve_source("/a", "Knowledge base")
    Path("runs/kb").mkdir()
    assert resolve_source("kb", "Knowledge base", base="runs") == Path("runs/kb")
    with pytest.raises(FileNotFoundError, match=r"not found in 'runs/kb': header.json is missing$"):
        resolve_source("runs/kb", "Knowledge base", ["header.json"])
    Path("runs/kb/header.json").touch()
    assert resolve_source("runs/kb", "Knowledge base", ["header.json"]) == Path("runs/kb")


def test_ids_for_an_upload(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("org/model").mkdir(parents=True)
    check_repo_id("org/model")
    with pytest.raises(ValueError, match="is a local folder: a Hub id is needed"):
        check_repo_id("org/model", local=False)
    with pytest.raises(ValueError, match="'model' is not a valid Hub id: write 'owner/name'"):
        check_repo_id("model")
    with pytest.raises(ValueError, match="'a/b/c' is not a valid Hub id"):
        check_repo_id("a/b/c")


def test_names_to_publish_hold_no_path(tmp_path) -> None:
    assert portable_name(tmp_path / "model") == "model"
    assert portable_name(str(tmp_path / "model")) == "model"
    assert portable_name("org/model") == "org/model"
    assert portable_name("gpt2") == "gpt2"


def test_options_of_a_download() -> None:
    hub, others = split_hub_options({"revision": "v1", "token": None, "cache_dir": "c", "dtype": 1})
    assert hub == {"revision": "v1", "cache_dir": "c"}
    assert others == {"dtype": 1}
