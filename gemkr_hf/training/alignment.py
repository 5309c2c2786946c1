"""Alignment before instruction tuning: fit the projections of Eq. 7 to captions of objects.

Neither vision tower nor language model has to run: X_R is cached, and the target of an object is
the sum of the embeddings of its caption.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torchvision.ops import box_iou

from gemkr_hf.training.prepared_images import PreparedImage

Box = Sequence[float]


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
    phrase's tokens. The fit starts from least squares. Adam on all objects at once then minimises
    the contrastive loss over all targets plus ``pull`` times the squared distance to the right
    one: least squares alone confuses symbols that look alike.

    Args:
        model: A ``GeMKRForRetrieval``; its projections are overwritten.
        tokenizer: The language model's.
        images: Image id -> detected objects and their X_R.
        captions: Image id -> box ``(left, top, right, bottom)`` and phrases of each captioned
            object. A detected object takes the captions whose box has an intersection over union
            of more than 0.5 with its own.
        steps: Steps of Adam.
        temperature: Temperature of the contrastive loss.
        pull: Weight of the squared distance.

    Returns:
        Number of fitted objects.

    Raises:
        ValueError: No detected object has a caption.
    """
    table = model.get_input_embeddings().weight.detach().float().cpu()
    features: list[torch.Tensor] = []
    phrases_of: list[tuple[str, ...]] = []
    for name, image in images.items():
        captioned = captions.get(name, ())
        if not image.objects or not captioned:
            continue
        boxes = ([one.box for one in image.objects], [tuple(box) for box, _ in captioned])
        matches = box_iou(*(torch.tensor(some, dtype=torch.float64) for some in boxes))
        for row, column in (matches > 0.5).nonzero().tolist():
            features.append(image.object_features[row])
            phrases_of.append(tuple(captioned[column][1]))
    if not features:
        raise ValueError("No detected object has a caption: the projections cannot be fitted")

    def embedding(phrase: str) -> torch.Tensor:
        return table[tokenizer(f" {phrase}", add_special_tokens=False)["input_ids"]].mean(0)

    different = sorted(set(phrases_of))
    targets = torch.stack([torch.stack(list(map(embedding, some))).sum(0) for some in different])
    rows = {phrases: row for row, phrases in enumerate(different)}
    labels = torch.tensor([rows[phrases] for phrases in phrases_of])
    inputs = torch.stack(features)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)

    # Least squares, with a very small ridge that keeps the problem regular.
    gram = (inputs.T @ inputs).double()
    ridge = 1e-5 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solution = torch.linalg.solve(gram + ridge, (inputs.T @ targets[labels]).double())
    weights = solution.float().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=3e-3)
    for _ in range(steps):
        fitted = inputs @ weights
        # Negative half squared distance, without the terms that all targets share.
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
