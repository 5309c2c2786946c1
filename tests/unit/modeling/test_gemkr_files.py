"""Save and load checkpoints, with the library and without it."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    CLIPModel,
    CLIPVisionModel,
)

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2", "opt"])
def test_saved_and_loaded_logits_are_equal(tiny, kind, tmp_path):
    model, inputs = tiny.gemkr(kind), tiny.inputs((2, 0, None))
    model.save_pretrained(tmp_path)
    loaded, report = GeMKRForRetrieval.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys"))
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert loaded.generation_config.eos_token_id == tiny.eos
    assert loaded.config.text_config.vocab_size == 62
    assert loaded.language_model.config is loaded.config.text_config


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attn_implementation(tiny, attention, tmp_path):
    tiny.gemkr().save_pretrained(tmp_path)
    model = GeMKRForRetrieval.from_pretrained(tmp_path, attn_implementation=attention)
    assert model.language_model.config._attn_implementation == attention
    assert model.vision_tower.config._attn_implementation == attention


@pytest.mark.parametrize(
    "switches",
    [
        {"use_prefix": False},
        {"use_object_features": False},
        {"use_dual_flow_attention": False},
        {"use_visual_query": False},
        {"project_objects": False},
    ],
    ids=str,
)
def test_switches_are_saved(tiny, switches, tmp_path):
    model = tiny.gemkr(**switches)
    model.save_pretrained(tmp_path)
    loaded = GeMKRForRetrieval.from_pretrained(tmp_path)
    assert set(loaded.state_dict()) == set(model.state_dict())
    name, value = next(iter(switches.items()))
    assert getattr(loaded.config, name) is value
    words = tiny.inputs((None,))
    with torch.no_grad():
        assert torch.equal(loaded(**words).logits, model(**words).logits)


def test_generation_config_has_no_beam_settings(tiny, tmp_path):
    tiny.gemkr().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert not {"num_beams", "num_beam_groups", "diversity_penalty"} & set(saved)
    config = GeMKRConfig.from_pretrained(tmp_path)
    assert config.decoding["num_beams"] == 20 and config.decoding["num_beam_groups"] == 4


def test_parts_from_folders(tiny, tmp_path):
    """A whole CLIP checkpoint, its vision half, and instances all give the same model."""
    inputs = tiny.inputs((2, 0))
    tiny.clip().save_pretrained(tmp_path / "clip")
    tiny.clip().vision_model.save_pretrained(tmp_path / "vision")
    tiny.language_model(scale=3.0).save_pretrained(tmp_path / "text")
    loads = [
        (tmp_path / "clip", tmp_path / "text"),
        (str(tmp_path / "vision"), str(tmp_path / "text")),
        (CLIPModel.from_pretrained(tmp_path / "clip"), tiny.language_model(scale=3.0)),
        (
            CLIPVisionModel.from_pretrained(tmp_path / "clip"),
            AutoModelForCausalLM.from_pretrained(tmp_path / "text"),
        ),
    ]
    expected = None
    for vision, text in loads:
        torch.manual_seed(7)
        model = GeMKRForRetrieval.from_pretrained_parts(
            vision=vision,
            text=text,
            image_token_id=60,
            object_token_id=61,
            prefix_length=4,
            max_objects=3,
        )
        ours, theirs = model.vision_tower.state_dict(), tiny.clip().vision_model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        original = tiny.language_model(scale=3.0).get_input_embeddings().weight
        assert torch.equal(model.get_input_embeddings().weight[:60], original)
        with torch.no_grad():
            vision_only = model.get_object_features(inputs["object_pixel_values"])
        expected = vision_only if expected is None else expected
        assert torch.equal(vision_only, expected)


def test_parts_in_one_type(tiny, tmp_path):
    """Half-precision checkpoints become what is asked for."""
    tiny.clip().half().save_pretrained(tmp_path / "clip")
    tiny.language_model().half().save_pretrained(tmp_path / "text")
    tokens = {"image_token_id": 60, "object_token_id": 61}
    for wanted, expected in ((torch.float32, torch.float32), (None, torch.float16)):
        model = GeMKRForRetrieval.from_pretrained_parts(
            vision=tmp_path / "clip", text=tmp_path / "text", dtype=wanted, **tokens
        )
        assert {parameter.dtype for parameter in model.parameters()} == {expected}


def test_invalid_parts(tiny, tmp_path):
    tokens = {"image_token_id": 60, "object_token_id": 61}
    tiny.language_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="needs a CLIP or SigLIP"):
        GeMKRForRetrieval.from_pretrained_parts(
            vision=tmp_path, text=tiny.language_model(), **tokens
        )
    with pytest.raises(ValueError, match="not a vision tower"):
        GeMKRForRetrieval.from_pretrained_parts(
            vision=tiny.language_model(), text=tiny.language_model(), **tokens
        )
    with pytest.raises(ValueError, match="not a causal language model"):
        GeMKRForRetrieval.from_pretrained_parts(
            vision=tiny.clip(), text=tiny.clip().vision_model, **tokens
        )


def test_embeddings_are_resized_for_the_slots(tiny):
    model = tiny.gemkr()
    assert model.get_input_embeddings().num_embeddings == 62
    assert model.config.text_config.vocab_size == 62


def run_alone(program, *arguments, scratch, **environment):
    """Run a program that ends with "equal", in a separate folder and environment."""
    (scratch / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=scratch / "elsewhere",
        env={
            "HF_MODULES_CACHE": str(scratch / "modules"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "PATH": "",
            "HOME": str(scratch),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("equal")


REMOTE = """
import sys
sys.modules["gemkr_hf"] = None
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText
folder, again = sys.argv[1:]
inputs = torch.load(folder + "/inputs.pt")
expected = inputs.pop("logits")
clues = inputs.pop("clues")
for auto in (AutoModel, AutoModelForImageTextToText):
    model = auto.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules"), type(model)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, expected)
    assert torch.equal(model.generate(**inputs, num_beams=4, max_new_tokens=4), clues)
