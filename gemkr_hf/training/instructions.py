"""Instruction data: questions about pictures, answered by clues of their relevant documents."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.progress import progress
from gemkr_hf.training.sampling import SamplingConfig, SnippetSampler, keywords

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """What the model needs of one picture, computed once.

    Attributes:
        size: width and height in pixels.
        objects: the objects found, most confident first.
        pixel_values: float16 ``(3, height, width)`` as the vision tower takes them.
        object_features: float32 ``(max_objects, d)``, X_R of the frozen CLIP; zero rows where
            there is no object.
        object_mask: bool ``(max_objects,)``.
    """

    size: tuple[int, int]
    objects: tuple[Any, ...]
    pixel_values: torch.Tensor
    object_features: torch.Tensor
    object_mask: torch.Tensor


@dataclass(frozen=True)
class Instruction:
    """One training example: a question about a picture and the clue to write."""

    image_id: str
    question: str
    clue: tuple[int, ...]


@torch.no_grad()
def prepare_pictures(
    images: Mapping[str, Any], model: Any, processor: Any, batch_size: int = 64
) -> dict[str, Picture]:
    """Detect the objects of each picture and encode them by the frozen CLIP, once.

    Args:
        images: id -> picture (anything that the processor reads).
        model: a ``GeMKRForRetrieval``.
        processor: its ``GeMKRProcessor``.
        batch_size: pictures at a time.
    """
    model.eval()
    ids = list(images)
    prepared: dict[str, Picture] = {}
    for start in progress(range(0, len(ids), batch_size), "find and encode objects"):
        names = ids[start : start + batch_size]
        loaded = [images[name] for name in names]
        batch = processor(images=loaded, return_objects=True, return_tensors="pt")
        features = model.get_object_features(
            batch["object_pixel_values"].to(model.device), batch["object_mask"].to(model.device)
        ).cpu()
        for row, name in enumerate(names):
            prepared[name] = Picture(
                size=loaded[row].size,
                objects=tuple(batch["objects"][row]),
                pixel_values=batch["pixel_values"][row].half(),
                object_features=features[row].float(),
                object_mask=batch["object_mask"][row],
            )
    return prepared


def write_instructions(
    questions: Iterable[Mapping[str, Any]],
    knowledge_base: KnowledgeBase,
    tokenizer: Any,
    sampling: SamplingConfig,
    seed: int = 0,
) -> list[Instruction]:
    """Draw ``sampling.clues`` clues for each relevant document of each question.

    A clue that is not distinctive is drawn again, ``sampling.redraws`` times at most.

    Args:
        questions: records with ``image_id``, ``question``, ``answers`` and ``relevant_ids``.

    Raises:
        ValueError: a relevant id that the knowledge base does not hold.
    """
    samplers: dict[str, SnippetSampler] = {}
    rng = np.random.default_rng(seed)

    def is_distinctive(clue: Sequence[int]) -> bool:
        return bool(knowledge_base.index.valid_distinct([list(clue)])[0])

    instructions = []
    for record in questions:
        query = keywords([record["question"], *record["answers"]])
        for document_id in record["relevant_ids"]:
            if document_id not in samplers:
                try:
                    row = knowledge_base.row_of(document_id)
                except KeyError:
                    raise ValueError(
                        f"Question '{record['question']}' names the document '{document_id}', "
                        "which is not in the knowledge base"
                    ) from None
                text = knowledge_base[row]["text"]
                samplers[document_id] = SnippetSampler.from_text(text, tokenizer)
            for clue in samplers[document_id].sample(query, sampling, rng, is_distinctive):
                instructions.append(
                    Instruction(record["image_id"], record["question"], tuple(clue))
                )
    return instructions


class InstructionDataset(Dataset):
    """Instructions as the tensors that the model takes.

    Prompts are written once by the processor; an item is a dict of unpadded tensors.
    """

    def __init__(
        self, instructions: Sequence[Instruction], pictures: Mapping[str, Picture], processor: Any
    ) -> None:
        self._instructions = list(instructions)
        self._pictures = pictures
        sizes = [pictures[item.image_id].size for item in self._instructions]
        objects = [pictures[item.image_id].objects for item in self._instructions]
        self._rows = processor.encode_queries(
            [item.question for item in self._instructions],
            sizes=sizes,
            objects=objects,
            clues=[item.clue for item in self._instructions],
        )

    def __len__(self) -> int:
        return len(self._instructions)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        prompt, ending = self._rows[row]
        picture = self._pictures[self._instructions[row].image_id]
        return {
            "input_ids": torch.tensor(prompt + ending),
            "labels": torch.tensor([-100] * len(prompt) + ending),
            "pixel_values": picture.pixel_values,
            "object_features": picture.object_features,
            "object_mask": picture.object_mask,
        }


class InstructionCollator:
    """Pads a batch on the left; labels are -100 at padding and prompt (Eq. 8)."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
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
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "pixel_values": torch.stack([item["pixel_values"] for item in items]).float(),
            "object_features": torch.stack([item["object_features"] for item in items]),
            "object_mask": torch.stack([item["object_mask"] for item in items]),
        }
