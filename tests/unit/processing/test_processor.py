"""From images and questions to a batch."""

import numpy as np
import pytest
import torch

from gemkr_hf.processing import (
    DEFAULT_PROMPT_TEMPLATE,
    GeMKRProcessor,
    Object,
    add_image_tokens,
    chat_prompt_template,
)
from gemkr_hf.processing.processing_gemkr import check_prompt_template
from tests.unit.processing.processing_parts import QUESTION, FixedDetector, make_image

BOXES = [(0, 0, 20, 20), (30, 20, 55, 38)]


def texts(processor, batch):
    return [
        processor.tokenizer.decode(row[mask.bool()])
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


def test_the_prompt_of_the_paper(processor, image):
    batch = processor(images=image, text=QUESTION, objects=BOXES)
    expected = DEFAULT_PROMPT_TEMPLATE.replace("{question}", QUESTION)
    expected = "<s>" + expected.replace("{image}", "<image><object><object>")
    assert texts(processor, batch) == [expected]
    assert expected.endswith("### Response:")
    assert set(batch) == set(processor.model_input_names)


def test_shapes_types_and_padding(processor, image):
    batch = processor(
        images=[image, None, make_image(30, 90, 1)],
        text=[QUESTION, "Why?", "What is it?"],
        objects=[BOXES, None, []],
    )
    length = batch["input_ids"].shape[1]
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, length)
    assert batch["pixel_values"].shape == (2, 3, 24, 24)  # of the queries that have an image
    assert batch["object_pixel_values"].shape == (2, 5, 3, 24, 24)
    assert batch["object_mask"].dtype == torch.bool
    assert batch["object_mask"].sum(1).tolist() == [2, 0]
    assert not batch["object_pixel_values"][~batch["object_mask"]].any()
    assert batch["object_pixel_values"][0, :2].abs().sum() > 0
    slots = (batch["input_ids"] == processor.image_token_id).sum(1)
    assert slots.tolist() == [1, 0, 1]
    objects = (batch["input_ids"] == processor.object_token_id).sum(1)
    assert objects.tolist() == [2, 0, 0]
    mask = batch["attention_mask"]
    assert (mask[:, -1] == 1).all()
    assert (mask.diff(dim=1) >= 0).all()
    assert "### Image:\n\n\n### Response:" in texts(processor, batch)[1]


def test_batched_equals_single(processor):
    images = [make_image(60, 40, seed) for seed in range(3)]
    questions = ["a", "b b b b b", QUESTION]
    objects = [BOXES, BOXES[:1], []]
    batch = processor(images=images, text=questions, objects=objects)
    for row in range(3):
        one = processor(images=images[row], text=questions[row], objects=objects[row])
        mask = batch["attention_mask"][row].bool()
        assert torch.equal(batch["input_ids"][row][mask], one["input_ids"][0])
        for name in ("pixel_values", "object_pixel_values", "object_mask"):
            assert torch.equal(batch[name][row], one[name][0])


def test_crops_equal_the_image_processors_output(processor, image):
    batch = processor(images=image, text=QUESTION, objects=BOXES)
    for number, box in enumerate(BOXES):
        alone = processor.image_processor(image.crop(box), return_tensors="pt")["pixel_values"]
        assert torch.equal(batch["object_pixel_values"][0, number], alone[0])


def test_text_only(processor):
    batch = processor(text=["Why?", QUESTION])
    assert set(batch) == {"input_ids", "attention_mask"}
    assert set(processor(images=[None], text=["Why?"])) == {"input_ids", "attention_mask"}


def test_images_only(processor, image):
    batch = processor(images=[image], objects=[BOXES])
    assert set(batch) == {"pixel_values", "object_pixel_values", "object_mask"}


def test_numpy(processor, image):
    batch = processor(images=image, text=QUESTION, return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in batch.values())


