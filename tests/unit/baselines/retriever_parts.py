"""Small documents, images and random models for the systems of Table 1."""

import torch
from PIL import Image
from transformers import CLIPModel, LlamaConfig, LlamaForCausalLM

from gemkr_hf.baselines.tower_factory import new_towers
from gemkr_hf.baselines.two_towers import TwoTowers
from gemkr_hf.toy.stand_ins.assemble import CHECKPOINTS, load_processor, load_untuned_model

DOCUMENTS = [
    {"id": "ram", "title": "Aries", "text": "Aries stands for the ram. It has horns."},
    {"id": "bull", "title": "Taurus", "text": "Taurus represents the bull, a round head."},
    {"id": "anchor", "title": "", "text": "An anchor holds a ship. Sailors wear it."},
]
IMAGES = [Image.new("RGB", (160, 160), color) for color in ("white", "red")]
QUESTIONS = ["What does this ram mean?", "Who wears an anchor?"]
CAPTIONS = ["a small red aries", "a large blue anchor"]


def processor():
    return load_processor()


def gemkr(processor):
    return load_untuned_model(processor)


def towers(kind: str, processor) -> TwoTowers:
    vision = CLIPModel.from_pretrained(CHECKPOINTS / "clip", dtype=torch.float32).vision_model
    torch.manual_seed(0)
    embeddings = torch.randn(len(processor.tokenizer), 64)
    return new_towers(kind, processor.tokenizer, embeddings, vision, layers=1)


def llama(processor) -> LlamaForCausalLM:
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
