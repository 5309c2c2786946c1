"""Fixtures: a stand-in Hub, clients of it, and one with everything from a quickstart."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers.utils import hub as transformers_hub

from tests.project import write_metadata
from tests.unit.hub.hub_stand_in import StandInHub

Client = Callable[..., str]


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with StandInHub() as started:
        yield started


def process_of(hub: StandInHub, folder: Path) -> Client:
    """Return a function that runs Python code in a new process with an empty cache.

    It returns the output, or the last line of the error if ``fails`` is set. ``without_library``
    prevents the import of gemkr_hf.
    """

    def run(
        code: str,
        token: str | None = "hf_test_alice",
        without_library: bool = False,
        fails: bool = False,
        **settings: str,
    ) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        write_metadata(folder)
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


def client_of(hub: StandInHub, folder: Path) -> Client:
    """Return a function that runs Python code in this process with an empty cache.

    It returns the output, or the error if ``fails`` is set. A new process would take seconds to
    import everything, for each of many tests.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def run(
        code: str,
        token: str | None = "hf_test_alice",
        fails: bool = False,
        offline: bool = False,
    ) -> str:
        printed = StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name, value in {
                "ENDPOINT": hub.endpoint,
                "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint
                + "/{repo_id}/resolve/{revision}/{filename}",
                "HF_HUB_CACHE": str(folder / "hub"),
                "HF_HUB_OFFLINE": offline,
                "HF_HUB_DISABLE_XET": True,
                "HF_TOKEN_PATH": str(folder / "token"),
            }.items():
                patch.setattr(constants, name, value)
            patch.setattr(transformers_hub, "_hf_api", None)  # it would ask an earlier test's Hub
            patch.delenv("HF_TOKEN", raising=False)
            if token is not None:
                patch.setenv("HF_TOKEN", token)
            with redirect_stdout(printed):
                if not fails:
                    exec(textwrap.dedent(code), {})
                    return printed.getvalue()
                with pytest.raises(Exception) as error:
                    exec(textwrap.dedent(code), {})
        return f"{error.type.__name__}: {error.value}"

    return run


@pytest.fixture
def client(hub: StandInHub, tmp_path: Path) -> Client:
    return client_of(hub, tmp_path / "client")


@pytest.fixture(scope="session")
def full_hub(short_quickstart: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A stand-in Hub with alice/gemkr, alice/lora on alice/base, and alice/symbols; and a folder
    with inputs and the outputs of these models."""
    folder = tmp_path_factory.mktemp("pushing")
    (folder / "quickstart").symlink_to(short_quickstart)
    with StandInHub() as started:
        process_of(started, folder)(PUSH)
        yield started, folder


PUSH = """
from pathlib import Path
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor
import gemkr_hf.auto
from gemkr_hf import KnowledgeBase
from gemkr_hf.hub import CardSettings, push_adapter, push_model

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
