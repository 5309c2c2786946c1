"""Upload in one process, download in another: identical answers."""

import re
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.unit.hub.conftest import process_of

PULL = """
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor
processor = AutoProcessor.from_pretrained("{name}", trust_remote_code=True)
folder = "{folder}"
inputs = load_file(folder + "/inputs.safetensors")
expected = load_file(folder + "/answers-{answers}.safetensors")
images = [folder + f"/quickstart/examples/scene-{{n}}.png" for n in (1, 2)]
again = processor(
    images=images, text=["What does the sign mean?", "What is it used for?"], return_tensors="pt"
)
for name, tensor in inputs.items():
    assert torch.equal(again[name], tensor), name
for auto in (AutoModel, AutoModelForImageTextToText):
    model = auto.from_pretrained("{name}", trust_remote_code=True).eval()
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, expected["logits"])
assert torch.equal(model.generate(**inputs, num_beams=4, max_new_tokens=6), expected["free"])
print(type(model).__module__, type(processor.detector).__name__)
"""
WITH_LIBRARY = """
from gemkr_hf import KnowledgeBase
kb = KnowledgeBase.from_pretrained("alice/symbols")
clues = model.generate(**inputs, logits_processor=kb.constraint(), num_beams=4)
assert torch.equal(clues, expected["clues"])
"""
PUSHED = [("alice/gemkr", "model"), ("alice/lora", "adapter")]


@pytest.mark.parametrize(("name", "answers"), PUSHED)
def test_without_the_library(full_hub, tmp_path, name, answers) -> None:
    hub, folder = full_hub
    code = PULL.format(name=name, answers=answers, folder=folder)
    printed = process_of(hub, tmp_path)(code, token=None, without_library=True)
    assert printed.startswith("transformers_modules.")
    assert printed.split()[1] == "YoloDetector"


@pytest.mark.parametrize(("name", "answers"), PUSHED)
def test_with_the_library(full_hub, tmp_path, name, answers) -> None:
    hub, folder = full_hub
    code = PULL.format(name=name, answers=answers, folder=folder)
    printed = process_of(hub, tmp_path)(code + WITH_LIBRARY, token=None)
    assert "YoloDetector" in printed


@pytest.mark.parametrize(
    ("name", "first"), [("alice/gemkr", "import gemkr_hf.auto"), ("alice/lora", "")]
)
def test_the_pipeline(full_hub, tmp_path, first, name) -> None:
    """From the Hub ids alone, and with the library's own class where it is imported."""
    hub, folder = full_hub
    trust = "" if first else ", trust_remote_code=True"
    code = f"""{first}
from transformers import pipeline
ask = pipeline("knowledge-retrieval", model="{name}", knowledge_base="alice/symbols"{trust})
image = "{folder}/quickstart/examples/scene-1.png"
question = "What does the sign in the picture mean?"
found = ask(image, question, k=3)
assert len({{hit["row"] for hit in found}}) == 3
assert found[0]["score"] >= found[1]["score"] and found[0]["clues"][0]["text"]
assert set(found[0]["document"]) >= {{"id", "text"}}
several = ask([{{"image": image, "question": question}}] * 3, k=1, batch_size=2)
assert [hits[0]["row"] for hits in several] == [found[0]["row"]] * 3
lazily = ask(({{"image": image, "question": question}} for _ in range(2)), k=1)
assert next(lazily)[0]["row"] == found[0]["row"]
assert len(ask(None, [question, question], k=1)) == 2
print(type(ask).__module__)
"""
    printed = process_of(hub, tmp_path)(code, token=None)
    assert printed.startswith("gemkr_hf." if first else "transformers_modules.")


def test_the_pipeline_reports_what_is_missing(full_hub, tmp_path) -> None:
    hub, _ = full_hub
    code = """
from transformers import pipeline
pipeline("knowledge-retrieval", model="alice/gemkr", trust_remote_code=True{more})
"""
    last = process_of(hub, tmp_path)(code.format(more=""), fails=True)
    assert 'pass knowledge_base="org/documents"' in last
    last = process_of(hub, tmp_path)(
        code.format(more=", knowledge_base='a/b'"), without_library=True, fails=True
    )
    assert "pip install gemkr-hf" in last


def test_the_docs_quickstart_from_the_hub(full_hub, tmp_path, short_quickstart) -> None:
    """Five lines, in a fresh process with a fresh cache."""
    hub, _ = full_hub
    text = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
    block = re.search(r"In a fresh process.*?```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in block.splitlines() if line.strip()]) == 5
    (tmp_path / "photo.jpg").write_bytes(
        (short_quickstart / "examples" / "scene-1.png").read_bytes()
    )
    for name, ours in (("org/gemkr-symbols", "alice/gemkr"), ("org/symbols", "alice/symbols")):
        assert f'"{name}"' in block
        block = block.replace(f'"{name}"', f'"{ours}"')
    printed = process_of(hub, tmp_path)(block, token=None)
    assert len(printed.splitlines()) == 5


def test_the_code_of_the_cards_runs(full_hub, tmp_path) -> None:
    hub, folder = full_hub
    code = []
    for name, repo_type, blocks in (
        ("alice/gemkr", "model", 2), ("alice/lora", "model", 3), ("alice/symbols", "dataset", 3)
    ):  # fmt: skip
        card = hub.files(name, repo_type)["README.md"].decode()
        found = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        assert len(found) == blocks
        code += found
    image = Path(folder, "quickstart/examples/scene-1.png").read_bytes()
    (tmp_path / "image.png").write_bytes(image)
    process_of(hub, tmp_path)("\n".join(code), token=None)


def test_an_adapter_file_contains_only_its_tensors(full_hub) -> None:
    from safetensors.torch import load

    hub, _ = full_hub
    files = hub.files("alice/lora")
    content = files["adapter_model.safetensors"]
    tensors = load(content)
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert len(content) <= 1.01 * size
    kinds = {name.split(".")[2] for name in tensors}
    assert kinds == {"language_model", "prefix", "object_projection", "alignment"}
    assert all("lora_" in name for name in tensors if ".language_model." in name)
    assert "model.safetensors" not in files
    assert {"processor_config.json", "tokenizer.json", "processing_gemkr.py"} <= set(files)


def test_files_of_a_checkpoint(full_hub) -> None:
    hub, _ = full_hub
    names = set(hub.files("alice/gemkr"))
    assert names >= {
        "model.safetensors", "config.json", "generation_config.json", "prompt_template.txt",
        "detector.safetensors", "detector.json", "tokenizer.json", "processor_config.json",
        "modeling_gemkr.py", "processing_gemkr.py", "pipeline_gemkr.py", "generation_gemkr.py",
        "training.json", "README.md", "curves.png",
    }  # fmt: skip
    kinds = {Path(name).suffix for name in names if not name.startswith(".git")}
    assert kinds <= {".safetensors", ".json", ".py", ".txt", ".md", ".yaml", ".png"}
    assert len(hub.repository("alice/gemkr").messages) == 2  # the Hub's own, and one commit
