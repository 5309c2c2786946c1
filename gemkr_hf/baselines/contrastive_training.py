"""Contrastive training of dual encoders with in-batch negatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from gemkr_hf.baselines.baseline_training import train_model
from gemkr_hf.baselines.image_inputs import ImageInputs
from gemkr_hf.baselines.two_towers import DualEncoder
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.prepared_images import PreparedImages
from gemkr_hf.utils.deprecation import renamed_arguments

Towers = TypeVar("Towers", bound=DualEncoder)


@dataclass(frozen=True)
class Pair:
    """A query and a document that answers it.

    Attributes:
        text: text of the query.
        image_id: id of its image.
        document: index of the document among the texts.
        also: indices of further documents that answer the query; they are not used as negatives.
    """

    text: str
    image_id: str
    document: int
    also: tuple[int, ...] = ()


def collate_pairs(
    pairs: Sequence[Pair], towers: DualEncoder, texts: Sequence[str], images: PreparedImages | None
) -> dict[str, Any]:
    """Return the arguments of `TwoTowers.forward` for a batch of pairs."""
    answers = [{pair.document, *pair.also} for pair in pairs]
    excluded = [
        [row != column and other.document in own for column, other in enumerate(pairs)]
        for row, own in enumerate(answers)
    ]
    batch: dict[str, Any] = {
        "texts": towers.tokenize([pair.text for pair in pairs]),
        "documents": towers.tokenize([texts[pair.document] for pair in pairs]),
        "excluded": torch.tensor(excluded),
    }
    if towers.kind != "text" and images is not None:
        inputs = ImageInputs.from_prepared(images, [pair.image_id for pair in pairs])
        batch["images"] = inputs.tensors(towers.kind)
    return batch


@renamed_arguments({"pictures": "images"})
def fit_towers(
    towers: Towers,
    pairs: Sequence[Pair],
    texts: Sequence[str],
    config: TuningConfig,
    folder: str | Path,
    images: PreparedImages | None = None,
    description: str = "train encoders",
) -> Towers:
    """Train with the other documents of a batch as negatives (Karpukhin et al. 2020).

    Args:
        towers: ``TwoTowers`` or ``CLIPTowers``; changed in place.
        pairs: queries with their documents.
        texts: texts of the documents.
        config: learning rate, batch size, epochs, precision and seed; LoRA settings are ignored.
        folder: working folder of the Trainer.
        images: images of the queries, for encoders that read images or objects.
        description: label of the progress bar.

    Raises:
        ValueError: There are fewer pairs than the batch size.
    """
    if len(pairs) < config.per_device_train_batch_size:
        raise ValueError(
            f"{len(pairs)} pairs of a question and a document are fewer than a batch of "
            f"{config.per_device_train_batch_size}"
        )
    towers.train()
    collate = partial(collate_pairs, towers=towers, texts=texts, images=images)
    train_model(towers, pairs, collate, config, folder, description, label_names=[])
    return towers.eval()


__all__ = ["Pair", "collate_pairs", "fit_towers"]
