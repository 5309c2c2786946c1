"""A caption model of transformers, by its folder."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    PreTrainedTokenizerFast,
)

from gemkr_hf.baselines import PublishedCaptions, load_captioner
from tests.unit.baselines import retriever_parts as parts

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "white", "page"]


def test_a_caption_model_of_transformers_writes(tmp_path) -> None:
    words = {word: row for row, word in enumerate(WORDS)}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    )
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(
            text_config={
                **size,
                "vocab_size": len(WORDS),
                "intermediate_size": 16,
                "encoder_hidden_size": 16,
                "bos_token_id": 1,
                "sep_token_id": 2,
                "eos_token_id": 2,
                "pad_token_id": 0,
            },
            vision_config={**size, "intermediate_size": 16, "image_size": 32, "patch_size": 16},
        )
    )
    edge = {"height": 32, "width": 32}
    model.save_pretrained(tmp_path)
    BlipProcessor(BlipImageProcessor(size=edge), tokenizer).save_pretrained(tmp_path)
    captioner = load_captioner(tmp_path)
    assert isinstance(captioner, PublishedCaptions)
    written = captioner.write(parts.IMAGES)
    assert len(written) == 2
    assert all(set(text.split()) <= {*WORDS[3:]} for text in written)
    # Alone and among others an image has the same caption.
    assert captioner.write(parts.IMAGES[1:]) == written[1:]
