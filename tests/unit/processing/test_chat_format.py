"""Prompt templates of chat models."""

import pytest

from gemkr_hf.processing import GeMKRProcessor, add_image_tokens, chat_prompt_template
from tests.unit.processing.processing_parts import QUESTION, make_tokenizer

TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %} >"
INSTRUCTION = "{image} {question}"


@pytest.mark.parametrize("adds", [True, False], ids=["adds a begin", "adds none"])
def test_a_prompt_has_one_begin_token(image_processor, image, adds):
    tokenizer = make_tokenizer()
    tokenizer.add_bos_token = adds
    add_image_tokens(tokenizer)
    tokenizer.chat_template = TEMPLATE
    assert (tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id) is adds
    template = chat_prompt_template(tokenizer, INSTRUCTION)
    assert template.startswith("<s>") is not adds
    processor = GeMKRProcessor(image_processor, tokenizer, prompt_template=template)
    ids = processor(images=image, text=QUESTION)["input_ids"][0]
    assert ids.tolist().count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids) == f"<s>[user] <image> {QUESTION} >"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('Only systems speak.') }}", "cannot be applied: Only systems speak."),
        ("{% for m in messages %}", "cannot be applied: "),
        ("{{ messages[0].content + 3 }}", "cannot be applied: "),
        ("{{ messages[0].nothing.more }}", "cannot be applied: "),
        ("nothing of it", r"does not keep the instruction whole: .* needs \{question\}"),
        ("{{ messages[0].content * 2 }}", r"needs \{question\} exactly once"),
        ("{{ messages[0].content }} {tools}", r"not \{tools\}"),
    ],
)
def test_unusable_chat_templates(tokenizer, template, message):
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=message) as error:
        chat_prompt_template(tokenizer, INSTRUCTION)
    assert "\n" not in str(error.value)
