import pytest
import torch

from gemkr_hf.processing import Object
from gemkr_hf.training.alignment import fit_alignment
from gemkr_hf.training.prepared_images import PreparedImage

WORDS = ["red", "blue", "ram", "bull", "twins", "lion"]
COLORS, NAMES = WORDS[:2], WORDS[2:]


class Words:
    """A tokenizer of one token a word."""

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [WORDS.index(word) for word in text.split()]}


class Towers(torch.nn.Module):
    """The two projections and the embeddings: all that the fit touches."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(len(WORDS), hidden)
        self.object_projection = torch.nn.Linear(features, features)
        self.alignment = torch.nn.Linear(features, hidden)

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.table


def world(number: int, noise: float, seed: int):
    """Images of two objects each: X_R is a fixed vector of the caption plus noise."""
    torch.manual_seed(0)
    shown = {(color, name): torch.randn(12) for color in COLORS for name in NAMES}
    torch.manual_seed(seed)
    kinds = list(shown)
    boxes = [(0, 0, 10, 10), (20, 20, 30, 30)]
    images, captions = {}, {}
    for row in range(number):
        chosen = [kinds[int(torch.randint(len(kinds), ()))] for _ in boxes]
        features = torch.stack([shown[kind] + noise * torch.randn(12) for kind in chosen])
        images[str(row)] = PreparedImage(
            size=(30, 30),
            objects=tuple(Object(box, 0.9, "object") for box in boxes),
            pixel_values=torch.zeros(3, 2, 2),
            object_features=torch.cat([features, torch.zeros(1, 12)]),
            object_mask=torch.tensor([True, True, False]),
        )
        captions[str(row)] = list(zip(boxes, chosen, strict=True))
    return images, captions


def named_right(model: Towers, images, captions) -> float:
    """Share of the objects whose own caption's embedding is the nearest of all captions."""
    kinds = [(color, name) for color in COLORS for name in NAMES]
    targets = torch.stack(
        [sum(model.table.weight[WORDS.index(word)] for word in kind) for kind in kinds]
    )
    right = []
    for name, image in images.items():
        out = model.alignment(model.object_projection(image.object_features[:2]))
        for row, (_, kind) in zip(torch.cdist(out, targets), captions[name], strict=True):
            right.append(kinds[int(row.argmin())] == kind)
    return sum(right) / len(right)


def test_objects_land_at_the_embeddings_of_their_words() -> None:
    model = Towers(features=12, hidden=8).requires_grad_(False)
    validation = world(60, noise=0.3, seed=2)
    before = named_right(model, *validation)
    fitted = fit_alignment(model, Words(), *world(200, noise=0.3, seed=1))
    assert fitted == 400
    assert torch.equal(model.object_projection.weight, torch.eye(12))
    assert before < 0.5 < 0.95 < named_right(model, *validation)


def test_the_contrastive_steps_tell_apart_what_least_squares_mixes_up() -> None:
    validation = world(200, noise=1.2, seed=2)
    train = world(200, noise=1.2, seed=1)
    torch.manual_seed(3)
    model = Towers(features=12, hidden=4).requires_grad_(False)
    fit_alignment(model, Words(), *train, steps=0)
    least_squares = named_right(model, *validation)
    fit_alignment(model, Words(), *train)
    assert named_right(model, *validation) > least_squares


def test_captions_of_other_boxes_are_not_fitted() -> None:
    images, captions = world(3, noise=0.1, seed=1)
    elsewhere = {
        name: [((100, 100, 110, 110), words) for _, words in items]
        for name, items in captions.items()
    }
    with pytest.raises(ValueError, match="projections cannot be fitted"):
        fit_alignment(Towers(12, 8).requires_grad_(False), Words(), images, elsewhere)
