"""A small Llama taught the documents and the task in words: the stand-in for LLaMA.

Three kinds of sequences are mixed in every step:

- *copying*: a phrase such as "the red sign", some objects, and the name of the one it picks: they
  teach to bind a colour, a place or a size to its object before any document is learned;
- *clues*: the prompt of the task, answered by a clue cut from the relevant document;
- *documents*: title and text, which make the model a virtual knowledge base.

Besides the words, the model learns at each object whether it is the one that is meant.

An object stands in a prompt either as words or as one slot whose embedding is that of its colour
plus the mean of its name's, with noise: the form in which an image's object will come.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gemkr_hf.toy.stand_ins.optimizers import TwoOptimizers
from gemkr_hf.toy.stand_ins.tokenizer_stand_in import IMAGE_TOKEN, OBJECT_TOKEN
from gemkr_hf.toy.stand_ins.training_loop import run_steps
from gemkr_hf.toy.stand_ins.words_task import (
    OBJECT_SEPARATOR,
    OBJECT_TEMPLATE,
    PROMPT_TEMPLATE,
    WordsExample,
    WordsTask,
)
from gemkr_hf.toy.symbols.scenes import SceneObject
from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.training.clue_sampling import ClueSampler, SamplingConfig, keywords
from gemkr_hf.utils.config import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LanguageModelTraining(Settings):
    """Size of the language model and its training."""

    hidden_size: int = 256
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 4
    steps: int = 2000
    copy_batch: int = 24
    clue_batch: int = 40
    document_batch: int = 4
    copying_alone: float = 0.15  # share of the steps that see no clue yet
    learning_rate: float = 3e-3
    warmup: int = 100
    slots: float = 0.75  # share of the prompts with slots instead of words
    noise: float = 0.2  # of a slot, relative to the embeddings' own deviation
    seed: int = 0
    save_steps: int = 500


@dataclass
class Sequence:
    """Tokens, where the loss counts, what the slots stand for, and which object is meant.

    Attributes:
        tokens: ids.
        counted: True where the token is to be predicted.
        slots: position, colour's tokens and name's tokens of each slot.
        objects: last position of each object, and whether the question means it.
    """

    tokens: list[int] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)
    slots: list[tuple[int, list[int], list[int]]] = field(default_factory=list)
    objects: list[tuple[int, bool]] = field(default_factory=list)

    def add(self, tokens: list[int], counted: bool = False) -> None:
        """Append tokens; ``counted`` ones are to be predicted."""
        self.tokens += tokens
        self.counted += [counted] * len(tokens)


class Writer:
    """Turns drawn examples into sequences of tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, sampling: SamplingConfig) -> None:
        self.tokenizer = tokenizer
        self.sampling = sampling
        vocabulary = tokenizer.get_vocab()
        self.image_token: int = vocabulary[IMAGE_TOKEN]
        self.object_token: int = vocabulary[OBJECT_TOKEN]
        self._memory: dict[str, list[int]] = {}
        self.documents = load_documents()
        self.sampler = ClueSampler((document["text"] for document in self.documents), tokenizer)
        self.rows = {document["id"]: row for row, document in enumerate(self.documents)}
        # A space belongs to the word after it: pieces are cut before it, as the tokenizer does.
        self._head, rest = PROMPT_TEMPLATE.split(" {question}")
        self._middle, self._tail = rest.split("{image}")

    def encode(self, text: str) -> list[int]:
        """Tokens of a piece of text, without special ones; phrases are remembered."""
        if text not in self._memory:
            if len(self._memory) > 200_000:
                self._memory.clear()
            self._memory[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._memory[text]

    def _objects(
        self,
        sequence: Sequence,
        objects: tuple[SceneObject, ...],
        target: SceneObject,
        slots: bool,
    ) -> None:
        sequence.add([self.image_token])
        for number, item in enumerate(objects):
            if number:
                sequence.add(self.encode(OBJECT_SEPARATOR))
            place = OBJECT_TEMPLATE.replace(OBJECT_TOKEN, "").format(
                place=item.place, size=item.size
            )
            sequence.add(self.encode(place))
            color, name = self.encode(f" {item.color}"), self.encode(f" {item.symbol.name}")
            if slots:
                sequence.slots.append((len(sequence.tokens), color, name))
                sequence.add([self.object_token])
            else:
                sequence.add(color + name)
            sequence.objects.append((len(sequence.tokens) - 1, item is target))

    def prompt(self, example: WordsExample, slots: bool) -> Sequence:
        """The task's prompt up to the response."""
        sequence = Sequence()
        sequence.add([self.tokenizer.bos_token_id, *self.encode(self._head)])
        sequence.add(self.encode(" " + example.question))
        sequence.add(self.encode(self._middle))
        self._objects(sequence, example.objects, example.target, slots)
        sequence.add(self.encode(self._tail))
        return sequence

    def clue(self, example: WordsExample, slots: bool, rng: np.random.Generator) -> Sequence:
        """Prompt and a clue of the relevant document, sampled as in instruction tuning."""
        sequence = self.prompt(example, slots)
        query = keywords([example.question, example.target.symbol.name])
        one = SamplingConfig(
            clues=1,
            length=self.sampling.length,
            span=self.sampling.span,
            smoothing=self.sampling.smoothing,
        )
        [clue] = self.sampler.sample([self.rows[example.document_id]], [query], one, rng).tokens
        sequence.add([*clue, self.tokenizer.eos_token_id], counted=True)
        return sequence

    def copying(
        self, task: WordsTask, rng: np.random.Generator, slots: bool, number: int | None = None
    ) -> Sequence:
        """A phrase that picks one of some objects, the objects, and the name of the picked one."""
        objects, phrase, target = task.reference(rng, number)
        sequence = Sequence()
        sequence.add([self.tokenizer.bos_token_id, *self.encode(f"### Question: {phrase}")])
        sequence.add(self.encode(self._middle))
        self._objects(sequence, objects, target, slots)
        sequence.add(self.encode(self._tail))
        sequence.add(self.encode(f" {target.symbol.name}"), counted=True)
        return sequence

    def document(self, rng: np.random.Generator) -> Sequence:
        """Title and text of a document, all of it counted."""
        document = self.documents[rng.integers(len(self.documents))]
        sequence = Sequence()
        sequence.add([self.tokenizer.bos_token_id, *self.encode(f"### {document['title']}\n")])
        text = self.encode(" " + document["text"])
        sequence.add([*text[:100], self.tokenizer.eos_token_id], counted=True)
        return sequence


def embed(
    model: LlamaForCausalLM,
    sequences: list[Sequence],
    noise: float,
    image_token: int,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad on the left and put the slots' embeddings in.

    Returns:
        ``inputs_embeds`` float ``(batch, length, hidden)``, ``attention_mask`` and ``input_ids``
        int64 ``(batch, length)``.
    """
    length = max(len(sequence.tokens) for sequence in sequences)
    ids = torch.zeros((len(sequences), length), dtype=torch.long)
    mask = torch.zeros_like(ids)
    rows, columns, colors, names, counts = [], [], [], [], []
    for row, sequence in enumerate(sequences):
        pad = length - len(sequence.tokens)
        ids[row, pad:] = torch.tensor(sequence.tokens)
        mask[row, pad:] = 1
        for position, color, name in sequence.slots:
            rows.append(row)
            columns.append(pad + position)
            colors.append(color[0])
            names += name
            counts.append(len(name))
    table: torch.nn.Embedding = model.model.embed_tokens
    embeds = table(ids)
    deviation = table.weight.detach().std()
    if rows:
        owners = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(counts))
        name_embeds = torch.zeros(len(rows), embeds.shape[-1]).index_add(
            0, owners, table(torch.tensor(names)) / torch.tensor(counts)[owners, None]
        )
        slots = table(torch.tensor(colors)) + name_embeds
        if noise:
            slots = slots + noise * deviation * torch.randn(slots.shape, generator=generator)
        embeds = embeds.index_put((torch.tensor(rows), torch.tensor(columns)), slots)
    if noise:
        # What the image as a whole will put into its slot is not known in words.
        image = deviation * torch.randn(embeds.shape, generator=generator)
        embeds = torch.where((ids == image_token)[..., None], image, embeds)
    return embeds, mask, ids


def sequence_loss(
    model: LlamaForCausalLM,
    pointer: torch.nn.Linear,
    sequences: list[Sequence],
    noise: float,
    image_token: int,
) -> torch.Tensor:
    """Mean cross entropy over the counted tokens, and over the objects: is it the one meant?

    The second part is read by ``pointer`` from the hidden states at the objects. The question
    stands before them, so each can be compared with it where it stands; without this step the
    comparison is found only after many thousand sequences.
    """
    embeds, mask, ids = embed(model, sequences, noise, image_token)
    length = ids.shape[1]
    counted = torch.zeros_like(ids, dtype=torch.bool)
    rows, columns, meant = [], [], []
    for row, sequence in enumerate(sequences):
        pad = length - len(sequence.tokens)
        counted[row, pad:] = torch.tensor(sequence.counted)
        for position, is_target in sequence.objects:
            rows.append(row)
            columns.append(pad + position)
            meant.append(float(is_target))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    hidden = model.model(
        inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][counted[:, 1:]])
    loss = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][counted[:, 1:]])
    if rows:
        pointed = pointer(hidden[rows, columns]).squeeze(-1).float()
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(
            pointed, torch.tensor(meant)
        )
    return loss


@torch.no_grad()
def naming_accuracy(
    model: LlamaForCausalLM, writer: Writer, slots: bool, seed: int = 10_000, number: int = 240
) -> dict[str, float]:
    """Held-out binding in words: is the name of the object that a phrase picks the most likely?

    Returns:
        Share of names whose every token is the most likely one, by number of objects.
    """
    rng = np.random.default_rng(seed)
    task = WordsTask()
    accuracy = {}
    for objects in range(1, 5):
        sequences = [writer.copying(task, rng, slots, objects) for _ in range(number // 4)]
        embeds, mask, ids = embed(model, sequences, 0.0, writer.image_token)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        guesses = model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions
        ).logits.argmax(-1)
        right = [
            # Padding is on the left: the name is what the row ends with.
            bool((guesses[row, -size - 1 : -1] == ids[row, -size:]).all())
            for row, size in enumerate(sum(sequence.counted) for sequence in sequences)
        ]
        accuracy[f"{objects} objects"] = round(float(np.mean(right)), 3)
    return accuracy


@torch.no_grad()
def _attend_to_the_same(model: LlamaForCausalLM) -> None:
    """Start with keys equal to queries: a word attends to its like, which is what binding needs."""
    for layer in model.model.layers:
        layer.self_attn.k_proj.weight.mul_(2)
        layer.self_attn.q_proj.weight.copy_(layer.self_attn.k_proj.weight)


def train_language_model(
    tokenizer: PreTrainedTokenizerFast,
    training: LanguageModelTraining,
    folder: Path,
    report: Callable[[str], None] = logger.info,
) -> tuple[LlamaForCausalLM, dict[str, float]]:
    """Train, or go on from the state in ``folder``.

    Returns:
        The model in eval mode, and held-out figures.
    """
    torch.manual_seed(training.seed)
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
    writer, task = Writer(tokenizer, SamplingConfig()), WordsTask()
    # Backwards through short sequences in bfloat16, faster than "sdpa" on a CPU.
    model.set_attn_implementation("eager")
    _attend_to_the_same(model)
    pointer = torch.nn.Linear(training.hidden_size, 1)
    optimizers = TwoOptimizers(
        [model.model.layers],
        [model, pointer],
        training.learning_rate,
        training.warmup,
        training.steps,
    )
    alone = int(training.copying_alone * training.steps)

    def losses_of(step: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        slots = bool(rng.random() < training.slots)
        copies = training.copy_batch * (2 if step < alone else 1)
        batches = [[writer.copying(task, rng, slots) for _ in range(copies)]]
        if step >= alone:
            batches.append(
                [writer.clue(task.draw(rng), slots, rng) for _ in range(training.clue_batch)]
            )
        batches.append([writer.document(rng) for _ in range(training.document_batch)])
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16):
                loss = sequence_loss(model, pointer, batch, training.noise, writer.image_token)
            yield loss

    def figures() -> dict[str, float]:
        return {
            f"naming in {form}, {which}": value
            for form, slots in (("slots", True), ("words", False))
            for which, value in naming_accuracy(model, writer, slots).items()
        }

    run_steps(
        "language model",
        folder / "language_model_state.pt",
        {"model": model, "pointer": pointer},
        optimizers,
        losses_of,
        figures,
        training.steps,
        training.save_steps,
        training.seed,
        report,
    )
    model.set_attn_implementation("sdpa")
    return model, figures()
