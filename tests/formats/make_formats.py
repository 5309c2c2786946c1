"""Writes a small checkpoint, adapter and knowledge base of the present format versions.

Run once when a version is raised, and commit the new folders beside the older ones:
``python -m tests.formats.make_formats``.
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import CLIPImageProcessorPil

from gemkr_hf import KnowledgeBase
from gemkr_hf.hub import save_adapter, save_model
from gemkr_hf.knowledge_base import tokenizer_fingerprint
from gemkr_hf.knowledge_base.storage import FORMAT_VERSION as KNOWLEDGE_BASE
from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval
from gemkr_hf.modeling.configuration_gemkr import FORMAT_VERSION as CHECKPOINT
from gemkr_hf.processing import GeMKRProcessor, add_image_tokens
from gemkr_hf.training.trainer import save_peft
from tests.unit.knowledge_base.knowledge_base_parts import DOCUMENTS, word_tokenizer

FOLDER = Path(__file__).parent
PROMPT = torch.arange(3, 13)[None]


def main() -> None:
    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    kb = KnowledgeBase.from_documents(DOCUMENTS, tokenizer, shard_tokens=20)
    kb.remove(["gear"]).save_pretrained(FOLDER / f"knowledge_base-{KNOWLEDGE_BASE}")
    add_image_tokens(tokenizer)
    processor = GeMKRProcessor(
        CLIPImageProcessorPil(size={"height": 8, "width": 8}, do_center_crop=False), tokenizer
    )
    size = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }  # fmt: skip
    config = GeMKRConfig(
        vision_config={"model_type": "clip_vision_model", **size, "image_size": 8, "patch_size": 4},
        text_config={
            "model_type": "llama", **size, "num_key_value_heads": 2, "vocab_size": len(tokenizer),
            "max_position_embeddings": 128,
        },
        image_token_id=processor.image_token_id,
        object_token_id=processor.object_token_id,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
    )  # fmt: skip
    model = GeMKRForRetrieval(config).eval()
    checkpoint = FOLDER / f"checkpoint-{CHECKPOINT}"
    adapter = FOLDER / f"adapter-{CHECKPOINT}"
    save_model(model, processor, checkpoint, _without_code)
    logits = {"checkpoint": _logits(model)}
    adapted = get_peft_model(model, LoraConfig(**model.lora_arguments(r=2))).eval()
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    logits["adapter"] = _logits(adapted)
    save_peft(adapted, FOLDER / "peft")
    save_adapter([FOLDER / "peft"], processor, adapter, None, _without_code)
    for path in [*(FOLDER / "peft").iterdir(), FOLDER / "peft"]:
        path.rmdir() if path.is_dir() else path.unlink()
    (checkpoint / "expected.json").write_text(json.dumps(logits) + "\n", encoding="utf-8")


def _logits(model) -> list[float]:
    with torch.no_grad():
        return model(PROMPT).logits[0, -1, :8].tolist()


def _without_code(folder: Path) -> None:
    """The installed code reads them: that is what is tested."""
    for path in folder.glob("*.py"):
        path.unlink()


if __name__ == "__main__":
    main()
