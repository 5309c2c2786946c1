"""The stand-in for LLaMA: a small Llama trained on the documents and on the task as text.

Every step mixes three kinds of sequences:

- *naming*: a phrase such as "the red sign", some objects, and the name of the object it refers to.
  The model learns to bind a colour, a place or a size to its object;
- *clues*: the prompt of the task, answered by a clue from the relevant document;
- *documents*: title and text, which make the model a virtual knowledge base.

In addition, a linear probe learns at each object whether it is the target of the question.

In a prompt, an object is either words or one slot, whose embedding is that of its colour plus the
mean of its name's, with noise. In this form the objects of an image come later (Eq. 7).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.modeling import diverse_beam_search
from gemkr_hf.toy.stand_ins.text_task import (
    OBJECT_SEPARATOR,
    OBJECT_TEMPLATE,
    PROMPT_TEMPLATE,
    TextExample,
    draw_reference,
    draw_text_example,
)
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import IMAGE_TOKEN, OBJECT_TOKEN
from gemkr_hf.toy.stand_ins.training_loop import Log, LoopSettings, train_steps
from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.toy.symbols.symbol_scenes import SceneObject
from gemkr_hf.training.clue_sampling import ClueSampler, SamplingConfig, keywords

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LanguageModelTraining(LoopSettings):
    """Size of the language model and its training.

    Attributes:
        copy_batch, clue_batch, document_batch: Naming, clue and document sequences in a step.
        copying_alone: Share of the steps, the first ones, without clue sequences.
        slots: Share of the steps in which objects are slots instead of words.
        noise: Noise of a slot, relative to the standard deviation of the embeddings.
    """

    steps: int = 2000
    learning_rate: float = 3e-3
    hidden_size: int = 256
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 4
    copy_batch: int = 24
    clue_batch: int = 40
    document_batch: int = 4
    copying_alone: float = 0.15
    slots: float = 0.75
    noise: float = 0.2


@dataclass
class TokenSequence:
    """A training sequence.

    Attributes:
        tokens: Token ids.
        labels: True for each token that the model shall predict.
        slots: Position, colour tokens and name tokens of each slot.
        objects: Last position of each object, and whether it is the target.
    """

    tokens: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    slots: list[tuple[int, list[int], list[int]]] = field(default_factory=list)
    objects: list[tuple[int, bool]] = field(default_factory=list)

    def add(self, tokens: list[int], label: bool = False) -> None:
        """Append tokens that are labels or not."""
        self.tokens += tokens
        self.labels += [label] * len(tokens)


class SequenceWriter:
    """Writes examples of the task as token sequences."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.image_token, self.object_token = vocabulary[IMAGE_TOKEN], vocabulary[OBJECT_TOKEN]
        self.documents = load_documents()
        self.sampler = ClueSampler((document["text"] for document in self.documents), tokenizer)
        self.rows = {document["id"]: row for row, document in enumerate(self.documents)}
        # The tokenizer joins a space with the word after it, so the template is cut before spaces.
        self._head, rest = PROMPT_TEMPLATE.split(" {question}")
        self._middle, self._tail = rest.split("{image}")
        self.encode = lru_cache(maxsize=200_000)(self._encode)

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _query(
        self, question: str, objects: Sequence[SceneObject], target: SceneObject, slots: bool
    ) -> TokenSequence:
        """Return a prompt that begins with the given text and ends before the response."""
        sequence = TokenSequence()
        sequence.add([self.tokenizer.bos_token_id, *self.encode(question)])
        sequence.add([*self.encode(self._middle), self.image_token])
        for number, item in enumerate(objects):
            if number:
                sequence.add(self.encode(OBJECT_SEPARATOR))
            template = OBJECT_TEMPLATE.replace(OBJECT_TOKEN, "")
            sequence.add(self.encode(template.format(place=item.place, size=item.size)))
            color, name = self.encode(f" {item.color}"), self.encode(f" {item.symbol.name}")
            if slots:
                sequence.slots.append((len(sequence.tokens), color, name))
                sequence.add([self.object_token])
            else:
                sequence.add(color + name)
            sequence.objects.append((len(sequence.tokens) - 1, item is target))
        sequence.add(self.encode(self._tail))
        return sequence

    def prompt(self, example: TextExample, slots: bool) -> TokenSequence:
        """Return the prompt of the task, up to the response."""
        question = f"{self._head} {example.question}"
        return self._query(question, example.objects, example.target, slots)

    def clue(self, example: TextExample, slots: bool, rng: np.random.Generator) -> TokenSequence:
        """Return the prompt and a clue of the relevant document, sampled as for tuning."""
        sequence = self.prompt(example, slots)
        query = keywords([example.question, example.target.symbol.name])
        row, one_clue = self.rows[example.document_id], SamplingConfig(clues=1)
        [clue] = self.sampler.sample([row], [query], one_clue, rng).tokens
        sequence.add([*clue, self.tokenizer.eos_token_id], label=True)
        return sequence

    def naming(
        self, rng: np.random.Generator, slots: bool, number: int | None = None
    ) -> TokenSequence:
        """Return a phrase that refers to one of some objects, the objects, and its name."""
        objects, phrase, target = draw_reference(rng, number)
        sequence = self._query(f"### Question: {phrase}", objects, target, slots)
        sequence.add(self.encode(f" {target.symbol.name}"), label=True)
        return sequence

    def document(self, rng: np.random.Generator) -> TokenSequence:
        """Return title and text of a random document; the text is predicted."""
        document = self.documents[rng.integers(len(self.documents))]
        sequence = TokenSequence()
        sequence.add([self.tokenizer.bos_token_id, *self.encode(f"### {document['title']}\n")])
        text = self.encode(" " + document["text"])
        sequence.add([*text[:100], self.tokenizer.eos_token_id], label=True)
        return sequence


