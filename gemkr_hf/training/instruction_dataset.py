"""Instruction data: questions about images, with clues of relevant documents as answers."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.training.clue_sampling import ClueSampler, SamplingConfig, keywords
from gemkr_hf.training.prepared_images import PreparedImages

logger = logging.getLogger(__name__)

INSTRUCTION_FEATURES = datasets.Features(
    {
        **dict.fromkeys(
            ("question_id", "image_id", "question", "caption", "document_id"),
            datasets.Value("string"),
        ),
        "clue": datasets.List(datasets.Value("int32")),
        "distinctive": datasets.Value("bool"),
    }
)
"""A training example: a question about an image and the clue to write."""


def write_instructions(
    questions: Iterable[Mapping[str, Any]],
    knowledge_base: KnowledgeBase,
    tokenizer: Any,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    captions: bool = False,
) -> datasets.Dataset:
    """Draw ``sampling.clues`` clues for each relevant document of each question.

    Clues that the question file contains (``clues``, as text) are added unchanged if they are
    distinctive. Relevant documents that are not in the knowledge base are left out with a warning.

    Args:
        questions: Records with ``question_id``, ``image_id``, ``question``, ``answers`` and
            ``relevant_ids``, and optionally ``caption`` and ``clues``.
        knowledge_base: The documents to cut clues from.
        tokenizer: That of the knowledge base.
        sampling: Parameters; the paper's by default.
        seed: Seed of the draws.
        captions: Keep the questions' captions, which become part of the prompts.

    Returns:
        A data set with ``INSTRUCTION_FEATURES``.

    Raises:
        ValueError: No question has a relevant document in the knowledge base.
    """
    records = list(questions)
    relevant = [
        (record, document_id)
        for record in records
        for document_id in dict.fromkeys(record["relevant_ids"])
    ]
    rows = knowledge_base.rows_of([document_id for _, document_id in relevant]).tolist()
    missing = [name for (_, name), row in zip(relevant, rows, strict=True) if row < 0]
    pairs = [(*one, row) for one, row in zip(relevant, rows, strict=True) if row >= 0]
    documents = sorted({row for *_, row in pairs})
    number_of = {row: number for number, row in enumerate(documents)}
    sampler = ClueSampler((knowledge_base[row]["text"] for row in documents), tokenizer)
    clues = sampler.sample(
        [number_of[row] for *_, row in pairs],
        [keywords([record["question"], *record["answers"]]) for record, *_ in pairs],
        sampling or SamplingConfig(),
        np.random.default_rng(seed),
        knowledge_base.index.valid_distinct,
    )
    # (question's record, document's id, tokens, whether they are distinctive)
    instructions = [
        (*pairs[pair][:2], tokens, bool(distinctive))
        for pair, tokens, distinctive in zip(
            clues.pair, clues.tokens, clues.distinctive, strict=True
        )
    ]
    given = _given_clues(records, knowledge_base, tokenizer)
    instructions += [
        (record, str(knowledge_base[row]["id"]), tokens, True)
        for record, row, tokens in given
        if row >= 0
    ]
    if missing:
        logger.warning(
            f"{len(missing):,} relevant documents are not in the knowledge base and are left out, "
            f"for example '{missing[0]}'"
        )
    if ambiguous := sum(row < 0 for _, row, _ in given):
        logger.warning(f"{ambiguous:,} of {len(given):,} given clues do not lead to one document")
    if not instructions:
        raise ValueError(
            "There is nothing to learn: no question has a relevant document in the knowledge base"
            + (f" (for example '{missing[0]}' is missing)" if missing else "")
        )
    return datasets.Dataset.from_list(
        [
            {
                "question_id": record["question_id"],
                "image_id": record["image_id"],
                "question": record["question"],
                "caption": (record.get("caption") or "") if captions else "",
                "document_id": document_id,
                "clue": tokens,
                "distinctive": distinctive,
            }
            for record, document_id, tokens, distinctive in instructions
        ],
        features=INSTRUCTION_FEATURES,
    )


def _given_clues(
    records: Sequence[Mapping[str, Any]], knowledge_base: KnowledgeBase, tokenizer: Any
) -> list[tuple[Mapping[str, Any], int, list[int]]]:
    """Return record, row of the document (-1 if there is not exactly one) and tokens of each clue.

    Within a document, a space precedes the first word of a clue.
    """
    texts = [(record, text) for record in records for text in record.get("clues", ())]
    if not texts:
        return []
    encoded = tokenizer(
        [" " + text.strip() for _, text in texts],
        add_special_tokens=False,
        split_special_tokens=True,
    )["input_ids"]
    rows = knowledge_base.lookup(encoded).tolist()
    return [
        (record, row, tokens) for (record, _), row, tokens in zip(texts, rows, encoded, strict=True)
    ]


class InstructionDataset(Dataset):
    """Instructions as dicts of unpadded tensors; the prompts are encoded once, at the start.

    Args:
        instructions: With ``INSTRUCTION_FEATURES``.
        images: Prepared images of the instructions; None for text-only questions.
        processor: Encodes the prompts.
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
    """Return the tensors of an image; none for text-only questions."""
    return {} if images is None else images.tensors_of(image_id)


class InstructionCollator:
    """Pads a batch of B instructions on the left; labels are -100 at padding and prompt (Eq. 8).

    Clues are at the ends of the rows: ``labels`` ``(B, n)`` are those of the last n positions, and
    ``logits_to_keep`` is n, so that the language model's head is not computed for prompts.
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, Any]:
        pad = partial(pad_sequence, batch_first=True, padding_side="left")
        rows = [item["input_ids"] for item in items]
        input_ids = pad(rows, padding_value=self._pad)
        labels = pad([item["labels"] for item in items], padding_value=-100)
        # One more than the longest clue: its first token is predicted by the position before.
        kept = int((labels != -100).any(0).sum()) + 1
        batch: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": pad([torch.ones_like(row) for row in rows]),
            "labels": labels[:, -kept:],
            "logits_to_keep": min(kept, input_ids.shape[1]),
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
