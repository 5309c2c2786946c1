"""A stand-in Hub with all that a quickstart makes, pushed by a process of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.hub.hub_stand_in import StandInHub

ROOT = Path(__file__).parents[2]
Client = Callable[..., str]


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with StandInHub() as started:
        yield started


def make_client(hub: StandInHub, folder: Path) -> Client:
    """What a Python program prints that runs in a process with a fresh cache.

    ``without_library`` keeps it from importing gemkr_hf; ``fails`` expects an error, and gives its
    last line.
    """

    def run(
        code: str,
        token: str | None = "hf_test_alice",
        without_library: bool = False,
        fails: bool = False,
        **settings: str,
    ) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        if without_library:
            code = "import sys\nsys.modules['gemkr_hf'] = None\n" + code
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**hub.environment(folder, token), **threads, **settings},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode != 0) == fails, done.stderr[-4000:]
        return done.stderr.strip().splitlines()[-1] if fails else done.stdout

    return run


@pytest.fixture
def client(hub: StandInHub, tmp_path: Path) -> Client:
    return make_client(hub, tmp_path / "client")


@pytest.fixture(scope="session")
def full_hub(short_quickstart: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A stand-in Hub with alice/gemkr, alice/lora on alice/base, and alice/symbols; and the folder
    with inputs and the answers of the models that were pushed."""
    folder = tmp_path_factory.mktemp("pushing")
    (folder / "quickstart").symlink_to(short_quickstart)
    with StandInHub() as started:
        make_client(started, folder)(PUSH)
        yield started, folder


PUSH = """
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor
import gemkr_hf.auto
from gemkr_hf import KnowledgeBase
from gemkr_hf.checkpoints import CardSettings, push_adapter, push_model

card = CardSettings(knowledge_base="alice/symbols", language="en")
run = Path("quickstart")
kb = KnowledgeBase.from_pretrained(run / "knowledge_base")
kb.push_to_hub("alice/symbols", license="apache-2.0", source="Made for tests.", model="alice/gemkr")
push_model(run / "model", "alice/gemkr", card)
push_adapter(run / "training", "alice/lora", "alice/base", card)

processor = AutoProcessor.from_pretrained(run / "model")
inputs = processor(
    images=[str(run / "examples" / f"scene-{n}.png") for n in (1, 2)],
    text=["What does the sign mean?", "What is it used for?"],
    return_tensors="pt",
)
save_file(dict(inputs), "inputs.safetensors")
for name in ("model", "training/adapter"):
    model = AutoModel.from_pretrained(run / name).eval()
    with torch.no_grad():
        answers = {"logits": model(**inputs).logits}
    answers["clues"] = model.generate(**inputs, logits_processor=kb.constraint(), num_beams=4)
    answers["free"] = model.generate(**inputs, num_beams=4, max_new_tokens=6)
    save_file(answers, f"answers-{name.split('/')[-1]}.safetensors")
"""
