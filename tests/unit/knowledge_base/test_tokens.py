import copy

import pytest
from transformers import AutoTokenizer

from gemkr_hf.knowledge_base import encode_documents, tokenizer_fingerprint
from tests.unit.knowledge_base.knowledge_base_parts import word_tokenizer

TEXTS = ["a red sign", "a blue sign", "the sign </s> of a sign"]


def test_one_space_is_added_before_every_document() -> None:
    tokenizer = word_tokenizer(TEXTS)
    first, within = encode_documents(["sign", "red sign"], tokenizer)
    assert first == within[-len(first) :]
    assert tokenizer.decode(first) == " sign"


def test_special_tokens_are_neither_added_nor_read_from_the_text() -> None:
    tokenizer = word_tokenizer(TEXTS)
    (ids,) = encode_documents(["</s>"], tokenizer)
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == " </s>"
    # The tokenizer still tokenizes prompts as before.
    assert tokenizer("</s>", add_special_tokens=False)["input_ids"] == [tokenizer.eos_token_id]
    assert encode_documents([], tokenizer) == []


def test_fingerprint_survives_saving(tmp_path) -> None:
    tokenizer = word_tokenizer(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(tokenizer)


def test_fingerprint_covers_what_changes_tokens() -> None:
    tokenizer = word_tokenizer(TEXTS)
    fingerprint = tokenizer_fingerprint(tokenizer)
    used = copy.deepcopy(tokenizer)
    used(["a", "a red"], padding=True, truncation=True, max_length=2)
    used.add_special_tokens({"additional_special_tokens": ["<image>", "<object>"]})
    assert tokenizer_fingerprint(used) == fingerprint
    used.add_tokens(["red sign"])
    assert tokenizer_fingerprint(used) != fingerprint
    assert tokenizer_fingerprint(word_tokenizer([*TEXTS, "green green"])) != fingerprint


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_texts(text: str) -> None:
    (ids,) = encode_documents([text], word_tokenizer(TEXTS))
    assert isinstance(ids, list)
