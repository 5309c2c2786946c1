"""Encoders, caption and language models learn, are saved, and answer alike when loaded."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gemkr_hf.baselines import (
    CaptionModel,
    Example,
    Pair,
    TextModel,
    TwoTowers,
    fit_captions,
    fit_text_model,
    fit_towers,
)
from gemkr_hf.baselines.baseline import document_hit
from gemkr_hf.baselines.image_inputs import ImageInputs
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.prepared_images import prepare_images
from tests.unit.baselines import retriever_parts as parts

CONFIG = TuningConfig(
    learning_rate=3e-3,
    per_device_train_batch_size=2,
    num_train_epochs=1,
    max_steps=30,
    warmup_steps=1,
    logging_steps=1,
)
TEXTS = [document["text"] for document in parts.DOCUMENTS]


@pytest.fixture(scope="module")
def processor():
    return parts.processor()


@pytest.fixture(scope="module")
def images(processor, tmp_path_factory):
    images = dict(zip(("white", "red"), parts.IMAGES, strict=True))
    folder = tmp_path_factory.mktemp("images")
    return prepare_images(images, list(images), parts.gemkr(processor), processor, folder)


@pytest.mark.parametrize("kind", ["text", "objects", "image"])
def test_towers_learn_their_pairs(kind: str, processor, images, tmp_path) -> None:
    towers = parts.towers(kind, processor)
    same = "What is it?"  # only the image differs
    questions = [same, same] if kind == "image" else parts.QUESTIONS
    pairs = [Pair(questions[0], "white", 0), Pair(questions[1], "red", 2)]
    fit_towers(towers, pairs, TEXTS, CONFIG, tmp_path / "work", images)
    inputs = None
    if kind != "text":
        inputs = ImageInputs.from_prepared(images, ["white", "red"])
    scores = towers.encode_queries(questions, inputs) @ towers.encode_documents(TEXTS).T
    assert scores[0, 0] > scores[0, 2] and scores[1, 2] > scores[1, 0]
    towers.save_pretrained(tmp_path / "towers")
    loaded = TwoTowers.from_pretrained(tmp_path / "towers")
    again = loaded.encode_queries(questions, inputs) @ loaded.encode_documents(TEXTS).T
    np.testing.assert_allclose(again, scores, rtol=1e-4, atol=1e-4)


def test_other_relevant_documents_are_not_negatives(processor) -> None:
    from gemkr_hf.baselines.contrastive_training import collate_pairs

    pairs = [Pair("a", "white", 0, also=(1,)), Pair("b", "red", 1), Pair("c", "red", 0)]
    batch = collate_pairs(pairs, parts.towers("text", processor), TEXTS, None)
    assert batch["excluded"].tolist() == [
        [False, True, True],  # its second document, and its own a second time
        [False, False, False],
        [True, False, False],
    ]


def test_fewer_pairs_than_a_batch_are_refused(processor, tmp_path) -> None:
    towers = parts.towers("text", processor)
    with pytest.raises(ValueError, match=r"1 pairs .* fewer than a batch of 2"):
        fit_towers(towers, [Pair("a", "white", 0)], TEXTS, CONFIG, tmp_path)


def test_a_folder_without_encoders_is_reported(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="No encoders in"):
        TwoTowers.from_pretrained(tmp_path)


def test_encoders_of_earlier_versions_are_loaded(processor, tmp_path) -> None:
    for kind, earlier in (("text", "words"), ("image", "picture")):
        folder = tmp_path / kind
        parts.towers(kind, processor).save_pretrained(folder)
        (folder / "two_towers.json").write_text(json.dumps({"kind": earlier}))
        assert TwoTowers.from_pretrained(folder).kind == kind


def test_earlier_names_are_deprecated(processor) -> None:
    import gemkr_hf.baselines
    from gemkr_hf.retrieval import GeMKRRetriever, Hit

    earlier = {
        "Found": Hit,
        "GeMKRSystem": GeMKRRetriever,
        "WordsEncoder": gemkr_hf.baselines.TextEncoder,
        "name_of": gemkr_hf.baselines.title_or_first_sentence,
    }
    for name, current in earlier.items():
        with pytest.warns(FutureWarning, match=name):
            assert getattr(gemkr_hf.baselines, name) is current
    hit = document_hit("ram", 1.0)
    with pytest.warns(FutureWarning, match="Hit.document_id"):
        assert hit.id == "ram"
    with pytest.warns(FutureWarning, match="Hit.clues"):
        assert hit.clue == ""
    with pytest.warns(FutureWarning, match="words"):
        assert parts.towers("words", processor).kind == "text"


def test_a_text_model_learns_to_write(processor, tmp_path) -> None:
    model = TextModel(parts.llama(processor), processor.tokenizer)
    examples = [Example("one:", (100, 101)), Example("two:", (102, 103))]
    config = replace(CONFIG, learning_rate=1e-2, max_steps=60, lora_r=0)
    fit_text_model(model, examples, config, tmp_path / "work", "train")
    model.save_pretrained(tmp_path / "model")
    loaded = TextModel.from_pretrained(tmp_path / "model")
    for inputs in loaded.inputs(["one:", "two:"], 2):
        written = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)
    eos = processor.tokenizer.eos_token_id
    assert written[:, -3:].tolist() == [[100, 101, eos], [102, 103, eos]]


def test_a_text_model_is_adapted_by_lora(processor, tmp_path) -> None:
    model = TextModel(parts.llama(processor), processor.tokenizer)
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    fit_text_model(model, [Example("one:", (100,)), Example("two:", (102,))], CONFIG, tmp_path, "t")
    after = model.model.state_dict()
    assert after.keys() == before.keys()  # merged
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all("q_proj" in name or "v_proj" in name for name in changed)


def test_a_caption_model_learns_and_is_loaded_again(processor, tmp_path) -> None:
    images = dict(zip(("white", "red"), parts.IMAGES, strict=True))
    captions = [("white", "an empty page"), ("red", "all of it is red")]
    config = TuningConfig(
        learning_rate=3e-3,
        per_device_train_batch_size=2,
        num_train_epochs=1,
        max_steps=80,
        warmup_steps=5,
        logging_steps=1,
    )
    vision = parts.gemkr(processor).vision_tower
    model = fit_captions(
        vision,
        processor.image_processor,
        processor.tokenizer,
        images,
        captions,
        config,
        tmp_path / "work",
    )
    assert model.write(parts.IMAGES) == [caption for _, caption in captions]
    model.save_pretrained(tmp_path / "model")
    torch.manual_seed(1)
    assert CaptionModel.from_pretrained(tmp_path / "model").write(parts.IMAGES[1:]) == [
        captions[1][1]
    ]
