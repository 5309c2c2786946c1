"""Caption models: text about an image, for the text-only systems (paper, "Baselines")."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from gemkr_hf.baselines.baseline import batches
from gemkr_hf.baselines.baseline_training import train_model
from gemkr_hf.processing import load_image
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.utils.deprecation import renamed_arguments
from gemkr_hf.utils.io import atomic_folder
from gemkr_hf.utils.logging import progress

SETTINGS_FILE = "caption_model.json"
MAX_TOKENS = 64
GREEDY: dict[str, Any] = {"max_new_tokens": MAX_TOKENS, "num_beams": 1, "do_sample": False}


class _Captioner(ABC):
    """A model that writes captions; `_generate` returns the token ids of a batch of images."""

    tokenizer: Any

    @torch.no_grad()
    def write(self, images: Sequence[Any], batch_size: int = 32) -> list[str]:
        """Return a caption for each image, by greedy search."""
        captions: list[str] = []
        for rows in progress(batches(len(images), batch_size), "write captions"):
            tokens = self._generate([load_image(image) for image in images[rows]])
            texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            captions += [text.strip() for text in texts]
        return captions

    @abstractmethod
    def _generate(self, images: list[Image.Image]) -> torch.Tensor:
        """Return the token ids of a caption for each image, (images, longest)."""


class PublishedCaptions(_Captioner):
    """Any caption model of transformers, such as BLIP or GIT.

    Args:
        model: generates text from ``pixel_values``.
        processor: processor of its images and texts.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval()
        self.processor = self.tokenizer = processor

    def to(self, device: torch.device) -> "PublishedCaptions":
        """Move the model to a device."""
        self.model.to(device)
        return self

    def _generate(self, images: list[Image.Image]) -> torch.Tensor:
        inputs = self.processor(images=images, return_tensors="pt").to(self.model.device)
        return self.model.generate(**inputs, **GREEDY)


