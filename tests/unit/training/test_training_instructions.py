"""Instructions: what is drawn for which question, and what the model is given."""

import logging

import datasets
import numpy as np
import pytest
import torch

from gemkr_hf.toy.stand_ins.assemble import load_untuned_model
from gemkr_hf.training.clue_sampling import SamplingConfig
from gemkr_hf.training.instruction_dataset import InstructionCollator, write_instructions


def questions(ground):
    return list(ground.benchmark.questions["train"])


def write(ground, records, **options):
    return write_instructions(records, ground.knowledge_base, ground.processor.tokenizer, **options)


def test_each_relevant_document_gives_two_clues_that_it_alone_holds(ground) -> None:
    records = questions(ground)
    written = write(ground, records)
    assert len(written) == 2 * sum(len(record["relevant_ids"]) for record in records)
    rows = ground.knowledge_base.lookup(written["clue"])
    for row, instruction in zip(rows, written, strict=True):
        assert ground.knowledge_base[int(row)]["id"] == instruction["document_id"]
        assert len(instruction["clue"]) == 12
        assert instruction["distinctive"]


def test_ids_are_compared_as_texts_and_missing_documents_are_left_out(ground, caplog) -> None:
    one, two = questions(ground)[:2]
    one = {**one, "relevant_ids": [*one["relevant_ids"], "nowhere"]}
    with caplog.at_level(logging.WARNING):
        written = write(ground, [one, two])
    assert len(written) == 4
    assert "1 relevant documents are not in the knowledge base" in caplog.text
    assert "nowhere" in caplog.text
    with pytest.raises(ValueError, match=r"nothing to learn.*for example 'nowhere' is missing"):
        write(ground, [{**one, "relevant_ids": ["nowhere"]}])


def test_given_clues_are_taken_where_they_lead_to_one_document(ground, caplog) -> None:
    record = questions(ground)[0]
    text = ground.knowledge_base[0]["text"]
    with caplog.at_level(logging.WARNING):
        written = write(
            ground, [{**record, "relevant_ids": [], "clues": [text, "what nobody wrote"]}]
        )
    [instruction] = written
    assert instruction["document_id"] == ground.knowledge_base[0]["id"]
    assert ground.processor.tokenizer.decode(instruction["clue"]).strip() == text
    assert "1 of 2 given clues do not lead to one document" in caplog.text


def test_one_seed_draws_one_set(ground) -> None:
    records = questions(ground)
    assert write(ground, records, seed=3)["clue"] == write(ground, records, seed=3)["clue"]
    assert write(ground, records, seed=3)["clue"] != write(ground, records, seed=4)["clue"]


def test_ambiguous_clues_are_lengthened(ground) -> None:
    sampling = SamplingConfig(length=2, ambiguous="lengthen", redraws=0)
    written = write(ground, questions(ground), sampling=sampling)
    lengths = np.array([len(clue) for clue in written["clue"]])
    assert lengths.min() >= 2
    assert lengths.max() > 2
    assert all(written["distinctive"])


def test_captions_are_part_of_the_prompt_only_where_wanted(ground) -> None:
    """What the model is not asked with later must not help it in training."""
    records = questions(ground)
    assert any(record["caption"] for record in records)
    silent, told = write(ground, records), write(ground, records, captions=True)
    assert not any(silent["caption"])
    assert told["caption"][0] == records[0]["caption"]
    decode = ground.processor.tokenizer.decode
    caption = records[0]["caption"]
    assert caption not in decode(ground.dataset(silent)[0]["input_ids"])
    assert caption in decode(ground.dataset(told)[0]["input_ids"])


def test_only_the_clue_counts(ground) -> None:
    """Labels are the clue and the end token; at prompt and padding -100 (Eq. 8)."""
    dataset = ground.dataset()
    batch = InstructionCollator(ground.processor.tokenizer.pad_token_id)(
        [dataset[row] for row in range(5)]
    )
    end = ground.processor.tokenizer.eos_token_id
    for row in range(5):
        counted = batch["labels"][row][batch["labels"][row] != -100].tolist()
        assert counted == [*ground.train[row]["clue"], end]
        assert batch["input_ids"][row, -13:].tolist() == counted
    assert not batch["attention_mask"][batch["input_ids"] == 0].any() or end != 0


def test_a_batch_is_what_the_processor_would_make_of_the_images(ground) -> None:
    dataset = ground.dataset()
    collate = InstructionCollator(ground.processor.tokenizer.pad_token_id)
    batch = collate([dataset[row] for row in range(4)])
    records = ground.train.select(range(4))
    whole = ground.processor(
        images=[ground.benchmark.images[name] for name in records["image_id"]],
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
    model = load_untuned_model(ground.processor)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).loss, model(**whole).loss, rtol=1e-3, atol=1e-3)


def test_a_model_without_images_reads_captions(ground) -> None:
    from gemkr_hf.training.instruction_dataset import InstructionDataset

    told = write(ground, questions(ground), captions=True)
    item = InstructionDataset(told, None, ground.processor)[0]
    assert set(item) == {"input_ids", "labels"}
    assert isinstance(told, datasets.Dataset)
