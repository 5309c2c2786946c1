"""The model and the processor as instruction tuning finds them, from the stand-ins."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, CLIPImageProcessorPil, CLIPModel

from gemkr_hf.modeling import GeMKRForRetrieval
from gemkr_hf.processing import GeMKRProcessor, YoloDetector
from gemkr_hf.toy.stand_ins.build import CHECKPOINTS
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import load_tokenizer
from gemkr_hf.toy.stand_ins.words_task import OBJECT_SEPARATOR, OBJECT_TEMPLATE, PROMPT_TEMPLATE
from gemkr_hf.toy.symbols.scenes import LARGE_OBJECT, PLACES


def checkpoints_fingerprint(checkpoints: str | Path = CHECKPOINTS) -> str:
    """Changes with any weight or configuration of the stand-ins."""
    digest = hashlib.sha256()
    for path in sorted(Path(checkpoints).glob("*/*")):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def load_processor(checkpoints: str | Path = CHECKPOINTS, **changes: Any) -> GeMKRProcessor:
    """The processor of the small world: its detector, its tokenizer, its prompt.

    Args:
        checkpoints: folder of the stand-ins.
        **changes: arguments of ``GeMKRProcessor`` that differ.

    Raises:
        FileNotFoundError: the stand-ins are not there.
    """
    checkpoints = Path(checkpoints)
    for part in ("tokenizer", "detector", "clip", "language_model"):
        if not (checkpoints / part).is_dir():
            raise FileNotFoundError(
                f"The small world lacks its {part} in '{checkpoints}'; `make small-world` makes it"
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
    """CLIP and language model joined; prefix and projections random, gates 0.

    Args:
        processor: of the same stand-ins.
        checkpoints: folder of the stand-ins.
        seed: of the new weights.
        **fields: of ``GeMKRConfig`` that differ, such as the switches of an ablation.
    """
    checkpoints = Path(checkpoints)
    torch.manual_seed(seed)
    sees = fields.get("use_visual_query", True)
    return GeMKRForRetrieval.from_pretrained_parts(
        vision=CLIPModel.from_pretrained(checkpoints / "clip", dtype=torch.float32)
        if sees
        else None,
        text=AutoModelForCausalLM.from_pretrained(
            checkpoints / "language_model", dtype=torch.float32
        ),
        image_token_id=processor.image_token_id,
        object_token_id=processor.object_token_id,
        **{"max_objects": processor.max_objects, **fields},
    )
