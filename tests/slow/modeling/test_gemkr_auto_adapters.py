"""PEFT's auto class loads an adapter and its base."""

import os
import subprocess
import sys

import pytest
import torch

from gemkr_hf.modeling import GeMKRForRetrieval

peft = pytest.importorskip("peft")


@pytest.fixture
def adapter(tiny, tmp_path):
    """Folder of an adapter, with inputs and the logits that they get."""
    tiny.gemkr().save_pretrained(tmp_path / "base")
    base = GeMKRForRetrieval.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(base, peft.LoraConfig(**base.lora_arguments(r=2))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(0.1)
    inputs = tiny.inputs((2, 0))
    model.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        torch.save({**inputs, "logits": model(**inputs).logits}, tmp_path / "inputs.pt")
    return tmp_path


PROGRAM = """
import sys
if sys.argv[2] == "without":
    sys.modules["gemkr_hf"] = None
else:
    import gemkr_hf.auto
import torch
from peft import AutoPeftModelForCausalLM
folder = sys.argv[1]
options = {"trust_remote_code": True} if sys.argv[2] == "without" else {}
model = AutoPeftModelForCausalLM.from_pretrained(folder + "/adapter", **options).eval()
inputs = torch.load(folder + "/inputs.pt")
logits = inputs.pop("logits")
with torch.no_grad():
    assert torch.equal(model(**inputs).logits, logits)
assert model.generate(**inputs, num_beams=2, max_new_tokens=3).shape[0] == 2
print(type(model.get_base_model()).__module__)
"""


@pytest.mark.parametrize("library", ["with", "without"])
def test_peft_loads_the_adapter_and_its_base(adapter, library):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(adapter), library],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HF_MODULES_CACHE": str(adapter / "modules"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
        cwd=adapter,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1].startswith("gemkr_hf.") == (library == "with")


def test_a_gemkr_as_a_part_is_rejected(tiny, adapter):
    for text in (tiny.gemkr(), adapter / "base"):
        with pytest.raises(ValueError, match="A GeMKR cannot be a part of another"):
            GeMKRForRetrieval.from_pretrained_parts(
                tiny.clip(), text, image_token_id=60, object_token_id=61
            )
