"""A Space, run as the Hub runs it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gemkr_hf.demo.space_repository import SpaceSettings, plan_space
from tests.unit.hub.conftest import client_of

QUESTION = "What does the sign in the picture mean?"


@contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """The address of an app.py that is running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=folder,
            env={**environment, "GRADIO_SERVER_PORT": str(port), "NO_PROXY": "127.0.0.1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()[-4000:]
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def test_a_space_answers_like_the_retriever(
    full_hub, short_quickstart, retriever, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("gradio")
    from gradio_client import Client, handle_file

    hub, _ = full_hub
    client_of(hub, tmp_path / "pusher")(f"""
    from gemkr_hf.cli import app
    from typer.testing import CliRunner
    result = CliRunner().invoke(app, [
        "push", "space", "alice/ask", "--model", "alice/gemkr", "--knowledge-base", "alice/symbols",
        "--examples", {str(short_quickstart / "examples")!r},
    ])
    assert result.exit_code == 0, result.output
    """)
    folder = tmp_path / "space"
    for name, content in hub.files("alice/ask", "space").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    settings = SpaceSettings("alice/gemkr", "alice/symbols")
    assert {file.path for file in plan_space("alice/ask", settings).files} <= {
        str(path.relative_to(folder)) for path in folder.rglob("*")
    }
    image = short_quickstart / "examples" / "scene-1.png"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served(folder, {**os.environ, **hub.environment(tmp_path, token=None)}) as address:
        client = Client(address, verbose=False, analytics_enabled=False)
        found = client.predict(
            image=handle_file(str(image)), question=QUESTION, k=3, api_name="/retrieve"
        )
    hits = retriever.retrieve(image, QUESTION, k=3)
    assert [hit["id"] for hit in found] == [hit.document["id"] for hit in hits]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in hits], abs=1e-4)
