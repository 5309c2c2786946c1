"""Tiny parts of a processor."""

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gemkr_hf.processing import Object
from gemkr_hf.processing.detection_gemkr import detection_model

QUESTION = "What sport can you use this for?"


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([QUESTION, " a clue about sport"] * 5, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
    )


def make_image(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


class FixedDetector:
    """Returns fixed objects, and counts its calls."""

    def __init__(self, found: list[Object]) -> None:
        self.found, self.calls = found, 0

    def detect(self, images: list[Image.Image]) -> list[list[Object]]:
        self.calls += 1
        return [list(self.found) for _ in images]


def make_yolo(seed: int = 0) -> torch.nn.Module:
    """A YOLOv8 of a few channels whose random weights find many objects."""
    architecture = {
        "nc": 2,
        "scales": {"n": [0.33, 0.05, 1024]},
        "scale": "n",
        "backbone": [
            [-1, 1, "Conv", [64, 3, 2]],
            [-1, 1, "Conv", [128, 3, 2]],
            [-1, 1, "C2f", [128, True]],
            [-1, 1, "Conv", [256, 3, 2]],
            [-1, 1, "Conv", [256, 3, 2]],
        ],
        "head": [[[3, 4], 1, "Detect", ["nc"]]],
    }
    torch.manual_seed(seed)
    model = detection_model(architecture)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.1, 0.5)
            module.running_mean.uniform_(-0.3, 0.3)
            module.weight.data.uniform_(0.5, 2)
    for branch in model.model[-1].cv3:
        branch[-1].bias.data.zero_()
    model.names = {0: "cat", 1: "dog"}
    return model