def test_object_template(image_processor, tokenizer, image):
    processor = GeMKRProcessor(
        image_processor,
        tokenizer,
        prompt_template="### Question: {question}\n### Image:{image}\n### Response:",
        object_template=" {place} {size}<object>",
        object_separator=" ;",
    )
    batch = processor(images=image, text="a {image} b", objects=[(0, 0, 9, 9), (30, 0, 60, 40)])
    assert texts(processor, batch) == [
        "<s>### Question: a {image} b\n"
        "### Image:<image> top left small<object> ; bottom right large<object>\n### Response:"
    ]


def test_special_tokens_in_a_users_text_are_escaped(processor, image):
    question = "Is <image> an <object> or </s> or <<image>image>?"
    batch = processor(images=image, text=question, clues="an <object></s> clue")
    ids = batch["input_ids"][0].tolist()
    assert ids.count(processor.image_token_id) == 1
    assert ids.count(processor.object_token_id) == 0
    assert ids.count(processor.tokenizer.eos_token_id) == 1
    assert "< image> an < object>" in texts(processor, batch)[0]


def test_labels_of_clues(processor, image):
    tokenizer = processor.tokenizer
    ids = tokenizer(" a clue about sport", add_special_tokens=False)["input_ids"]
    batch = processor(
        images=[image, None, image],
        text=[QUESTION, "Why?", "a"],
        clues=["a clue about sport", ids, ids[:1]],
    )
    for row, clue in enumerate((ids, ids, ids[:1])):
        labels = batch["labels"][row]
        assert labels[labels != -100].tolist() == [*clue, tokenizer.eos_token_id]
        kept = labels != -100
        assert torch.equal(batch["input_ids"][row][kept], labels[kept])
        assert kept[-len(clue) - 1 :].all()
    prompt = processor(images=image, text=QUESTION)["input_ids"][0]
    mask = batch["attention_mask"][0].bool()
    assert torch.equal(batch["input_ids"][0][mask][: len(prompt)], prompt)


def test_encode_queries_equals_a_call(processor, image):
    questions, clues = [QUESTION, "Why?"], ["a clue", "sport"]
    batch = processor(
        images=[image, None],
        text=questions,
        objects=[BOXES, None],
        clues=clues,
        return_objects=True,
    )
    rows = processor.encode_queries(questions, [image.size, None], batch["objects"], clues)
    for row, (prompt, ending) in enumerate(rows):
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()]
        assert ids.tolist() == prompt + ending
        assert (batch["labels"][row] != -100).sum() == len(ending)
    assert processor.encode_queries(["Why?"], [None], [[]])[0][1] == []


def test_post_process_clues(processor):
    batch = processor(text=["Why?", QUESTION], clues=["sport", "a clue about sport"])
    assert processor.post_process_clues(batch["input_ids"][:1, -8:])[0].endswith("sport")
    ids = processor.tokenizer(" a clue", add_special_tokens=False)["input_ids"]
    rows = [[1, 9, 9, *ids, 2, 0, 0], [1, 9, 9, *ids, *ids[:1], 7, 8]]
    clues = processor.post_process_clues(torch.tensor([rows[0]]), prompt_length=3)
    assert clues == ["a clue"]
    assert processor.batch_decode([ids]) == [" a clue"]


def test_detector_runs_once_a_batch_and_only_where_needed(image_processor, tokenizer):
    found = [Object((0, 0, 10, 10), score, "x") for score in (0.2, 0.9, 0.5)]
    found.append(Object((70, 0, 90, 10), 0.99, "outside"))
    detector = FixedDetector(found)
    processor = GeMKRProcessor(image_processor, tokenizer, detector, max_objects=2)
    images = [make_image(seed=seed) for seed in range(3)]
    batch = processor(
        images=[*images, None],
        text=["a", "b", "c", "d"],
        objects=[None, [(1, 1, 5, 5)], None, None],
        return_objects=True,
    )
    assert detector.calls == 1
    assert [len(objects) for objects in batch["objects"]] == [2, 1, 2, 0]
    assert [item.score for item in batch["objects"][0]] == [0.9, 0.5]
    assert batch["object_mask"].tolist() == [[True] * 2, [True, False], [True] * 2]
    assert processor.detect(images[0]) == [batch["objects"][0]]
    assert processor.num_image_tokens == 3
    drawn = processor.draw(images[0])
    assert drawn.mode == "RGB"
    processor(images=images[0], text="a", objects=[])
    assert detector.calls == 3  # batch, detect, draw; an empty list means no objects


