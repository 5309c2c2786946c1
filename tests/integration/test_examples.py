"""The example that needs no trained model; tests/slow runs the others."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.project import ROOT, python_path

DOCUMENTS = [
    {"id": "a", "text": "red bees fly over the green hill to the old tree"},
    {"id": "b", "text": "red bees sleep in the old tree"},
    {"id": "c", "text": "the wind moves over the green hill"},
]

HIDDEN = (
    "accelerate", "bm25s", "datasets", "faiss", "joblib", "matplotlib", "pandas", "peft", "pyarrow",
    "pydantic", "ranx", "rich", "scipy", "sentence_transformers", "sklearn", "tabulate",
    "torchvision", "trl", "ultralytics",
)  # fmt: skip
"""Packages that constrained decoding must not need."""


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A random language model, with a tokenizer of whole words."""
    words = sorted({word for document in DOCUMENTS for word in document["text"].split()})
    names = ["<unk>", "</s>", *words]
    backend = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=1, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_language_model_writes_only_what_its_documents_contain(checkpoint, tmp_path) -> None:
    file = tmp_path / "documents.jsonl"
    file.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    script = ROOT / "examples" / "constrained_decoding.py"
    code = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({HIDDEN}))\n"  # as if they were not installed
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    question = "where is the red tree"
    result = subprocess.run(
        [
            *(sys.executable, "-c", code),
            *(str(checkpoint), "--documents", str(file), "--question", question),
        ],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = re.findall(r"^ *(-?\d+\.\d\d)  (\w): '(.*)'$", result.stdout, re.MULTILINE)
    assert len(found) == len(result.stdout.splitlines()) > 1
    scores = [float(score) for score, _, _ in found]
    assert scores == sorted(scores, reverse=True)
    text_of = {document["id"]: f" {document['text']} " for document in DOCUMENTS}
    for _, name, clue in found:
        assert [other for other, text in text_of.items() if f" {clue} " in text] == [name]
