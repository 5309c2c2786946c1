"""Contrastive training of two encoders with the HF Trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset
from transformers import Trainer

from gemkr_hf.baselines.clip import CLIPTowers
from gemkr_hf.baselines.image_inputs import SeenImages
from gemkr_hf.baselines.query_encoders import tensors_of
from gemkr_hf.baselines.two_towers import TwoTowers
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.prepared_images import PreparedImages
from gemkr_hf.training.progress_callback import show_progress
from gemkr_hf.training.trainer import training_arguments

Towers = TypeVar("Towers", TwoTowers, CLIPTowers)


@dataclass(frozen=True)
class Pair:
    """A query and a document that answers it.

    Attributes:
        text: the query's words.
        image_id: of its image.
        document: the number of its document among the texts.
        also: numbers of further documents that answer it: no negatives of it.
    """

    text: str
    image_id: str
    document: int
    also: tuple[int, ...] = ()


class _Pairs(Dataset):
    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> Pair:
        return self._pairs[row]


class _Collator:
    def __init__(
        self,
        towers: TwoTowers | CLIPTowers,
        texts: Sequence[str],
        images: PreparedImages | None,
    ) -> None:
        self._towers, self._texts, self._images = towers, texts, images

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        towers = self._towers
        answers = [{pair.document, *pair.also} for pair in pairs]
        excluded = torch.tensor(
            [
                [row != column and other.document in own for column, other in enumerate(pairs)]
                for row, own in enumerate(answers)
            ]
        )
        batch: dict[str, Any] = {
            "words": towers.tokenize([pair.text for pair in pairs]),
            "documents": towers.tokenize([self._texts[pair.document] for pair in pairs]),
            "excluded": excluded,
        }
        if towers.kind != "words" and self._images is not None:
            seen = SeenImages.of_prepared(self._images, [pair.image_id for pair in pairs])
            batch["images"] = tensors_of(seen, towers.kind, torch.device("cpu"))
        return batch


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
        texts: of the documents.
        config: learning rate, batch, epochs, precision, seed; what is of LoRA is left aside.
        folder: for the Trainer.
        images: of the queries, for encoders that see.
        description: of the line that tells how far it is.

    Raises:
        ValueError: there are fewer pairs than a batch takes.
    """
    if len(pairs) < config.per_device_train_batch_size:
        raise ValueError(
            f"{len(pairs)} pairs of a question and a document are fewer than a batch of "
            f"{config.per_device_train_batch_size}"
        )
    towers.train()
    trainer = Trainer(
        model=towers,
        args=training_arguments(folder, config, save_strategy="no", label_names=[]),
        train_dataset=_Pairs(pairs),
        data_collator=_Collator(towers, texts, images),
    )
    show_progress(trainer, description)
    trainer.train()
    return towers.eval()


__all__ = ["Pair", "fit_towers"]
