"""First stage of alignment: projections that start where the objects' words are.

As other models of vision and language do before instruction tuning, the projections of Eq. 7 are
fitted to captions first. Where an object's words are known, the fit needs no gradient: ridge
regression from X_R to the embeddings of the words.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gemkr_hf.training.instructions import Picture

logger = logging.getLogger(__name__)

Box = Sequence[float]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes ``(left, top, right, bottom)``.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


@torch.no_grad()
def fit_alignment(
    model: Any,
    tokenizer: Any,
    pictures: Mapping[str, Picture],
    captions: Mapping[str, Sequence[tuple[Box, Sequence[str]]]],
    ridge: float = 1e-5,
) -> int:
    """Set the object projection to the identity and the alignment to the least-squares fit.

    The target of an object is the sum over its phrases (colour, name) of the mean embedding of the
    phrase's tokens.

    Args:
        model: a ``GeMKRForRetrieval``; its two projections are overwritten.
        tokenizer: the language model's.
        pictures: id -> objects found and their X_R.
        captions: id -> for each captioned object its box and its phrases.
        ridge: weight of the penalty, relative to the mean variance of X_R.

    Returns:
        Number of objects that were fitted.

    Raises:
        ValueError: no object found has a caption.
    """
    table = model.get_input_embeddings().weight.float().cpu()
    known: dict[str, torch.Tensor] = {}

    def phrase_embedding(phrase: str) -> torch.Tensor:
        if phrase not in known:
            ids = tokenizer(f" {phrase}", add_special_tokens=False)["input_ids"]
            known[phrase] = table[ids].mean(0)
        return known[phrase]

    features, targets = [], []
    for name, picture in pictures.items():
        for found, feature in zip(picture.objects, picture.object_features, strict=False):
            for box, phrases in captions.get(name, ()):
                if overlap(found.box, box) > 0.5:
                    features.append(feature)
                    targets.append(torch.stack([phrase_embedding(p) for p in phrases]).sum(0))
    if not features:
        raise ValueError("No object that was found has a caption: there is nothing to align to")
    inputs = torch.stack(features).double()
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)
    gram = inputs.T @ inputs
    penalty = ridge * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype)
    penalty[-1, -1] = 0.0  # the bias is free
    weights = torch.linalg.solve(gram + penalty, inputs.T @ torch.stack(targets).double()).float()
    torch.nn.init.eye_(model.object_projection.weight)
    torch.nn.init.zeros_(model.object_projection.bias)
    model.alignment.weight.copy_(weights[:-1].T)
    model.alignment.bias.copy_(weights[-1])
    logger.info(f"The alignment starts from {len(features)} objects with known words")
    return len(features)
