"""The constraint in transformers' own generate(), for a plain language model and a text prompt."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
)

from gemkr_hf.knowledge_base import KnowledgeBase, encode_documents
from gemkr_hf.modeling import diverse_beam_search

WORDS = [f"w{number}" for number in range(40)]
TEXTS = [
    " ".join(WORDS[(7 * row + row * place + place // 3) % 40] for place in range(25))
    for row in range(12)
]
TEXTS += [TEXTS[0], "w1 w2", ""]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    names = ["<pad>", "</s>", "<s>", "<unk>", *WORDS]
    vocabulary = {name: number for number, name in enumerate(names)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "</s>", "pad_token": "<pad>", "bos_token": "<s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **special)


@pytest.fixture(scope="module")
def knowledge_base(tokenizer: PreTrainedTokenizerFast) -> KnowledgeBase:
    documents = [{"id": str(row), "text": text} for row, text in enumerate(TEXTS)]
    return KnowledgeBase.from_documents(documents, tokenizer)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 4,  # padded, as real heads are
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        initializer_range=0.5,
    )
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def inputs(tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    texts = ["w1 w30 what is it", "w5", "w9 w9 w9"]
    return tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)


def clues_of(sequences: torch.Tensor, prompt_length: int) -> list[list[int]]:
    return [[t for t in row if t > 1] for row in sequences[:, prompt_length:].tolist()]


def assert_clues(
    clues: list[list[int]], tokenizer: PreTrainedTokenizerFast, low: int, high: int
) -> None:
    """Each is in a document; it ended as the paper says. By plain search, not by the index."""
    # Of a text that is there twice the knowledge base makes one document.
    documents = encode_documents(list(dict.fromkeys(TEXTS)), tokenizer)
    for clue in clues:
        places = [
            (row, at)
            for row, document in enumerate(documents)
            for at in range(len(document) - len(clue) + 1)
            if document[at : at + len(clue)] == clue
        ]
        assert places and clue
        rows = {row for row, _ in places}
        at_end = all(at + len(clue) == len(documents[row]) for row, at in places)
        assert (low <= len(clue) <= high and len(rows) == 1) or len(clue) == high or at_end
        shorter = [
            row
            for row, document in enumerate(documents)
            if any(document[at : at + len(clue) - 1] == clue[:-1] for at in range(len(document)))
        ]
        assert len(clue) <= low or len(set(shorter)) > 1


MODES = {
    "greedy": {},
    "beam search": {"num_beams": 4, "num_return_sequences": 3},
    "sampling": {"do_sample": True, "num_return_sequences": 4},
    "beam sampling": {"do_sample": True, "num_beams": 3, "num_return_sequences": 2},
    "without cache": {"use_cache": False},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("low", [1, 4, 10])
def test_bare_constraint(mode: str, low: int, model, tokenizer, knowledge_base, inputs) -> None:
    torch.manual_seed(1)
    constraint = knowledge_base.constraint(min_length=low)
    length = inputs["input_ids"].shape[1]
    for _ in range(2):  # the same object serves any number of calls
        out = model.generate(
            **inputs, logits_processor=constraint, max_new_tokens=16, **MODES[mode]
        )
        assert_clues(clues_of(out, length), tokenizer, low, 15)


@pytest.mark.parametrize("mode", ["greedy", "beam search"])
def test_bare_or_in_a_list_is_the_same(mode: str, model, knowledge_base, inputs) -> None:
    arguments = {**inputs, "max_new_tokens": 16, **MODES[mode]}
    bare = model.generate(**arguments, logits_processor=knowledge_base.constraint())
    for others in ([], [TemperatureLogitsWarper(1.0)]):
        processors = LogitsProcessorList([*others, knowledge_base.constraint()])
        assert torch.equal(model.generate(**arguments, logits_processor=processors), bare)


def test_core_calls_it_once_a_step(model, knowledge_base, inputs, monkeypatch) -> None:
    constraint = knowledge_base.constraint(min_length=3, max_length=3)
    lengths = []
    original = type(constraint).__call__

    def counted(self, input_ids, scores):
        lengths.append(input_ids.shape[1])
        return original(self, input_ids, scores)

    monkeypatch.setattr(type(constraint), "__call__", counted)
    model.generate(**inputs, logits_processor=constraint, max_new_tokens=9)
    first = inputs["input_ids"].shape[1]
    assert lengths == [first, first + 1, first + 2, first + 3]


def test_beams_are_those_that_a_search_without_memory_finds(model, knowledge_base, inputs) -> None:
    """Following intervals from step to step changes nothing in what core's beam search finds."""
    length = inputs["input_ids"].shape[1]

    class Forgetful(type(knowledge_base.constraint())):
        def __call__(self, input_ids, scores):
            self.reset()
            return super().__call__(input_ids, scores)

    index, eos = knowledge_base.index, knowledge_base.tokenizer_identity.eos_token_id
    arguments = {**inputs, "max_new_tokens": 16, "num_beams": 6, "num_return_sequences": 6}
    forgetful = Forgetful(index, eos, prompt_length=length)
    assert torch.equal(
        model.generate(**arguments, logits_processor=knowledge_base.constraint()),
        model.generate(**arguments, logits_processor=forgetful),
    )


@pytest.mark.parametrize("mode", ["greedy", "beam search"])
def test_embeddings_alone(mode: str, model, tokenizer, knowledge_base, inputs) -> None:
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach()
    arguments = {"attention_mask": inputs["attention_mask"], "max_new_tokens": 16, **MODES[mode]}
    constraint = knowledge_base.constraint()
    for _ in range(2):
        out = model.generate(inputs_embeds=embeds, logits_processor=constraint, **arguments)
        assert_clues(clues_of(out, 0), tokenizer, 10, 15)
    # Row for row what the same prompt gives as ids.
    ids = model.generate(**inputs, logits_processor=constraint, max_new_tokens=16, **MODES[mode])
    assert clues_of(ids, inputs["input_ids"].shape[1]) == clues_of(out, 0)


@pytest.mark.parametrize("groups", [1, 3])
def test_diverse_beam_search(groups, model, tokenizer, knowledge_base, inputs) -> None:
    out = diverse_beam_search(
        model,
        inputs,
        knowledge_base.constraint(min_length=4),
        num_beams=6,
        num_beam_groups=groups,
        num_return_sequences=3,
        max_new_tokens=16,
        return_dict_in_generate=True,
    )
    found = out.sequences[out.sequences_scores > -torch.inf]
    assert len(found) == 9
    assert_clues(clues_of(found, inputs["input_ids"].shape[1]), tokenizer, 4, 15)


def test_assisted_decoding(model, tokenizer, knowledge_base, inputs) -> None:
    """Steps back and several at once; they need the prompt's length."""
    one = {name: value[:1] for name, value in inputs.items()}
    length = one["input_ids"].shape[1]
    plain = model.generate(**one, logits_processor=knowledge_base.constraint(), max_new_tokens=16)
    assistant = copy.deepcopy(model)
    out = model.generate(
        **one,
        logits_processor=knowledge_base.constraint(prompt_length=length),
        assistant_model=assistant,
        max_new_tokens=16,
        do_sample=False,
    )
    assert clues_of(out, length) == clues_of(plain, length)
