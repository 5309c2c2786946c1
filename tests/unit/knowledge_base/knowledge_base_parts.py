"""A tokenizer and documents made where they are needed."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

DOCUMENTS = [
    {"id": "anchor", "title": "Anchor", "text": "An anchor holds a ship in its place at sea."},
    {"id": "gear", "title": "Gear", "text": "A gear turns another gear, and both turn delayed."},
    {"id": "empty", "title": "Nothing", "text": ""},
    {"id": "again", "title": "Gear", "text": "A gear turns another gear, and both turn delayed."},
    {"id": "ship", "title": "Ship", "text": "A ship sails; in its place an anchor holds it fast."},
]
DIFFERENT = [document for document in DOCUMENTS if document["id"] != "again"]


def word_tokenizer(
    texts: list[str] | None = None, vocab_size: int = 400
) -> PreTrainedTokenizerFast:
    """Byte-level BPE over a few texts, as a transformers tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = texts or [document["text"] for document in DOCUMENTS]
    tokenizer.train_from_iterator([" " + text for text in texts], trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    )