model.save_pretrained(again)
model = AutoModel.from_pretrained(again, trust_remote_code=True)
with torch.no_grad():
    assert torch.equal(model(**inputs).logits, expected)
print("equal")
"""


@pytest.mark.slow
def test_remote_code_without_the_library(tiny, tmp_path):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    folder, again = tmp_path / "checkpoint", tmp_path / "again"
    model.save_pretrained(folder)
    with torch.no_grad():
        logits = model(**inputs).logits
    clues = model.generate(**inputs, num_beams=4, max_new_tokens=4)
    torch.save({**inputs, "logits": logits, "clues": clues}, folder / "inputs.pt")
    run_alone(REMOTE, folder, again, scratch=tmp_path)
    files = {path.name for path in folder.glob("*.py")}
    assert files == {path.name for path in again.glob("*.py")}
    assert AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type == "gemkr"


HUB = """
import sys
sys.modules["gemkr_hf"] = None
import torch
from transformers import AutoModel
inputs = torch.load(sys.argv[1])
expected = inputs.pop("logits")
model = AutoModel.from_pretrained("org/gemkr", trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules.org"), type(model)
with torch.no_grad():
    assert torch.equal(model(**inputs).logits, expected)
model.save_pretrained(sys.argv[2])
print("equal")
"""


@pytest.mark.slow
def test_remote_code_by_hub_id(tiny, tmp_path):
    """From the cache of a download, without a network."""
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--org--gemkr"
    model.save_pretrained(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    with torch.no_grad():
        torch.save({**inputs, "logits": model(**inputs).logits}, tmp_path / "inputs.pt")
    run_alone(
        HUB, tmp_path / "inputs.pt", tmp_path / "again", scratch=tmp_path,
        HF_HUB_CACHE=str(tmp_path / "hub"),
    )  # fmt: skip
    saved, again = (
        {path.name for path in folder.iterdir()}
        for folder in (repo / "snapshots" / commit, tmp_path / "again")
    )
    assert saved == again


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_language_model(tiny, tmp_path, bits):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    options = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    config = AutoConfig.for_model(
        "llama", vocab_size=tiny.vocab, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4, pad_token_id=tiny.pad, eos_token_id=tiny.eos,
    )  # fmt: skip
    text, inputs = AutoModelForCausalLM.from_config(config), tiny.inputs((2, 0))
    text.save_pretrained(tmp_path / "text")
    tokens = {"image_token_id": tiny.image, "object_token_id": tiny.object, "prefix_length": 4}
    model = GeMKRForRetrieval.from_pretrained_parts(tiny.clip(), text, max_objects=3, **tokens)
    model.save_pretrained(tmp_path / "whole")
    whole = GeMKRForRetrieval.from_pretrained(tmp_path / "whole", quantization_config=options)
    parts = GeMKRForRetrieval.from_pretrained_parts(
        tiny.clip(),
        tmp_path / "text",
        text_options={"quantization_config": options},
        max_objects=3,
        **tokens,
    )
    for quantized in (whole, parts):
        kinds = {
            name.partition(".")[0]
            for name, module in quantized.named_modules()
            if type(module).__name__ in ("Linear4bit", "Linear8bitLt")
        }
        assert kinds == {"language_model"}
        with torch.no_grad():
            assert quantized(**inputs).logits.isfinite().all()
        assert quantized.generate(**inputs, num_beams=2, max_new_tokens=3).shape[0] == 2
    with torch.no_grad():
        ours, exact = whole(**inputs).logits, model(**inputs).logits
    # Rounded, and still the same model.
    assert torch.nn.functional.cosine_similarity(ours.flatten(), exact.flatten(), dim=0) > 0.8


VISUAL = ("vision_tower", "prefix", "object_projection", "alignment")


@pytest.mark.parametrize(
    "device_map",
    [
        "auto",
        {"": "cpu"},
        {**dict.fromkeys(VISUAL, "cpu"), "language_model": "disk"},
        {**dict.fromkeys(VISUAL, "disk"), "language_model": "cpu"},
    ],
    ids=["auto", "cpu", "language model on disk", "visual parts on disk"],
)
def test_device_maps(tiny, tmp_path, device_map):
    model, inputs = tiny.gemkr(), tiny.inputs((2, 0))
    model.save_pretrained(tmp_path)
    loaded = GeMKRForRetrieval.from_pretrained(
        tmp_path, device_map=device_map, offload_folder=tmp_path / "offload"
    )
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    expected = model.generate(**inputs, num_beams=4, max_new_tokens=4)
    assert torch.equal(loaded.generate(**inputs, num_beams=4, max_new_tokens=4), expected)
