"""Failures of uploads and downloads, and their messages."""

import signal
import subprocess
import sys

import pytest

from tests.unit.hub.conftest import client_of

LOAD = """
from gemkr_hf import GeMKRRetriever
GeMKRRetriever.from_pretrained({name!r}, knowledge_base={kb!r}, **{options})
"""
KNOWLEDGE_BASE = """
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained({name!r}, **{options})
print(len(kb))
"""


def load(name="alice/gemkr", kb="alice/symbols", options=None) -> str:
    return LOAD.format(name=name, kb=kb, options=options or {})


def load_kb(name="alice/symbols", **options) -> str:
    return KNOWLEDGE_BASE.format(name=name, options=options)


@pytest.fixture
def own_hub(hub, short_quickstart, client):
    """A Hub that a test may damage, with a knowledge base and a checkpoint."""
    folder = str(short_quickstart / "knowledge_base")
    client(
        f"""
from gemkr_hf import KnowledgeBase
from gemkr_hf.hub import push_model
KnowledgeBase.from_pretrained({folder!r}).push_to_hub("alice/symbols")
push_model({str(short_quickstart / "model")!r}, "alice/gemkr")
"""
    )
    hub.requests.clear()
    return hub


def test_a_killed_upload_resumes(hub, client, short_quickstart, tmp_path) -> None:
    """The repository is unchanged, and the same call sends only the missing files."""
    command = [
        sys.executable, "-m", "gemkr_hf.cli", "push", "model", str(short_quickstart / "model"),
        "alice/gemkr",
    ]  # fmt: skip
    environment = hub.environment(tmp_path)
    hub.hold_uploads_after(1)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert hub.uploads_held.wait(120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.release()
    assert set(hub.files("alice/gemkr")) == {".gitattributes"}
    first = len(hub.uploaded())
    assert first >= 1
    hub.requests.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in hub.files("alice/gemkr")
    large = [name for name in hub.files("alice/gemkr") if name.endswith((".safetensors", ".png"))]
    assert len(hub.uploaded()) == len(large) - first
    hub.requests.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not hub.uploaded()
    assert len(hub.repository("alice/gemkr").messages) == 2


def test_the_hub_fails_during_an_upload(hub, client, short_quickstart) -> None:
    code = f"""
from gemkr_hf.hub import push_model
push_model({str(short_quickstart / "model")!r}, "alice/gemkr")
"""
    hub.is_down = True
    last = client(code, fails=True)
    assert last.startswith("ConnectionError: The Hub failed (HTTP 503)")
    assert "repeat the upload to resume it" in last


def test_a_damaged_knowledge_base_is_detected_and_repaired(own_hub, client) -> None:
    name = next(n for n in own_hub.files("alice/symbols", "dataset") if n.startswith("shard-"))
    own_hub.damage("alice/symbols", name, "dataset")
    last = client(load_kb(), fails=True)
    assert "was changed: its checksum differs from its header" in last
    assert "force_download=True" in last
    own_hub.damaged.clear()
    assert "its checksum" in client(load_kb(), fails=True)
    assert client(load_kb(force_download=True)).split() == ["596"]
    assert client(load_kb()).split() == ["596"]


def test_damaged_weights_are_detected_and_repaired(own_hub, client) -> None:
    own_hub.damage("alice/gemkr", "model.safetensors")
    last = client(load(), fails=True)
    assert "The cached model.safetensors differs from the Hub's" in last
    own_hub.damaged.clear()
    client(load(options={"force_download": True}))
    client(load())


@pytest.mark.parametrize(
    ("repo_id", "repo_type", "start"),
    [("alice/symbols", "dataset", "documents-"), ("alice/gemkr", "model", "detector.safetensors")],
)
def test_a_file_that_is_listed_and_missing(own_hub, client, repo_id, repo_type, start) -> None:
    name = next(n for n in own_hub.files(repo_id, repo_type) if n.startswith(start))
    own_hub.lose(repo_id, name)
    last = client(load(), fails=True)
    assert f"The {repo_type} repository '{repo_id}' lists a file that is missing" in last


def test_a_file_that_was_deleted(own_hub, client) -> None:
    names = own_hub.files("alice/symbols", "dataset")
    name = next(n for n in names if n.startswith("shard-"))
    client(
        f"""
from huggingface_hub import HfApi
HfApi().delete_file({name!r}, "alice/symbols", repo_type="dataset")
HfApi().delete_file("processor_config.json", "alice/gemkr")
"""
    )
    last = client(load_kb(), fails=True)
    assert f"The dataset repository 'alice/symbols' has no file {name}" in last


def test_a_private_repository(hub, client, short_quickstart, tmp_path) -> None:
    folder = str(short_quickstart / "knowledge_base")
    code = f"""
from gemkr_hf import KnowledgeBase
KnowledgeBase.from_pretrained({folder!r}).push_to_hub("alice/secret", private=True)
"""
    client(code)
    assert hub.repository("alice/secret", "dataset").private
    assert client(load_kb("alice/secret")).split() == ["596"]
    without = client_of(hub, tmp_path / "another")
    last = without(load_kb("alice/secret"), token=None, fails=True)
    assert "does not exist or is private: run 'hf auth login', or pass token=" in last
    assert without(load_kb("alice/secret", token="hf_test_alice"), token=None).split() == ["596"]
    # A public repository is not written to.
    hub.repository("alice/secret", "dataset").private = False
    last = client(code, fails=True)
    assert "exists and is public: make it private in its settings" in last


@pytest.mark.parametrize("token", [None, "hf_test_bob"])
def test_tokens_without_write_access(hub, client, short_quickstart, token) -> None:
    hub.tokens["hf_test_bob"] = "bob"
    folder = str(short_quickstart / "knowledge_base")
    code = f"""
from gemkr_hf import KnowledgeBase
KnowledgeBase.from_pretrained({folder!r}).push_to_hub("alice/symbols")
"""
    last = client(code, token=token, fails=True)
    assert last.startswith("PermissionError: No permission to write to the dataset repository")


def test_an_old_revision(own_hub, client) -> None:
    client(
        """
from huggingface_hub import HfApi
api = HfApi()
api.create_tag("alice/gemkr", tag="v1")
api.upload_file(path_or_fileobj=b"broken", path_in_repo="config.json", repo_id="alice/gemkr")
"""
    )
    client(load(options={"revision": "v1"}))
    assert "has no revision 'v2'" in client(load(options={"revision": "v2"}), fails=True)
    assert "has no revision 'v2'" in client(load_kb(revision="v2"), fails=True)


def test_offline_with_a_warm_cache(full_hub, tmp_path) -> None:
    hub, folder = full_hub
    run = client_of(hub, tmp_path)
    ask = """
image = "{folder}/quickstart/examples/scene-1.png"
retriever = GeMKRRetriever.from_pretrained("{name}", knowledge_base="alice/symbols")
print(retriever.retrieve(image, "What does the sign mean?", k=1)[0].document["id"])
"""
    first = "from gemkr_hf import GeMKRRetriever\n"
    code = first + "".join(ask.format(folder=folder, name=n) for n in ("alice/gemkr", "alice/lora"))
    online = run(code, token=None)
    requests = len(hub.requests)
    assert run(code, token=None, offline=True) == online
    assert len(hub.requests) == requests
    # An empty cache raises a clear error.
    last = client_of(hub, tmp_path / "cold")(code, offline=True, fails=True)
    assert "is not, or not completely, cached, and the Hub cannot be reached" in last


def test_names_that_do_not_exist(hub, client) -> None:
    last = client(load_kb("alice/nowhere"), fails=True)
    assert "No local folder 'alice/nowhere' found, and the dataset repository on the Hub" in last
    last = client(load_kb("nowhere"), fails=True)
    assert "Knowledge base not found: no local file or folder 'nowhere'" in last
    load_model = """
    from transformers import AutoModel
    from gemkr_hf.hub import load_checkpoint
    load_checkpoint(AutoModel, {!r})
    """
    last = client(load_model.format("alice/nowhere"), fails=True)
    assert "No local folder 'alice/nowhere' found, and the model repository on the Hub" in last
    last = client(load_model.format("./nowhere"), fails=True)
    assert "Checkpoint not found: no local file or folder './nowhere'" in last


def test_two_processes_at_once(full_hub, tmp_path) -> None:
    """They fill one cache, and both load complete files."""
    hub, _ = full_hub
    code = load() + "print('loaded')"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**hub.environment(tmp_path, None), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(2)
    ]
    for process in processes:
        printed, said = process.communicate(timeout=300)
        assert printed.strip() == "loaded", said[-2000:]
