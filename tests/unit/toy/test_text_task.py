"""The task in words is the task that images pose."""

import numpy as np
import pytest

from gemkr_hf.processing import Object
from gemkr_hf.toy.stand_ins.assemble import load_processor
from gemkr_hf.toy.stand_ins.language_model_stand_in import SequenceWriter
from gemkr_hf.toy.stand_ins.text_task import draw_text_example
from gemkr_hf.toy.symbols.symbol_documents import load_known_symbols
from gemkr_hf.toy.symbols.symbol_scenes import LARGE_OBJECT, PLACES, SCENE_SIZE


@pytest.fixture(scope="module")
def processor():
    return load_processor()


@pytest.fixture(scope="module")
def writer(processor):
    return SequenceWriter(processor.tokenizer)


def box_of(item) -> tuple[float, float, float, float]:
    """A box where and as large as the words say."""
    centre_x = SCENE_SIZE * (0.25 if "left" in item.place else 0.75)
    centre_y = SCENE_SIZE * (0.25 if "top" in item.place else 0.75)
    half = LARGE_OBJECT * SCENE_SIZE * (0.55 if item.size == "large" else 0.35)
    return (centre_x - half, centre_y - half, centre_x + half, centre_y + half)


def test_the_prompt_in_slots_is_the_processors_token_for_token(processor, writer) -> None:
    rng = np.random.default_rng(1)
    for number in (1, 2, 3, 4) * 3:
        example = draw_text_example(rng, number)
        objects = [Object(box_of(item), 0.9, "object") for item in example.objects]
        [(prompt, _)] = processor.encode_queries(
            [example.question], sizes=[(SCENE_SIZE, SCENE_SIZE)], objects=[objects]
        )
        assert prompt == writer.prompt(example, slots=True).tokens


def test_a_clue_in_words_is_a_run_of_the_relevant_document(writer) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        example = draw_text_example(rng)
        sequence = writer.clue(example, True, rng)
        labels = [t for t, c in zip(sequence.tokens, sequence.labels, strict=True) if c]
        document = writer.sampler.tokens[writer.rows[example.document_id]].tolist()
        clue = labels[:-1]
        assert labels[-1] == writer.tokenizer.eos_token_id
        assert any(
            document[at : at + len(clue)] == clue for at in range(len(document) - len(clue) + 1)
        )


def test_symbols_held_out_are_never_asked_of(writer) -> None:
    rng = np.random.default_rng(3)
    assert sum(not symbol.seen for symbol in load_known_symbols()) >= 12
    assert all(draw_text_example(rng).target.symbol.seen for _ in range(300))


def test_the_picked_object_is_the_only_one_that_is_meant(writer) -> None:
    rng = np.random.default_rng(4)
    for number in range(1, 5):
        example = draw_text_example(rng, number)
        objects = writer.prompt(example, slots=True).objects
        assert len(objects) == number
        assert sum(meant for _, meant in objects) == 1
        assert len({item.place for item in example.objects} & set(PLACES)) == number
