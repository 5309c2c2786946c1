"""The stand-in for CLIP: a small one, trained contrastively on captions of symbols and scenes."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
)

from gemkr_hf.toy.stand_ins.crops import IMAGE_SIZE, CaptionedImages, draw_crops, draw_scenes
from gemkr_hf.toy.stand_ins.training_loop import Log, LoopSettings, train_steps
from gemkr_hf.toy.symbols.symbol_documents import load_catalogue_symbols, load_known_symbols
from gemkr_hf.toy.symbols.symbol_scenes import COLORS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClipTraining(LoopSettings):
    """Size of the CLIP and its training.

    Attributes:
        patch: Side of a patch in pixels.
        crops, scenes: Number of training images.
        one_color: Share of the crop batches whose objects all have the same colour, so that only
            the symbols tell them apart.
        held_out: Number of crops to evaluate on.
        crop_batch, scene_batch: Images in a step.
    """

    steps: int = 2_400
    learning_rate: float = 2e-3
    width: int = 128
    layers: int = 4
    text_layers: int = 2
    patch: int = 10
    crops: int = 28_000
    scenes: int = 3_000
    one_color: float = 0.75
    held_out: int = 1_000
    crop_batch: int = 112
    scene_batch: int = 16


def image_processor() -> CLIPImageProcessorPil:
    """Return the image processor of this CLIP: images are resized to squares without cropping."""
    return CLIPImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )


def _pixel_values(pixels: np.ndarray) -> torch.Tensor:
    """Normalise ``(batch, side, side, 3)`` from 0 to 255 to float ``(batch, 3, side, side)``."""
    processor = image_processor()
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(processor.image_mean).view(1, 3, 1, 1)
    deviation = torch.tensor(processor.image_std).view(1, 3, 1, 1)
    return (values - mean) / deviation


def _text_inputs(
    tokenizer: PreTrainedTokenizerFast, captions: list[str]
) -> dict[str, torch.Tensor]:
    """Tokenize captions for CLIP's text tower: EOS at the end, padded on the right."""
    texts = [" " + caption for caption in captions]
    rows = [
        torch.tensor([*ids[:63], tokenizer.eos_token_id])
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
    ]
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
    }


def contrastive_loss(
    model: CLIPModel, pixels: torch.Tensor, captions: list[str], tokenizer: PreTrainedTokenizerFast
) -> torch.Tensor:
    """Return CLIP's symmetric loss; images with equal captions are not each other's negatives."""
    output = model(pixel_values=pixels, **_text_inputs(tokenizer, captions))
    logits = output.logits_per_image.float()
    same = torch.tensor([[one == other for other in captions] for one in captions])
    logits = logits.masked_fill(same & ~torch.eye(len(captions), dtype=torch.bool), -1e4)
    labels = torch.arange(len(captions))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def zero_shot_accuracy(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, held_out: CaptionedImages
) -> dict[str, float]:
    """Classify held-out crops among all symbols in all colours.

    Returns:
        Accuracy of the symbol, of the symbol where it has documents in prose, and of the colour.
    """
    known = {symbol.name for symbol in load_known_symbols()}
    names = [symbol.name for symbol in (*load_known_symbols(), *load_catalogue_symbols())]
    classes = [(name, color) for name in names for color in COLORS]
    captions = [f"a {color} {name}" for name, color in classes]
    texts = []
    for start in range(0, len(captions), 512):
        inputs = _text_inputs(tokenizer, captions[start : start + 512])
        features = model.get_text_features(**inputs)
        texts.append(getattr(features, "pooler_output", features))
    features = model.get_image_features(pixel_values=_pixel_values(held_out.pixels))
    images = normalize(getattr(features, "pooler_output", features), dim=-1)
    best = (images @ normalize(torch.cat(texts), dim=-1).T).argmax(-1).tolist()
    pairs = list(zip((classes[row] for row in best), held_out.objects, strict=True))
    right_name = np.array([name == item.symbol.name for (name, _), item in pairs])
    right_color = np.array([color == item.color for (_, color), item in pairs])
    is_known = np.array([item.symbol.name in known for item in held_out.objects])
    return {
        "crop's symbol, zero-shot among all": float(np.mean(right_name)),
        "crop's symbol, of those with prose": float(np.mean(right_name[is_known])),
        "crop's colour, zero-shot": float(np.mean(right_color)),
    }


def _new_model(tokenizer: PreTrainedTokenizerFast, training: ClipTraining) -> CLIPModel:
    tower: dict[str, Any] = {
        "hidden_size": training.width,
        "intermediate_size": 4 * training.width,
        "num_attention_heads": training.width // 32,
        "projection_dim": training.width,
    }
    config = CLIPConfig(
        vision_config=CLIPVisionConfig(
            **tower,
            num_hidden_layers=training.layers,
            image_size=IMAGE_SIZE,
            patch_size=training.patch,
        ).to_dict(),
        text_config=CLIPTextConfig(
            **tower,
            num_hidden_layers=training.text_layers,
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        projection_dim=training.width,
    )
    return CLIPModel(config)


def train_clip(
    tokenizer: PreTrainedTokenizerFast,
    training: ClipTraining,
    folder: Path,
    log: Log = logger.info,
) -> tuple[CLIPModel, dict[str, float]]:
    """Train a CLIP, or resume from the state in a folder.

    Returns:
        The model in evaluation mode, and its metrics on held-out data.
    """
    torch.manual_seed(training.seed)
    model = _new_model(tokenizer, training)
    # Faster than "sdpa" on a CPU for the backward pass of short sequences in bfloat16.
    model.set_attn_implementation("eager")
    log(f"clip: drawing {training.crops} crops and {training.scenes} scenes")
    crops = draw_crops(training.crops, training.seed)
    scenes = draw_scenes(training.scenes, training.seed)
    held_out = draw_crops(training.held_out, training.seed + 1)
    colors = np.array([item.color for item in crops.objects])
    rows_of_color = [np.flatnonzero(colors == color) for color in COLORS]

    def losses(step: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        model.logit_scale.data.clamp_(max=math.log(100))
        for images, size in ((crops, training.crop_batch), (scenes, training.scene_batch)):
            candidates = np.arange(len(images.captions))
            if images is crops and rng.random() < training.one_color:
                candidates = rows_of_color[rng.integers(len(rows_of_color))]
            rows = rng.choice(candidates, size=size, replace=False)
            brightness = rng.uniform(0.9, 1.05, (size, 1, 1, 1))
            pixels = images.pixels[rows].astype(np.float32) * brightness
            pixels += rng.normal(0, 6, pixels.shape)
            values = _pixel_values(np.clip(pixels, 0, 255).astype(np.float32))
            captions = [images.captions[row] for row in rows]
            with torch.autocast("cpu", torch.bfloat16):
                loss = contrastive_loss(model, values, captions, tokenizer)
            yield loss

    def evaluate() -> dict[str, float]:
        return zero_shot_accuracy(model, tokenizer, held_out)

    layers = [model.vision_model.encoder, model.text_model.encoder]
    state_file = folder / "clip_state.pt"
    train_steps("clip", training, state_file, {"model": model}, layers, losses, evaluate, log)
    model.set_attn_implementation("sdpa")
    return model, evaluate()