class CaptionModel(_Captioner, nn.Module):
    """A small caption model: a frozen CLIP vision tower, and a GPT-2 with cross-attention to it.

    The tower encodes the whole image and a grid of tiles, as current models do to recognize small
    details (LLaVA-NeXT, Liu et al. 2024); there is no detector.

    Args:
        encoder: the vision tower.
        decoder: a GPT-2 with cross-attention.
        image_processor: image processor of the tower.
        tokenizer: tokenizer of the captions.
        grid: tiles per row and column.
        tile: side of a tile relative to the image's; neighbouring tiles overlap.
    """

    def __init__(
        self,
        encoder: CLIPVisionModel,
        decoder: GPT2LMHeadModel,
        image_processor: Any,
        tokenizer: Any,
        grid: int = 4,
        tile: float = 0.35,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.decoder = decoder
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.grid, self.tile = grid, tile
        width, states = decoder.config.n_embd, 2 * (grid * grid + 1)
        # Removes what all tiles have in common; mean and variance are those of the training images.
        self.norm = nn.BatchNorm1d(encoder.config.hidden_size, affine=False, momentum=None)
        self.projection = nn.Linear(encoder.config.hidden_size, width)
        # One embedding for each position; the name is that of saved weights.
        self.places = nn.Parameter(0.3 * torch.randn(states, width))
        self.dropout = nn.Dropout(decoder.config.resid_pdrop)

    def tile_pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return the pixels of n images and of their tiles, row by row.

        Returns:
            float32 ``(n, 1 + grid * grid, 3, side, side)``.
        """
        side = int(self.encoder.config.image_size)  # type: ignore[arg-type]
        large = round(side / self.tile)
        whole, detailed = (
            self.image_processor(
                list(images),
                size={"shortest_edge": edge},
                crop_size={"height": edge, "width": edge},
                return_tensors="pt",
            )["pixel_values"]
            for edge in (side, large)
        )
        starts = [round(n * (large - side) / max(1, self.grid - 1)) for n in range(self.grid)]
        tiles = [
            detailed[:, :, top : top + side, left : left + side]
            for top in starts
            for left in starts
        ]
        return torch.stack([whole, *tiles], dim=1)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return the tower's states of n images.

        Returns:
            float32 ``(n, 2 * tiles, d)``: for each tile the first token's hidden state and the mean
            of the other tokens'.
        """
        pixels = self.tile_pixels(images).flatten(0, 1).to(self.encoder.device)
        states = self.encoder(pixel_values=pixels).last_hidden_state
        states = torch.stack([states[:, 0], states[:, 1:].mean(1)], dim=1).float()
        return states.reshape(len(images), -1, states.shape[-1])

    def _project(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.norm(states.flatten(0, 1)).reshape(states.shape)
        return self.dropout(self.projection(normed) + self.places)

    def forward(self, states: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of captions.

        Args:
            states: from `encode_images`, ``(n, 2 * tiles, d)``.
            labels: int64 ``(n, length)``, token ids of the captions; -100 for padding.
        """
        start = torch.full_like(labels[:, :1], self.tokenizer.bos_token_id)
        rows = torch.cat([start, labels], dim=1)
        output = self.decoder(
            input_ids=rows.masked_fill(rows == -100, self.tokenizer.pad_token_id),
            labels=torch.cat([torch.full_like(start, -100), labels], dim=1),
            encoder_hidden_states=self._project(states),
            use_cache=False,
        )
        return {"loss": output.loss}

    def _generate(self, images: list[Image.Image]) -> torch.Tensor:
        self.eval()
        states = self.encode_images(images)
        start = torch.full((len(states), 1), self.tokenizer.bos_token_id, device=states.device)
        return self.decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=self._project(states),
            pad_token_id=self.tokenizer.pad_token_id,
            **GREEDY,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the parts as transformers checkpoints; the folder is written atomically."""
        with atomic_folder(folder) as target:
            self.encoder.save_pretrained(target / "encoder")
            self.decoder.save_pretrained(target / "decoder")
            self.image_processor.save_pretrained(target / "encoder")
            self.tokenizer.save_pretrained(target / "tokenizer")
            own = {
                name: value
                for name, value in self.state_dict().items()
                if not name.startswith(("encoder.", "decoder."))
            }
            save_file(own, target / "reading.safetensors")
            settings = json.dumps({"grid": self.grid, "tile": self.tile})
            (target / SETTINGS_FILE).write_text(settings, encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "CaptionModel":
        """Load what `save_pretrained` wrote."""
        folder = Path(folder)
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        model = cls(
            CLIPVisionModel.from_pretrained(folder / "encoder", dtype=torch.float32),
            GPT2LMHeadModel.from_pretrained(folder / "decoder", dtype=torch.float32),
            AutoImageProcessor.from_pretrained(folder / "encoder"),
            AutoTokenizer.from_pretrained(folder / "tokenizer"),
            **settings,
        )
        model.load_state_dict(load_file(folder / "reading.safetensors"), strict=False)
        return model.eval()


def load_captioner(name: str | Path) -> CaptionModel | PublishedCaptions:
    """Load a `CaptionModel`, or a caption model of transformers, from a folder or the Hub."""
    if (Path(name) / SETTINGS_FILE).is_file():
        return CaptionModel.from_pretrained(name)
    model = AutoModelForImageTextToText.from_pretrained(name, dtype=torch.float32)
    return PublishedCaptions(model, AutoProcessor.from_pretrained(name))


@renamed_arguments({"pictures": "images"})
def fit_captions(
    vision: Any,
    image_processor: Any,
    tokenizer: Any,
    images: Mapping[str, Any],
    captions: Sequence[tuple[str, str]],
    config: TuningConfig,
    folder: str | Path,
    layers: int = 2,
    dropout: float = 0.2,
) -> CaptionModel:
    """Train a `CaptionModel` with a new decoder.

    Args:
        vision: the vision tower.
        image_processor: image processor of the tower.
        tokenizer: tokenizer of the captions.
        images: id -> image.
        captions: pairs of an image's id and its caption.
        config: learning rate, batch size, epochs, precision and seed; LoRA settings are ignored.
        folder: working folder of the Trainer.
        layers: number of layers of the decoder.
        dropout: dropout of the decoder.
    """
    torch.manual_seed(config.seed)
    encoder = CLIPVisionModel(vision.config)
    # GeMKR's tower without its prefix.
    encoder.load_state_dict(vision.state_dict(), strict=False)
    width = vision.config.hidden_size
    decoder = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=width,
            n_layer=layers,
            n_head=max(1, width // 32),
            n_positions=2 * MAX_TOKENS,
            add_cross_attention=True,
            attn_pdrop=0.0,
            embd_pdrop=dropout,
            resid_pdrop=dropout,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model = CaptionModel(encoder.eval(), decoder, image_processor, tokenizer)
    states: list[torch.Tensor] = []  # of the frozen tower, computed once
    for rows in progress(batches(len(captions), 32), "encode images"):
        batch = [load_image(images[name]) for name, _ in captions[rows]]
        states += model.encode_images(batch).half()
    encoded = tokenizer([" " + text for _, text in captions], add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    examples = [
        {"states": of_image, "labels": torch.tensor([*ids[: MAX_TOKENS - 1], end])}
        for of_image, ids in zip(states, encoded, strict=True)
    ]
    train_model(model, examples, _collate, config, folder, "train captions")
    return model.eval()


def _collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, Any]:
    labels = nn.utils.rnn.pad_sequence(
        [item["labels"] for item in items], batch_first=True, padding_value=-100
    )
    return {"states": torch.stack([item["states"] for item in items]).float(), "labels": labels}


__all__ = ["CaptionModel", "PublishedCaptions", "fit_captions", "load_captioner"]
