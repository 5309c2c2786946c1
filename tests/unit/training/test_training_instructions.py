"""Instructions: what is drawn for which question, and what the model is given."""

import logging

import datasets
import numpy as np
import pytest
import torch

from gemkr_hf.toy.stand_ins.assemble import load_untuned_model
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.training.instruction_dataset import InstructionCollator, write_instructions


def questions(data):
    return list(data.benchmark.questions["train"])


def write(data, records, **options):
    return write_instructions(records, data.knowledge_base, data.processor.tokenizer, **options)


def test_each_relevant_document_gives_two_clues_that_it_alone_holds(data) -> None:
    records = questions(data)
    written = write(data, records)
    assert len(written) == 2 * sum(len(record["relevant_ids"]) for record in records)
    rows = data.knowledge_base.lookup(written["clue"])
    for row, instruction in zip(rows, written, strict=True):
        assert data.knowledge_base[int(row)]["id"] == instruction["document_id"]
        assert len(instruction["clue"]) == 12
        assert instruction["distinctive"]


def test_ids_are_compared_as_texts_and_missing_documents_are_left_out(data, caplog) -> None:
    one, two = questions(data)[:2]
    one = {**one, "relevant_ids": [*one["relevant_ids"], "nowhere"]}
    with caplog.at_level(logging.WARNING):
        written = write(data, [one, two])
    assert len(written) == 4
    assert "1 relevant documents are not in the knowledge base" in caplog.text
    assert "nowhere" in caplog.text
    with pytest.raises(ValueError, match=r"nothing to learn.*for example 'nowhere' is missing"):
        write(data, [{**one, "relevant_ids": ["nowhere"]}])


def test_given_clues_are_taken_where_they_lead_to_one_document(data, caplog) -> None:
    record = questions(data)[0]
    text = data.knowledge_base[0]["text"]
    with caplog.at_level(logging.WARNING):
        written = write(
            data, [{**record, "relevant_ids": [], "clues": [text, "what nobody wrote"]}]
        )
    [instruction] = written
    assert instruction["document_id"] == data.knowledge_base[0]["id"]
    assert data.processor.tokenizer.decode(instruction["clue"]).strip() == text
    assert "1 of 2 given clues do not lead to one document" in caplog.text


def test_one_seed_draws_one_set(data) -> None:
    records = questions(data)
    assert write(data, records, seed=3)["clue"] == write(data, records, seed=3)["clue"]
    assert write(data, records, seed=3)["clue"] != write(data, records, seed=4)["clue"]


def test_ambiguous_clues_are_lengthened(data) -> None:
    sampling = SamplingConfig(length=2, ambiguous="lengthen", redraws=0)
    written = write(data, questions(data), sampling=sampling)
    lengths = np.array([len(clue) for clue in written["clue"]])
    assert lengths.min() >= 2
    assert lengths.max() > 2
    assert all(written["distinctive"])


def test_captions_are_part_of_the_prompt_only_where_wanted(data) -> None:
    """A caption that later queries lack must not help in training."""
    records = questions(data)
    assert any(record["caption"] for record in records)
    silent, captioned = write(data, records), write(data, records, captions=True)
    assert not any(silent["caption"])
    assert captioned["caption"][0] == records[0]["caption"]
    decode = data.processor.tokenizer.decode
    caption = records[0]["caption"]
    assert caption not in decode(data.dataset(silent)[0]["input_ids"])
    assert caption in decode(data.dataset(captioned)[0]["input_ids"])


def test_only_the_clue_counts(data) -> None:
    """Labels are the clue and the end token; at prompt and padding -100 (Eq. 8)."""
    dataset = data.dataset()
    batch = InstructionCollator(data.processor.tokenizer.pad_token_id)(
        [dataset[row] for row in range(5)]
    )
    end = data.processor.tokenizer.eos_token_id
    for row in range(5):
        counted = batch["labels"][row][batch["labels"][row] != -100].tolist()
        assert counted == [*data.train[row]["clue"], end]
        assert batch["input_ids"][row, -13:].tolist() == counted
    assert not batch["attention_mask"][batch["input_ids"] == 0].any() or end != 0


def test_a_batch_is_what_the_processor_would_make_of_the_images(data) -> None:
    dataset = data.dataset()
    collate = InstructionCollator(data.processor.tokenizer.pad_token_id)
    batch = collate([dataset[row] for row in range(4)])
    records = data.train.select(range(4))
    whole = data.processor(
        images=[data.benchmark.images[name] for name in records["image_id"]],
        text=list(records["question"]),
        clues=list(records["clue"]),
        return_tensors="pt",
    )
    for name in ("input_ids", "attention_mask", "object_mask"):
        assert torch.equal(batch[name], whole[name]), name
    # Labels are those of the last positions, where the clues are.
    assert batch["logits_to_keep"] == batch["labels"].shape[1] == 14
    assert torch.equal(batch["labels"], whole["labels"][:, -14:])
    assert (whole["labels"][:, :-13] == -100).all()
    torch.testing.assert_close(batch["pixel_values"], whole["pixel_values"], rtol=0, atol=2e-3)
    model = load_untuned_model(data.processor)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).loss, model(**whole).loss, rtol=1e-3, atol=1e-3)


def test_a_model_without_images_reads_captions(data) -> None:
    from gemkr_hf.training.instruction_dataset import InstructionDataset

    captioned = write(data, questions(data), captions=True)
    item = InstructionDataset(captioned, None, data.processor)[0]
    assert set(item) == {"input_ids", "labels"}
    assert isinstance(captioned, datasets.Dataset)
