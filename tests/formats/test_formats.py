"""What each format version of the package wrote still loads."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoProcessor

import gemkr_hf.auto  # noqa: F401
from gemkr_hf import KnowledgeBase
from gemkr_hf.knowledge_base.storage import FORMAT_VERSION as KNOWLEDGE_BASE
from gemkr_hf.modeling.configuration_gemkr import FORMAT_VERSION as CHECKPOINT
from tests.formats.make_formats import PROMPT

FOLDER = Path(__file__).parent


def kept(kind: str) -> list[Path]:
    return sorted(FOLDER.glob(f"{kind}-*"))


def test_the_present_versions_are_kept() -> None:
    """Whoever raises a version runs make_formats, and leaves the older folders."""
    assert FOLDER / f"checkpoint-{CHECKPOINT}" in kept("checkpoint")
    assert FOLDER / f"knowledge_base-{KNOWLEDGE_BASE}" in kept("knowledge_base")


@pytest.mark.parametrize("folder", kept("checkpoint"), ids=lambda folder: folder.name)
def test_checkpoints_and_adapters(folder) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    assert processor(text="A ship?", return_tensors="pt")["input_ids"].shape[0] == 1
    with torch.no_grad():
        logits = model(PROMPT).logits[0, -1, :8]
    torch.testing.assert_close(logits, torch.tensor(expected["checkpoint"]), rtol=1e-4, atol=1e-5)
    adapter = FOLDER / folder.name.replace("checkpoint", "adapter")
    adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        logits = adapted(PROMPT).logits[0, -1, :8]
    torch.testing.assert_close(logits, torch.tensor(expected["adapter"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("folder", kept("knowledge_base"), ids=lambda folder: folder.name)
def test_knowledge_bases(folder) -> None:
    kb = KnowledgeBase.from_pretrained(folder)
    assert [document["id"] for document in kb] == ["anchor", "again", "empty", "ship"]
    kb.verify()
    row = kb.lookup([kb.encode("anchor holds a ship")])[0]
    assert kb[int(row)]["id"] == "anchor"
    assert len(kb.add([{"id": "new", "text": "A gear sails."}])) == 5
