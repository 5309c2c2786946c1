"""First stage of alignment: projections that start where the objects' words are.

As other models of vision and language do before instruction tuning, the projections of Eq. 7 are
fitted to captions first. Where an object's words are known, neither vision tower nor language model
has to run: X_R is cached, and the target is the sum of the words' embeddings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gemkr_hf.training.prepared_images import PreparedImage

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


def fit_alignment(
    model: Any,
    tokenizer: Any,
    images: Mapping[str, PreparedImage],
    captions: Mapping[str, Sequence[tuple[Box, Sequence[str]]]],
    steps: int = 80,
    temperature: float = 0.1,
    pull: float = 0.3,
) -> int:
    """Set the object projection to the identity and fit the alignment to the objects' captions.

    The target of an object is the sum over its phrases (colour, name) of the mean embedding of the
    phrase's tokens. The fit starts from least squares and then lowers, by Adam on all objects at
    once, the contrastive loss of the nearest target plus ``pull`` times the squared distance to
    the right one. Least squares alone mixes up symbols that look alike.

    Args:
        model: a ``GeMKRForRetrieval``; its projections are overwritten.
        tokenizer: the language model's.
        images: id -> objects found and their X_R.
        captions: id -> for each captioned object its box and its phrases.
        steps: of Adam.
        temperature: of the contrastive loss over all different captions.
        pull: weight of the squared distance.

    Returns:
        Number of objects that were fitted.

    Raises:
        ValueError: no object found has a caption.
    """
    table = model.get_input_embeddings().weight.detach().float().cpu()
    features: list[torch.Tensor] = []
    phrases_of: list[tuple[str, ...]] = []
    for name, image in images.items():
        for found, feature in zip(image.objects, image.object_features, strict=False):
            for box, phrases in captions.get(name, ()):
                if overlap(found.box, box) > 0.5:
                    features.append(feature)
                    phrases_of.append(tuple(phrases))
    if not features:
        raise ValueError("No object that was found has a caption: there is nothing to align to")

    def embedding(phrase: str) -> torch.Tensor:
        return table[tokenizer(f" {phrase}", add_special_tokens=False)["input_ids"]].mean(0)

    different = sorted(set(phrases_of))
    targets = torch.stack([torch.stack(list(map(embedding, some))).sum(0) for some in different])
    rows = {phrases: row for row, phrases in enumerate(different)}
    labels = torch.tensor([rows[phrases] for phrases in phrases_of])
    inputs = torch.stack(features)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)

    weights = _least_squares(inputs, targets[labels]).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=3e-3)
    for _ in range(steps):
        fitted = inputs @ weights
        # Half the squared distance, less what is the same for all targets.
        logits = (fitted @ targets.T - targets.square().sum(1) / 2) / temperature
        distance = (fitted - targets[labels]).square().sum(1).mean()
        loss = torch.nn.functional.cross_entropy(logits, labels) + pull * distance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        if isinstance(model.object_projection, torch.nn.Linear):
            torch.nn.init.eye_(model.object_projection.weight)
            torch.nn.init.zeros_(model.object_projection.bias)
        model.alignment.weight.copy_(weights[:-1].T)
        model.alignment.bias.copy_(weights[-1])
    return len(features)


def _least_squares(inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Weights ``(in, out)`` with a very small ridge, which keeps the problem regular."""
    gram = (inputs.T @ inputs).double()
    ridge = 1e-5 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, (inputs.T @ outputs).double()).float()
