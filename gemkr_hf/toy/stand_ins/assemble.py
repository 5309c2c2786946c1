"""The processor and the untuned model of the toy world, assembled from the stand-ins."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, CLIPImageProcessorPil, CLIPModel

from gemkr_hf.modeling import GeMKRForRetrieval
from gemkr_hf.processing import GeMKRProcessor, YoloDetector
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS, STAGES
from gemkr_hf.toy.stand_ins.text_task import OBJECT_SEPARATOR, OBJECT_TEMPLATE, PROMPT_TEMPLATE
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer
from gemkr_hf.toy.symbols.symbol_scenes import LARGE_OBJECT, PLACES


def checkpoints_fingerprint() -> str:
    """Return a hash of all weights and configurations of the library's stand-ins."""
    digest = hashlib.sha256()
    for path in sorted(CHECKPOINTS.glob("*/*")):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def load_processor(checkpoints: str | Path = CHECKPOINTS, **changes: Any) -> GeMKRProcessor:
    """Load the processor: the stand-ins' detector and tokenizer, and the toy world's prompt.

    Args:
        checkpoints: Folder of the stand-ins.
        **changes: Arguments of ``GeMKRProcessor`` that differ.

    Raises:
        FileNotFoundError: If a stand-in is missing.
    """
    checkpoints = Path(checkpoints)
    for part in STAGES:
        if not (checkpoints / part).is_dir():
            raise FileNotFoundError(
                f"The stand-in '{part}' is missing in '{checkpoints}': train it with "
                f"'gemkr small-world --output {checkpoints}'"
            )
    return GeMKRProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(checkpoints / "clip"),
        tokenizer=load_tokenizer(checkpoints / "tokenizer"),
        detector=YoloDetector.from_pretrained(checkpoints / "detector"),
        **{
            "prompt_template": PROMPT_TEMPLATE,
            "max_objects": len(PLACES) + 1,
            "object_margin": 0.06,
            "object_template": OBJECT_TEMPLATE,
            "object_separator": OBJECT_SEPARATOR,
            "large_object": LARGE_OBJECT,
            **changes,
        },
    )


def load_untuned_model(
    processor: GeMKRProcessor,
    checkpoints: str | Path = CHECKPOINTS,
    seed: int = 0,
    **fields: Any,
) -> GeMKRForRetrieval:
    """Join CLIP and language model by a random prefix and random projections, with gates at 0.

    Args:
        processor: Processor of the same stand-ins.
        checkpoints: Folder of the stand-ins.
        seed: Seed of the new weights.
        **fields: Fields of ``GeMKRConfig`` that differ, such as the switches of an ablation.
    """
    checkpoints = Path(checkpoints)
    torch.manual_seed(seed)
    vision = None
    if fields.get("use_visual_query", True):
        vision = CLIPModel.from_pretrained(checkpoints / "clip", dtype=torch.float32)
    return GeMKRForRetrieval.from_pretrained_parts(
        vision=vision,
        text=AutoModelForCausalLM.from_pretrained(
            checkpoints / "language_model", dtype=torch.float32
        ),
        image_token_id=processor.image_token_id,
        object_token_id=processor.object_token_id,
        **{"max_objects": processor.max_objects, **fields},
    )