def test_max_objects_zero(image_processor, tokenizer, image):
    processor = GeMKRProcessor(image_processor, tokenizer, max_objects=0)
    batch = processor(images=image, text=QUESTION, objects=BOXES)
    assert batch["object_mask"].shape == (1, 0)
    assert (batch["input_ids"] == processor.object_token_id).sum() == 0


def test_lengths(processor, image):
    batch = processor(images=image, text=QUESTION, padding="max_length", max_length=400)
    assert batch["input_ids"].shape == (1, 400)
    batch = processor(images=image, text=QUESTION, pad_to_multiple_of=64)
    assert batch["input_ids"].shape[1] % 64 == 0
    full = processor(images=image, text="word " * 50, objects=BOXES)["input_ids"].shape[1]
    batch = processor(
        images=image,
        text="word " * 50,
        objects=BOXES,
        clues="sport",
        truncation=True,
        max_length=full - 40,
    )
    assert batch["input_ids"].shape[1] <= full - 40
    assert texts(processor, batch)[0].endswith("### Response: sport</s>")
    assert (batch["input_ids"] == processor.object_token_id).sum() == 2
    with pytest.raises(ValueError, match="even without its question"):
        processor(text=QUESTION, truncation=True, max_length=10)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2), (3, 3)])
def test_images_of_any_size(processor, size):
    box = (0, 0, *size)
    batch = processor(images=make_image(*size), text="a", objects=[box])
    assert batch["pixel_values"].shape == (1, 3, 24, 24)
    assert torch.isfinite(batch["object_pixel_values"]).all()


