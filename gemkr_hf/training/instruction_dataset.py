"""Instruction data: questions about images, answered by clues of their relevant documents."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.training.clue_sampling import ClueSampler, SamplingConfig, keywords
from gemkr_hf.training.prepared_images import PreparedImages

logger = logging.getLogger(__name__)

INSTRUCTION_FEATURES = datasets.Features(
    {
        "question_id": datasets.Value("string"),
        "image_id": datasets.Value("string"),
        "question": datasets.Value("string"),
        "caption": datasets.Value("string"),
        "document_id": datasets.Value("string"),
        "clue": datasets.List(datasets.Value("int32")),
        "distinctive": datasets.Value("bool"),
    }
)
"""One training example: a question about an image and the clue to write."""


def write_instructions(
    questions: Iterable[Mapping[str, Any]],
    knowledge_base: KnowledgeBase,
    tokenizer: Any,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    captions: bool = False,
) -> datasets.Dataset:
    """Draw ``sampling.clues`` clues for each relevant document of each question.

    Texts of clues that a question brings along (``clues``) are taken as they are, where a document
    holds them. Relevant documents that the knowledge base lacks are left out, with a warning.

    Args:
        questions: records with ``question_id``, ``image_id``, ``question``, ``answers`` and
            ``relevant_ids``, and perhaps ``caption`` and ``clues``.
        knowledge_base: whose documents the clues are cut from.
        tokenizer: that of the knowledge base.
        sampling: the parameters; the paper's by default.
        seed: of the draw.
        captions: keep the questions' captions: they become part of the prompts.

    Returns:
        A data set with ``INSTRUCTION_FEATURES``.

    Raises:
        ValueError: no question has a relevant document of the knowledge base.
    """
    records = list(questions)
    pairs, missing = _relevant_pairs(records, knowledge_base)
    rows = sorted({row for _, row, _ in pairs})
    place = {row: number for number, row in enumerate(rows)}
    sampler = ClueSampler((knowledge_base[row]["text"] for row in rows), tokenizer)
    queries = [
        keywords([records[number]["question"], *records[number]["answers"]])
        for number, _, _ in pairs
    ]
    found = sampler.sample(
        [place[row] for _, row, _ in pairs],
        queries,
        sampling or SamplingConfig(),
        np.random.default_rng(seed),
        knowledge_base.index.valid_distinct,
    )
    columns: dict[str, list[Any]] = {name: [] for name in INSTRUCTION_FEATURES}

    def add(number: int, document_id: str, clue: Any, distinctive: bool) -> None:
        record = records[number]
        columns["question_id"].append(record["question_id"])
        columns["image_id"].append(record["image_id"])
        columns["question"].append(record["question"])
        columns["caption"].append((record.get("caption") or "") if captions else "")
        columns["document_id"].append(document_id)
        columns["clue"].append(clue)
        columns["distinctive"].append(distinctive)

    for pair, clue, distinctive in zip(found.pair, found.tokens, found.distinctive, strict=True):
        number, _, document_id = pairs[pair]
        add(number, document_id, clue, bool(distinctive))
    given = _given_clues(records, knowledge_base, tokenizer)
    for number, row, tokens in given:
        if row >= 0:
            add(number, str(knowledge_base[row]["id"]), tokens, True)
    lost = sum(row < 0 for _, row, _ in given)
    if missing:
        logger.warning(
            f"{len(missing):,} relevant documents are not in the knowledge base and are left out, "
            f"'{missing[0]}' is the first"
        )
    if lost:
        logger.warning(f"{lost:,} of {len(given):,} given clues do not lead to one document alone")
    if not columns["clue"]:
        first = missing[0] if missing else None
        raise ValueError(
            "There is nothing to learn: no question has a relevant document of the knowledge base"
            + (f" (the first that it lacks is '{first}')" if first else "")
        )
    return datasets.Dataset.from_dict(columns, features=INSTRUCTION_FEATURES)


def _relevant_pairs(
    records: Sequence[Mapping[str, Any]], knowledge_base: KnowledgeBase
) -> tuple[list[tuple[int, int, str]], list[str]]:
    """(number of the question, row, id) of relevant documents, and the ids that there are not."""
    named = [
        (number, document_id)
        for number, record in enumerate(records)
        for document_id in dict.fromkeys(record["relevant_ids"])
    ]
    rows = knowledge_base.rows_of([document_id for _, document_id in named]).tolist()
    pairs = [
        (number, row, document_id)
        for (number, document_id), row in zip(named, rows, strict=True)
        if row >= 0
    ]
    missing = [document_id for (_, document_id), row in zip(named, rows, strict=True) if row < 0]
    return pairs, missing


def _given_clues(
    records: Sequence[Mapping[str, Any]], knowledge_base: KnowledgeBase, tokenizer: Any
) -> list[tuple[int, int, list[int]]]:
    """(number of the question, row or -1, tokens) of clues that the questions bring along.

    Within a document a clue's first word has a space before it.
    """
    texts = [
        (number, text) for number, record in enumerate(records) for text in record.get("clues", ())
    ]
    if not texts:
        return []
    encoded = tokenizer(
        [" " + text.strip() for _, text in texts],
        add_special_tokens=False,
        split_special_tokens=True,
    )["input_ids"]
    rows = knowledge_base.lookup(encoded)
    return [
        (number, int(row), clue)
        for (number, _), row, clue in zip(texts, rows, encoded, strict=True)
    ]


class InstructionDataset(Dataset):
    """Instructions as the tensors that the model takes.

    Prompts are written once by the processor; an item is a dict of unpadded tensors.

    Args:
        instructions: records of ``INSTRUCTION_FEATURES``.
        images: those that they are about; None for questions in words alone.
        processor: writes the prompts.
    """

    def __init__(
        self,
        instructions: datasets.Dataset,
        images: PreparedImages | None,
        processor: Any,
    ) -> None:
        self._images = images
        self._image_ids: list[str] = list(instructions["image_id"])
        captions = list(instructions["caption"])
        self._rows = processor.encode_queries(
            list(instructions["question"]),
            sizes=[None if images is None else images.size_of(i) for i in self._image_ids],
            objects=[() if images is None else images.objects_of(i) for i in self._image_ids],
            clues=list(instructions["clue"]),
            captions=captions if any(captions) else None,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        prompt, ending = self._rows[row]
        item = {
            "input_ids": torch.tensor(prompt + ending),
            "labels": torch.tensor([-100] * len(prompt) + ending),
        }
        return item | pixels_of(self._images, self._image_ids[row])


def pixels_of(images: PreparedImages | None, image_id: str) -> dict[str, torch.Tensor]:
    """What the model takes of one image besides its prompt."""
    return {} if images is None else images.tensors_of(image_id)


class InstructionCollator:
    """Pads a batch on the left; labels are -100 at padding and prompt (Eq. 8).

    Clues stand at the ends of rows: labels are those of the last positions alone, ``(B, n)``, and
    ``logits_to_keep`` says how many, so that the language model's head is not computed for prompts.
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, Any]:
        length = max(len(item["input_ids"]) for item in items)
        shape = (len(items), length)
        input_ids = torch.full(shape, self._pad, dtype=torch.long)
        labels = torch.full(shape, -100, dtype=torch.long)
        attention_mask = torch.zeros(shape, dtype=torch.long)
        for row, item in enumerate(items):
            start = length - len(item["input_ids"])
            input_ids[row, start:] = item["input_ids"]
            labels[row, start:] = item["labels"]
            attention_mask[row, start:] = 1
        # One more than the longest clue: its first token is predicted by the position before.
        kept = int((labels != -100).any(0).sum()) + 1
        batch: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels[:, -kept:],
            "logits_to_keep": min(kept, length),
        }
        if "pixel_values" in items[0]:
            batch["pixel_values"] = torch.stack([item["pixel_values"] for item in items]).float()
            for name in ("object_features", "object_mask"):
                batch[name] = torch.stack([item[name] for item in items])
        return batch


__all__ = [
    "INSTRUCTION_FEATURES",
    "InstructionCollator",
    "InstructionDataset",
    "pixels_of",
    "write_instructions",
]
