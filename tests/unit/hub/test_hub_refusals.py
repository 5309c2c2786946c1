"""Exclusion rules of uploads."""

import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from gemkr_hf.hub import PlannedFile, UploadPlan, UploadRefused, upload
from gemkr_hf.hub.exclusion_rules import check_files, reasons
from tests.project import ROOT

TOKEN = "hf_" + "aB3" * 12


def why(name: str, content: bytes) -> str:
    return "; ".join(reasons(PlannedFile(name, content)))


def zipped_pickle() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pytorch_model.bin", b"x", "a pickle"),
        ("model.safetensors", pickle.dumps([1]), "a pickle"),
        ("weights", zipped_pickle(), "a pickle"),
        ("optimizer.pt", b"x", "a training state"),
        ("checkpoint-20/model.safetensors", b"x", "a training state"),
        ("scheduler.safetensors", b"x", "a training state"),
        ("notes.md", f"token: {TOKEN}".encode(), "a Hugging Face token"),
        ("key.txt", b"-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        (
            "config.json",
            b'{"text_config": {"_name_or_path": "/data/llama/7b"}}',
            "'/data/llama/7b'",
        ),
        ("config.json", b'{"path": "C:\\\\models\\\\llama"}', "a local path"),
        ("train.yaml", b"output: /home/ann/runs/okvqa\n", "'/home/ann/runs/okvqa'"),
        ("README.md", str(Path.home() / "x").encode(), "a local path"),
    ],
)
def test_forbidden_files(name, content, reason) -> None:
    assert reason in why(name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"),
        ("tokenizer.json", b'{"vocab": {"/usr/bin/python": 3}}'),
        ("README.md", b"See https://example.org/data/files and `a/data/b`; 3/4 or and/or.\n"),
        ("config.json", b'{"name": "org/model", "prompt": "### Question:\\n/ {question}"}'),
        ("prompt_template.txt", b"{captions} /{objects}\n"),
        ("documents-00000.parquet", b"PAR1 /home/ann/x"),
    ],
)
def test_allowed_files(name, content) -> None:
    assert why(name, content) == ""


def test_this_projects_own_files_pass() -> None:
    root = ROOT
    files = [*root.glob("modeling/*.py"), *root.glob("processing/*.py"), *root.glob("hub_cards/*")]
    check_files(PlannedFile(path.name, path) for path in files)


def test_nothing_is_sent(hub, client, tmp_path) -> None:
    plan = UploadPlan(
        "alice/x", "model", (PlannedFile("a.pkl", b"x"), PlannedFile("b.txt", TOKEN.encode()))
    )
    with pytest.raises(UploadRefused, match=r"a\.pkl \(a pickle.*b\.txt \(contains a Hugging"):
        upload(plan)
    assert not hub.requests
    with pytest.raises(ValueError, match="'x' is not a valid Hub id: write 'owner/name'"):
        upload(UploadPlan("x", "model", ()))
