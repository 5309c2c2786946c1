"""Measure each stage of a GeMKR against CLIP, YOLO and the language model alone.

    python benchmarks/model.py
    python benchmarks/model.py --queries 8 --objects 5 --device cuda --dtype bfloat16

A GeMKR of medium size with random weights: CLIP ViT-B/16 (86 M parameters), a Llama of 134 M, a
YOLOv8n. The baseline passes the same images, crops and tokens through `CLIPVisionModel`, the image
processor, ultralytics' predictor and `LlamaForCausalLM`. Both run alternately; the medians of each
stage and their ratio are printed.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from gemkr_hf.modeling import GeMKRForRetrieval
from gemkr_hf.modeling.generation_gemkr import CACHE
from gemkr_hf.processing import (
    DEFAULT_PROMPT_TEMPLATE,
    GeMKRProcessor,
    Object,
    YoloDetector,
    add_image_tokens,
)

QUESTION = "What sport can you use this for?"
BEAMS = 20
Stage = tuple[str, Callable[[], Any], Callable[[], Any]]


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([DEFAULT_PROMPT_TEMPLATE, QUESTION] * 4, trainer=trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    add_image_tokens(tokenizer)
    return tokenizer


def make_parts(tokenizer: Any, device: str, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Return a GeMKR, its CLIP and its language model."""
    torch.manual_seed(0)
    vision = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            patch_size=16, image_size=224,
        )
    )  # fmt: skip
    text = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32_000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
            num_attention_heads=12, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    model = GeMKRForRetrieval.from_pretrained_parts(
        vision,
        text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        object_token_id=tokenizer.convert_tokens_to_ids("<object>"),
        dtype=dtype,
    )
    with torch.no_grad():
        model.prefix.gates.uniform_(-1, 1)
    return model.to(device), vision.to(device, dtype).eval(), text.to(device).eval()


def make_stages(arguments: argparse.Namespace) -> list[Stage]:
    """Return the name of each stage, GeMKR's function and the baseline's."""
    rng = np.random.default_rng(0)
    device, dtype = arguments.device, getattr(torch, arguments.dtype)
    tokenizer = make_tokenizer()
    model, clip, language_model = make_parts(tokenizer, device, dtype)
    images = [
        Image.fromarray(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8))
        for _ in range(arguments.queries)
    ]
    boxes = [
        [Object((x, y, x + 160, y + 160)) for x, y in rng.integers(0, 320, (arguments.objects, 2))]
        for _ in images
    ]
    pixels = CLIPImageProcessor()
    with tempfile.TemporaryDirectory() as name:
        # Weights of a checkpoint, as a user loads them.
        YoloDetector("yolov8n.yaml").save_pretrained(name)
        detector = YoloDetector.from_pretrained(Path(name), device=device).load()
    baseline_detector = YoloDetector("yolov8n.yaml", device=device).load()._predictor
    processor = GeMKRProcessor(pixels, tokenizer, detector)
    questions = [QUESTION] * len(images)
    inputs = processor(images=images, text=questions, objects=boxes).to(device, dtype)
    crops = [image.crop(item.box) for image, row in zip(images, boxes, strict=True) for item in row]
    baseline_crops = inputs["object_pixel_values"][inputs["object_mask"]]
    texts = [processor.prompt_template.format(question=QUESTION, image="<image>") for _ in images]
    mask = inputs["attention_mask"]
    features = model.get_image_features(
        inputs["pixel_values"],
        object_mask=inputs["object_mask"],
        object_features=(
            objects := model.get_object_features(
                inputs["object_pixel_values"], inputs["object_mask"]
            )
        ),
    ).pooler_output

    def prefill(part: Any, **kwargs: Any) -> Any:
        return part(input_ids=inputs["input_ids"], attention_mask=mask, logits_to_keep=1, **kwargs)

    def step(part: Any) -> Callable[[], Any]:
        beams = len(images) * BEAMS
        token = inputs["input_ids"][:1, -1:].expand(beams, 1)
        with torch.no_grad():
            cache = prefill(language_model)[CACHE]
            cache.batch_repeat_interleave(BEAMS)
        longer = torch.cat([mask.repeat_interleave(BEAMS, 0), mask.new_ones(beams, 1)], dim=1)

        def run() -> None:
            part(input_ids=token, attention_mask=longer, **{CACHE: cache})
            cache.crop(-1)

        return run

    return [
        (
            "detect",
            lambda: detector.detect(images),
            lambda: baseline_detector(source=images),
        ),
        (
            "crops, pixels and tokens",
            lambda: processor(images=images, text=questions, objects=boxes),
            lambda: (pixels(images=images + crops, return_tensors="pt"), tokenizer(texts)),
        ),
        (
            "encode images",
            lambda: model.get_image_features(
                inputs["pixel_values"], object_mask=inputs["object_mask"], object_features=objects
            ),
            lambda: clip(inputs["pixel_values"]),
        ),
        (
            "encode objects",
            lambda: model.get_object_features(inputs["object_pixel_values"], inputs["object_mask"]),
            lambda: clip(baseline_crops),
        ),
        (
            "prefill",
            lambda: prefill(model, image_features=features, object_mask=inputs["object_mask"]),
            lambda: prefill(language_model),
        ),
        (f"one decoding step of {BEAMS} beams a query", step(model), step(language_model)),
    ]


def seconds(work: Callable[[], Any], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@torch.no_grad()
def measure(stages: list[Stage], rounds: int, device: str) -> dict[str, tuple[float, float]]:
    """Return the medians of GeMKR and baseline, in milliseconds."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, *_ in stages}
    gc.disable()
    for number in range(rounds + 1):
        for name, *pair in stages:
            for side in (0, 1) if number % 2 else (1, 0):
                duration = seconds(pair[side], device)
                if number:  # the first round warms up
                    times[name][side].append(1000 * duration)
    gc.enable()
    return {
        name: (statistics.median(gemkr), statistics.median(baseline))
        for name, (gemkr, baseline) in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--objects", type=int, default=5, help="of each image, at most 5")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if not 1 <= arguments.objects <= 5 or arguments.queries < 1 or arguments.rounds < 1:
        parser.error("--objects must be in 1..5, --queries and --rounds at least 1")
    medians = measure(make_stages(arguments), arguments.rounds, arguments.device)
    medians["all stages"] = tuple(map(sum, zip(*medians.values(), strict=True)))  # type: ignore
    print(
        f"{arguments.queries} queries of {arguments.objects} objects, {arguments.dtype} on "
        f"{arguments.device}, {torch.get_num_threads()} threads, medians of {arguments.rounds}"
    )
    print(f"{'':44}{'GeMKR, ms':>11}{'alone, ms':>11}{'ratio':>8}")
    for name, (gemkr, baseline) in medians.items():
        print(f"{name:44}{gemkr:11.1f}{baseline:11.1f}{gemkr / baseline:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(medians, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
