"""The tokenizer of the stand-ins: byte-level BPE on the toy documents and questions."""

from pathlib import Path

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from gemkr_hf.toy.stand_ins.text_task import PROMPT_TEMPLATE, draw_text_example
from gemkr_hf.toy.symbols.symbol_documents import load_documents

VOCAB_SIZE = 2560
IMAGE_TOKEN, OBJECT_TOKEN = "<image>", "<object>"


def train_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the tokenizer; the result depends on the documents and the seed only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>", IMAGE_TOKEN, OBJECT_TOKEN, "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    documents = load_documents()
    texts = [" " + document["text"] for document in documents]
    # Names are repeated, so that each becomes one token if the vocabulary allows: as easy to copy
    # as a common word is for a large model.
    names = [f" {document['symbol']}" for document in documents if document["aspect"] == "use"]
    rng = np.random.default_rng(seed)
    questions = [draw_text_example(rng).question for _ in range(2000)]
    tokenizer.train_from_iterator(
        [*texts, *names * 20, *questions, *[PROMPT_TEMPLATE] * 50], trainer=trainer
    )
    # A prompt begins with <s>, as LLaMA's do; documents and clues are encoded without it.
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A",
        pair="<s> $A $B",
        special_tokens=[("<s>", tokenizer.token_to_id("<s>"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=[IMAGE_TOKEN, OBJECT_TOKEN],
        padding_side="left",
        model_max_length=256,
    )


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer that `train_tokenizer` returned and ``save_pretrained`` wrote."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
