"""A small CLIP trained contrastively on captions of symbols and scenes."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
)

from gemkr_hf.toy.stand_ins.crops import IMAGE_SIZE, CaptionedImages, draw_crops, draw_scenes
from gemkr_hf.toy.stand_ins.optimizers import TwoOptimizers
from gemkr_hf.toy.stand_ins.training_loop import run_steps
from gemkr_hf.toy.symbols.scenes import COLORS
from gemkr_hf.toy.symbols.symbol_documents import load_catalogue_symbols, load_known_symbols

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipTraining:
    """Size of the CLIP and its training."""

    width: int = 128
    layers: int = 4
    text_layers: int = 2
    patch: int = 10
    crops: int = 28_000
    scenes: int = 3_000
    one_color: float = 0.75  # share of the batches that only the symbols tell apart
    held_out: int = 1_000
    steps: int = 2_400
    crop_batch: int = 112
    scene_batch: int = 16
    learning_rate: float = 2e-3
    warmup: int = 100
    seed: int = 0
    save_steps: int = 500


def image_processor() -> CLIPImageProcessorPil:
    """What turns an image or a crop into the pixels this CLIP was trained on: squeezed square."""
    return CLIPImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )


def _pixel_values(pixels: np.ndarray) -> torch.Tensor:
    """uint8 ``(batch, side, side, 3)`` to normalised float32 ``(batch, 3, side, side)``."""
    processor = image_processor()
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(processor.image_mean).view(1, 3, 1, 1)
    deviation = torch.tensor(processor.image_std).view(1, 3, 1, 1)
    return (values - mean) / deviation


def _texts(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> dict[str, torch.Tensor]:
    """Captions as CLIP's text tower reads them: padded on the right, ended by EOS."""
    eos = tokenizer.eos_token_id
    rows = [
        [*tokenizer(" " + caption, add_special_tokens=False)["input_ids"][:63], eos]
        for caption in captions
    ]
    length = max(len(row) for row in rows)
    pad = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([row + [pad] * (length - len(row)) for row in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(row) + [0] * (length - len(row)) for row in rows]
        ),
    }


def contrastive_loss(
    model: CLIPModel, pixels: torch.Tensor, captions: list[str], tokenizer: PreTrainedTokenizerFast
) -> torch.Tensor:
    """CLIP's symmetric loss; images of one caption are not each other's negatives."""
    output = model(pixel_values=pixels, **_texts(tokenizer, captions))
    logits = output.logits_per_image.float()
    same = torch.tensor([[one == other for other in captions] for one in captions])
    logits = logits.masked_fill(same & ~torch.eye(len(captions), dtype=torch.bool), -1e4)
    labels = torch.arange(len(captions))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def zero_shot_accuracy(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, held_out: CaptionedImages
) -> dict[str, float]:
    """Held-out crops named among all symbols of the small world in all colours."""
    names = [symbol.name for symbol in (*load_known_symbols(), *load_catalogue_symbols())]
    captions = [f"a {color} {name}" for name in names for color in COLORS]
    texts = []
    for start in range(0, len(captions), 512):
        features = model.get_text_features(**_texts(tokenizer, captions[start : start + 512]))
        texts.append(getattr(features, "pooler_output", features))
    text = torch.nn.functional.normalize(torch.cat(texts), dim=-1)
    features = model.get_image_features(pixel_values=_pixel_values(held_out.pixels))
    image = torch.nn.functional.normalize(getattr(features, "pooler_output", features), dim=-1)
    best = (image @ text.T).argmax(-1)
    colors = list(COLORS)
    known = {symbol.name for symbol in load_known_symbols()}
    right_name = np.array(
        [names[row // len(colors)] == name for row, name in zip(best, held_out.names, strict=True)]
    )
    right_color = [
        colors[row % len(colors)] == color for row, color in zip(best, held_out.colors, strict=True)
    ]
    of_known = np.array([name in known for name in held_out.names])
    return {
        "crop's symbol, zero-shot among all": float(np.mean(right_name)),
        "crop's symbol, of those with prose": float(np.mean(right_name[of_known])),
        "crop's colour, zero-shot": float(np.mean(right_color)),
    }


def train_clip(
    tokenizer: PreTrainedTokenizerFast,
    training: ClipTraining,
    folder: Path,
    report: Callable[[str], None] = logger.info,
) -> tuple[CLIPModel, dict[str, float]]:
    """Train, or go on from the state in ``folder``; gives the model and held-out figures."""
    torch.manual_seed(training.seed)
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
    model = CLIPModel(config)
    # Backwards through short sequences in bfloat16, faster than "sdpa" on a CPU.
    model.set_attn_implementation("eager")
    optimizers = TwoOptimizers(
        [model.vision_model.encoder, model.text_model.encoder],
        [model],
        training.learning_rate,
        training.warmup,
        training.steps,
    )
    report(f"clip: drawing {training.crops} crops and {training.scenes} scenes")
    crops = draw_crops(training.crops, training.seed)
    scenes = draw_scenes(training.scenes, training.seed)
    held_out = draw_crops(training.held_out, training.seed + 1)
    colors = np.array(crops.colors)
    rows_of_color = [np.flatnonzero(colors == color) for color in COLORS]

    def losses_of(step: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        model.logit_scale.data.clamp_(max=math.log(100))
        for pool, size in ((crops, training.crop_batch), (scenes, training.scene_batch)):
            among = np.arange(len(pool.captions))
            if pool is crops and rng.random() < training.one_color:
                among = rows_of_color[rng.integers(len(rows_of_color))]
            rows = rng.choice(among, size=size, replace=False)
            pixels = pool.pixels[rows].astype(np.float32) * rng.uniform(0.9, 1.05, (size, 1, 1, 1))
            pixels += rng.normal(0, 6, pixels.shape)
            values = _pixel_values(np.clip(pixels, 0, 255).astype(np.float32))
            with torch.autocast("cpu", torch.bfloat16):
                loss = contrastive_loss(model, values, [pool.captions[r] for r in rows], tokenizer)
            yield loss

    def figures() -> dict[str, float]:
        return zero_shot_accuracy(model, tokenizer, held_out)

    run_steps(
        "clip",
        folder / "clip_state.pt",
        {"model": model},
        optimizers,
        losses_of,
        figures,
        training.steps,
        training.save_steps,
        training.seed,
        report,
    )
    model.set_attn_implementation("sdpa")
    return model, figures()