def test_mistakes_raise_clear_errors(processor, image, bare_tokenizer, image_processor):
    cases = [
        ({}, "needs a question"),
        ({"images": image, "text": " "}, "Question 0 is empty"),
        ({"images": image, "text": ["a", ""]}, "1 images do not match 2 questions"),
        ({"text": ["a", " \n"]}, "Question 1 is empty"),
        ({"images": [], "text": []}, "batch is empty"),
        ({"images": [[image, image]], "text": ["a"]}, "one image, not 2"),
        ({"images": image, "text": "a", "objects": [(90, 0, 95, 5)]}, "outside its image"),
        ({"images": image, "text": "a", "objects": [(9, 0, 5, 5)]}, "is empty"),
        ({"images": [image], "text": ["a"], "objects": [[], []]}, "2 lists of objects"),
        ({"text": "a", "objects": [(0, 0, 5, 5)]}, "no image"),
        ({"text": "a", "clues": ["x", "y"]}, "2 clues do not match 1"),
        ({"text": "a", "clues": ""}, "Clue 0 is empty"),
        ({"images": image, "clues": "x"}, "give text"),
        ({"text": ["a", "b c d e"], "padding": False}, "padding=True"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            processor(**arguments)
    with pytest.raises(ValueError, match="no detector"):
        processor.detect(image)
    with pytest.raises(ValueError, match=r"add_image_tokens\(tokenizer\)"):
        GeMKRProcessor(image_processor, bare_tokenizer)
    for bad in (
        {"prompt_template": "{question}"},
        {"prompt_template": "{question}{image}<image>"},
        {"object_template": "{color}<object>"},
        {"object_template": "{place}"},
        {"object_template": "{<object>"},
        {"max_objects": -1},
        {"detector": 3},
    ):
        with pytest.raises(ValueError):
            GeMKRProcessor(image_processor, processor.tokenizer, **bad)


def test_add_image_tokens(bare_tokenizer):
    size = len(bare_tokenizer)
    assert add_image_tokens(bare_tokenizer) == 2
    assert add_image_tokens(bare_tokenizer) == 0
    assert len(bare_tokenizer) == size + 2


def test_a_tokenizer_without_pad_token_that_adds_an_end(image_processor, tokenizer):
    tokenizer.pad_token = None
    tokenizer.add_eos_token = True
    processor = GeMKRProcessor(image_processor, tokenizer)
    batch = processor(text=["a", QUESTION])
    assert texts(processor, batch)[0].endswith("### Response:")


def test_captions_with_and_instead_of_images(processor, image):
    def prompts(**kwargs):
        return processor.tokenizer.batch_decode(processor(**kwargs)["input_ids"])

    beside, without = prompts(
        images=[image, image], text=[QUESTION] * 2, captions=["a man on a {bike} </s>", None]
    )
    assert f"{QUESTION} a man on a {{bike}} < /s>\n\n### Image:\n<image>" in beside
    assert f"{QUESTION}\n\n### Image:\n<image>" in without
    [instead] = prompts(text=QUESTION, captions="a bike")
    assert f"{QUESTION} a bike\n\n### Image:\n\n" in instead and "<image>" not in instead
    processor.prompt_template = "Q: {question} C: {caption} I: {image}"
    assert prompts(text=QUESTION, captions="a bike") == [f"<s>Q: {QUESTION} C: a bike I: "]
    with pytest.raises(ValueError, match="1 captions do not match 2 questions"):
        processor(text=[QUESTION] * 2, captions=["a bike"])
    with pytest.raises(ValueError, match="Caption 0 is a int"):
        processor(text=[QUESTION], captions=[3])
    with pytest.raises(ValueError, match="once, not several times"):
        check_prompt_template("{question}{image}{caption}{caption}")


def test_some_objects_only_in_the_prefix(image_processor, tokenizer, image):
    processor = GeMKRProcessor(image_processor, tokenizer, max_objects=3, max_object_slots=1)
    boxes = [(0, 0, 9, 9), (5, 5, 20, 20)]
    batch = processor(images=image, text=QUESTION, objects=boxes)
    assert (batch["input_ids"] == processor.object_token_id).sum() == 1
    assert batch["object_mask"].tolist() == [[True, True, False]]
    assert processor.num_image_tokens == 2
    with pytest.raises(ValueError, match="max_object_slots must not be negative"):
        GeMKRProcessor(image_processor, tokenizer, max_object_slots=-1)


def test_the_format_of_a_chat_model(image_processor, tokenizer, image):
    with pytest.raises(ValueError, match="no chat template"):
        chat_prompt_template(tokenizer)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    template = chat_prompt_template(tokenizer, "{image} {question}")
    assert template == "[user] {image} {question} [assistant]"
    processor = GeMKRProcessor(image_processor, tokenizer, prompt_template=template)
    ids = processor(images=image, text=QUESTION)["input_ids"][0]
    assert tokenizer.decode(ids) == f"<s>[user] <image> {QUESTION} [assistant]"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image": "x.png", "text": QUESTION}, TypeError, "takes images=, not image="),
        ({"question": QUESTION}, TypeError, "takes text=, not question="),
        ({"text": 5}, ValueError, "A question must be a text, not a int"),
        ({"objects": (0, 0, 10, 10)}, ValueError, "objects must be a list of boxes"),
        ({"objects": "abc"}, ValueError, "objects must be a list of boxes"),
        ({"objects": [(0.1, 0.1, 0.5, 0.5)]}, ValueError, "boxes are in pixels"),
        ({"objects": [Object((0, 0, 5, 5), 3.0)]}, ValueError, "must be in 0..1, not 3.0"),
        ({"images": ""}, ValueError, "path of the image is empty"),
        ({"images": "A" * 9000}, ValueError, "cannot be read: .*; give base64 as"),
    ],
    ids=str,
)
def test_misspelled_and_invalid_arguments(processor, image, arguments, error, message) -> None:
    given = {"images": image, "text": QUESTION, **arguments}
    if "image" in arguments:
        given.pop("images")
    with pytest.raises(error, match=message):
        processor(**given)


def test_templates_with_an_unknown_field() -> None:
    with pytest.raises(ValueError, match=r"not \{foo\}"):
        check_prompt_template("{question} {image} {foo}")
