"""Adapters on published parts: the base is a checkpoint by reference."""

import json

import pytest
import torch

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval
from tests.unit.hub.conftest import client_of

SETTINGS = """
import torch
from gemkr_hf.modeling import GeMKRForRetrieval
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPModel
ids = dict(image_token_id=2560, object_token_id=2561)  # beyond the vocabulary: it grows
"""
PARTS = (
    SETTINGS
    + """
CLIPModel.from_pretrained(CHECKPOINTS / "clip").push_to_hub("alice/clip")
AutoModelForCausalLM.from_pretrained(CHECKPOINTS / "language_model").push_to_hub("alice/words")
"""
)
TUNE = (
    SETTINGS
    + """
from pathlib import Path
from peft import LoraConfig, get_peft_model
from gemkr_hf.hub import push_adapter, save_adapter, save_model
from gemkr_hf.toy.stand_ins.assemble import load_processor
from gemkr_hf.training.trainer import save_peft
model = GeMKRForRetrieval.from_pretrained_parts(
    "alice/clip", "alice/words", dtype=torch.float32, **ids
)
assert model.config.base_models["text"]["name"] == "alice/words"
assert len(model.config.base_models["text"]["revision"]) == 40
processor = load_processor()
run = Path("run")
save_model(model, processor, run / "base", by_reference=True)
assert not list((run / "base").glob("model*.safetensors"))
for stage in ("first", "second"):
    adapted = get_peft_model(model, LoraConfig(**model.lora_arguments(r=2)))
    torch.manual_seed(len(stage))
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            weight.data.normal_(std=0.05)
    save_peft(adapted, run / stage)
    model = adapted.merge_and_unload()
save_adapter([run / "first", run / "second"], processor, run / "adapter", "unknown")
push_adapter(run / "adapter", "alice/lora", "alice/base")
with torch.no_grad():
    torch.save(model.eval()(torch.arange(20)[None] + 100).logits, "logits.pt")
"""
)
PULL = """
import torch
from transformers import AutoModel
import gemkr_hf.auto
model = AutoModel.from_pretrained("alice/lora").eval()
with torch.no_grad():
    logits = model(torch.arange(20)[None] + 100).logits
torch.testing.assert_close(logits, torch.load({logits!r}), rtol=1e-4, atol=1e-4)
assert model.loaded_from[0] == "alice/lora"
from importlib.metadata import version
from packaging.version import Version
from transformers.integrations.peft import MIN_PEFT_VERSION
if Version(version("peft")) >= Version(MIN_PEFT_VERSION):
    model.save_pretrained("whole")
    assert model.config.by_reference is False
else:  # transformers 5.24 saves adapters by a PEFT that is not out yet, and says so
    try:
        model.save_pretrained("whole")
    except ValueError as error:
        assert MIN_PEFT_VERSION in str(error)
    else:
        raise AssertionError("transformers saved an adapter by a PEFT that it refuses")
"""


def test_an_adapter_on_parts_by_their_hub_ids(hub, tmp_path) -> None:
    """Two tunings one on top of the other are one adapter, and the merged model's scores."""
    maker = client_of(hub, tmp_path / "maker")
    maker(PARTS)
    maker(TUNE)
    base = hub.files("alice/base")
    assert "model.safetensors" not in base
    assert json.loads(base["config.json"])["by_reference"] is True
    sizes = sum(len(content) for name, content in base.items() if name != "detector.safetensors")
    assert sizes < 600_000
    logits = str(tmp_path / "maker" / "logits.pt")
    client_of(hub, tmp_path / "reader")(PULL.format(logits=logits), token=None)
    # The parts move on; what was tuned on stays what it was.
    maker(
        """
from huggingface_hub import HfApi
HfApi().delete_file("model.safetensors", "alice/words")
"""
    )
    client_of(hub, tmp_path / "late")(PULL.format(logits=logits), token=None)


def test_only_parts_of_the_hub_can_be_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="needs base_models"):
        GeMKRConfig(by_reference=True)
    model = GeMKRForRetrieval(_tiny())
    with pytest.raises(ValueError, match="Only a model that from_pretrained_parts made"):
        model.save_reference(tmp_path)


def test_another_tokenizers_constraint_is_refused() -> None:
    model = GeMKRForRetrieval(_tiny())
    model.config.tokenizer_fingerprint = "a" * 32

    def constraint(ids, scores):
        return scores

    constraint.tokenizer_fingerprint = "b" * 32
    with pytest.raises(ValueError, match="tuned with the tokenizer aaaaaaaa, and the constraint's"):
        model.generate(torch.tensor([[5, 6]]), logits_processor=constraint, max_new_tokens=2)
    constraint.tokenizer_fingerprint = "a" * 32
    model.generate(torch.tensor([[5, 6]]), logits_processor=constraint, max_new_tokens=2)


def test_a_checkpoint_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2, and this code reads versions up to 1"):
        GeMKRConfig(format_version=2)


def _tiny() -> GeMKRConfig:
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    return GeMKRConfig(
        vision_config={
            "model_type": "clip_vision_model", **size, "num_attention_heads": 2,
            "image_size": 8, "patch_size": 4,
        },
        text_config={
            "model_type": "llama", **size, "num_attention_heads": 2, "num_key_value_heads": 2,
            "vocab_size": 32, "max_position_embeddings": 64,
        },
        image_token_id=30,
        object_token_id=31,
    )  # fmt: skip