def _pad_left(rows: list[list[int]] | list[list[bool]]) -> torch.Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_side="left")


def embed(
    model: LlamaForCausalLM, sequences: list[TokenSequence], noise: float, image_token: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Pad sequences on the left and embed them, slots included.

    Returns:
        Token ids, int64 ``(batch, length)``, and the model's inputs: ``inputs_embeds`` float
        ``(batch, length, hidden)``, ``attention_mask`` and ``position_ids`` ``(batch, length)``.
    """
    ids = _pad_left([sequence.tokens for sequence in sequences])
    mask = _pad_left([[1] * len(sequence.tokens) for sequence in sequences])
    table: torch.nn.Embedding = model.model.embed_tokens
    embeds = table(ids)
    deviation = table.weight.detach().std()
    slots = [
        (row, ids.shape[1] - len(sequence.tokens) + position, color[0], name)
        for row, sequence in enumerate(sequences)
        for position, color, name in sequence.slots
    ]
    if slots:
        rows, columns, colors, names = zip(*slots, strict=True)
        counts = torch.tensor([len(name) for name in names])
        owners = torch.repeat_interleave(torch.arange(len(slots)), counts)
        tokens = torch.tensor([token for name in names for token in name])
        name_embeds = torch.zeros(len(slots), embeds.shape[-1]).index_add(
            0, owners, table(tokens) / counts[owners, None]
        )
        slot_embeds = table(torch.tensor(colors)) + name_embeds
        if noise:
            slot_embeds = slot_embeds + noise * deviation * torch.randn(slot_embeds.shape)
        embeds = embeds.index_put((torch.tensor(rows), torch.tensor(columns)), slot_embeds)
    if noise:
        # The slot of the whole image has no counterpart in words.
        image = deviation * torch.randn(embeds.shape)
        embeds = torch.where((ids == image_token)[..., None], image, embeds)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return ids, {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": positions}


def sequence_loss(
    model: LlamaForCausalLM,
    probe: torch.nn.Linear,
    sequences: list[TokenSequence],
    noise: float,
    image_token: int,
) -> torch.Tensor:
    """Return the mean cross entropy over the labels plus the probe's over the objects.

    The probe tells from the hidden state at an object whether it is the target. The question
    precedes the objects, so each can be compared with it. Without this loss, the comparison is
    learned only after many thousand sequences.
    """
    ids, inputs = embed(model, sequences, noise, image_token)
    labels = _pad_left([sequence.labels for sequence in sequences])
    hidden = model.model(**inputs, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][labels[:, 1:]])
    loss = cross_entropy(logits.float(), ids[:, 1:][labels[:, 1:]])
    objects = [
        (row, ids.shape[1] - len(sequence.tokens) + position, float(is_target))
        for row, sequence in enumerate(sequences)
        for position, is_target in sequence.objects
    ]
    if objects:
        rows, columns, targets = zip(*objects, strict=True)
        probed = probe(hidden[list(rows), list(columns)]).squeeze(-1).float()
        loss = loss + binary_cross_entropy_with_logits(probed, torch.tensor(targets))
    return loss


@torch.no_grad()
def naming_accuracy(
    model: LlamaForCausalLM, writer: SequenceWriter, slots: bool
) -> dict[str, float]:
    """Measure on held-out sequences whether the model names the object that a phrase refers to.

    Returns:
        Share of names whose every token is the most likely one, by number of objects.
    """
    rng = np.random.default_rng(10_000)
    accuracy = {}
    for objects in range(1, 5):
        sequences = [writer.naming(rng, slots, objects) for _ in range(60)]
        ids, inputs = embed(model, sequences, 0.0, writer.image_token)
        predictions = model(**inputs).logits.argmax(-1)
        correct = [
            # Padding is on the left, so a row ends with the name.
            bool((predictions[row, -size - 1 : -1] == ids[row, -size:]).all())
            for row, size in enumerate(sum(sequence.labels) for sequence in sequences)
        ]
        accuracy[f"{objects} objects"] = round(float(np.mean(correct)), 3)
    return accuracy


def _new_model(
    tokenizer: PreTrainedTokenizerFast, training: LanguageModelTraining
) -> LlamaForCausalLM:
    """Return an untrained model whose keys equal its queries.

    Each token then attends to similar ones from the start, which is what binding needs.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=training.hidden_size,
        intermediate_size=training.intermediate_size,
        num_hidden_layers=training.layers,
        num_attention_heads=training.heads,
        num_key_value_heads=training.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.k_proj.weight.mul_(2)
            layer.self_attn.q_proj.weight.copy_(layer.self_attn.k_proj.weight)
    return model


def train_language_model(
    tokenizer: PreTrainedTokenizerFast,
    training: LanguageModelTraining,
    folder: Path,
    log: Log = logger.info,
) -> tuple[LlamaForCausalLM, dict[str, float]]:
    """Train a language model, or resume from the state in a folder.

    Returns:
        The model in evaluation mode, and its metrics on held-out data.
    """
    torch.manual_seed(training.seed)
    model = _new_model(tokenizer, training)
    # Faster than "sdpa" on a CPU for the backward pass of short sequences in bfloat16.
    model.set_attn_implementation("eager")
    writer = SequenceWriter(tokenizer)
    probe = torch.nn.Linear(training.hidden_size, 1)
    first_clue_step = int(training.copying_alone * training.steps)

    def losses(step: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        slots = bool(rng.random() < training.slots)
        namings = training.copy_batch * (2 if step < first_clue_step else 1)
        batches = [[writer.naming(rng, slots) for _ in range(namings)]]
        if step >= first_clue_step:
            clues = range(training.clue_batch)
            batches.append([writer.clue(draw_text_example(rng), slots, rng) for _ in clues])
        batches.append([writer.document(rng) for _ in range(training.document_batch)])
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16):
                loss = sequence_loss(model, probe, batch, training.noise, writer.image_token)
            yield loss

    def evaluate() -> dict[str, float]:
        return {
            f"naming in {form}, {objects}": accuracy
            for form, slots in (("slots", True), ("words", False))
            for objects, accuracy in naming_accuracy(model, writer, slots).items()
        }

    modules, layers = {"model": model, "probe": probe}, [model.model.layers]
    state_file = folder / "language_model_state.pt"
    train_steps("language model", training, state_file, modules, layers, losses, evaluate, log)
    model.set_attn_implementation("sdpa")
    return model, evaluate()


@torch.no_grad()
def text_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: int = 200
) -> dict[str, float]:
    """Answer held-out questions about scenes in words by constrained beam search.

    It tells how well the model solves the task as text, before any image is involved.

    Returns:
        P@1 of all questions, and by number of objects.
    """
    knowledge_base = KnowledgeBase.from_documents(load_documents(), tokenizer)
    constraint = knowledge_base.constraint()
    writer = SequenceWriter(tokenizer)
    rng = np.random.default_rng(20_000)
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    correct: dict[int, list[bool]] = {number: [] for number in range(1, 5)}
    for row in range(questions):
        example = draw_text_example(rng, row % 4 + 1)
        prompt = torch.tensor([writer.prompt(example, slots=False).tokens])
        sequences = diverse_beam_search(
            model,
            {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)},
            constraint,
            num_beams=8,
            num_beam_groups=2,
            diversity_penalty=0.5,
            max_new_tokens=16,
        )
        clue = [token for token in sequences[0, prompt.shape[1] :].tolist() if token not in ends]
        [document_row] = knowledge_base.lookup([clue])
        document_id = knowledge_base[int(document_row)]["id"] if document_row >= 0 else None
        correct[len(example.objects)].append(document_id == example.document_id)
    return {
        "P@1 in words": float(np.mean([value for values in correct.values() for value in values])),
        **{f"P@1 in words, {n} objects": float(np.mean(v)) for n, v in correct.items()},
    }
