"""Caption models: the image in words, for the systems that cannot see (paper, "Baselines")."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
)

from gemkr_hf.processing import load_image
from gemkr_hf.retrieval.protocol import batches
from gemkr_hf.training.arguments import TuningConfig
from gemkr_hf.training.progress_callback import show_progress
from gemkr_hf.training.trainer import training_arguments
from gemkr_hf.utils.io import atomic_folder
from gemkr_hf.utils.logging import progress

SETTINGS_FILE = "caption_model.json"
MAX_TOKENS = 64


class PublishedCaptions:
    """Any caption model of transformers, such as BLIP or GIT.

    Args:
        model: writes texts about ``pixel_values``.
        processor: of its images and texts.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval()
        self.processor = processor

    def to(self, device: torch.device) -> "PublishedCaptions":
        """Move the model."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def write(self, images: Sequence[Any], batch_size: int = 32) -> list[str]:
        """A caption for each image, by greedy search."""
        captions: list[str] = []
        for rows in progress(batches(len(images), batch_size), "write captions"):
            loaded = [load_image(image) for image in images[rows]]
            inputs = self.processor(images=loaded, return_tensors="pt").to(self.model.device)
            written = self.model.generate(
                **inputs, max_new_tokens=MAX_TOKENS, num_beams=1, do_sample=False
            )
            texts = self.processor.batch_decode(written, skip_special_tokens=True)
            captions += [text.strip() for text in texts]
        return captions


class CaptionModel(nn.Module):
    """A small caption model: a frozen CLIP vision tower, and a GPT-2 that attends to what it sees.

    The tower sees the image as a whole and in a grid of tiles, as models of today do to see small
    things (LLaVA-NeXT, Liu et al. 2024); no detector tells it where to look.

    Args:
        encoder: the vision tower.
        decoder: with cross-attention.
        image_processor: of images.
        tokenizer: of captions.
        grid: tiles in a row.
        tile: side of one as a share of the image's: neighbours overlap.
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
        # What all tiles have in common tells nothing; the scale is that of the training images.
        self.norm = nn.BatchNorm1d(encoder.config.hidden_size, affine=False, momentum=None)
        self.projection = nn.Linear(encoder.config.hidden_size, width)
        self.places = nn.Parameter(0.3 * torch.randn(states, width))
        self.dropout = nn.Dropout(decoder.config.resid_pdrop)

    def tiles_of(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """The pixels of n images, and of the tiles over them, row by row.

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
        starts = [
            round(place * (large - side) / max(1, self.grid - 1)) for place in range(self.grid)
        ]
        tiles = [
            detailed[:, :, top : top + side, left : left + side]
            for top in starts
            for left in starts
        ]
        return torch.stack([whole, *tiles], dim=1)

    @torch.no_grad()
    def see(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """What the tower sees of n images.

        Returns:
            float32 ``(n, 2 * tiles, d)``: of each tile the first token's hidden state and the mean
            of the others'.
        """
        pixels = self.tiles_of(images).flatten(0, 1).to(self.encoder.device)
        states = self.encoder(pixel_values=pixels).last_hidden_state
        states = torch.stack([states[:, 0], states[:, 1:].mean(1)], dim=1).float()
        return states.reshape(len(images), -1, states.shape[-1])

    def _read(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.norm(states.flatten(0, 1)).reshape(states.shape)
        return self.dropout(self.projection(normed) + self.places)

    def forward(self, states: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of captions.

        Args:
            states: of `see`.
            labels: int64 ``(n, length)``, what is written; -100 behind it.
        """
        start = torch.full_like(labels[:, :1], self.tokenizer.bos_token_id)
        rows = torch.cat([start, labels], dim=1)
        output = self.decoder(
            input_ids=rows.masked_fill(rows == -100, self.tokenizer.pad_token_id),
            labels=torch.cat([torch.full_like(start, -100), labels], dim=1),
            encoder_hidden_states=self._read(states),
            use_cache=False,
        )
        return {"loss": output.loss}

    @torch.no_grad()
    def write(self, images: Sequence[Any], batch_size: int = 32) -> list[str]:
        """A caption for each image, by greedy search."""
        self.eval()
        captions: list[str] = []
        for rows in progress(batches(len(images), batch_size), "write captions"):
            states = self.see([load_image(image) for image in images[rows]])
            start = torch.full((len(states), 1), self.tokenizer.bos_token_id, device=states.device)
            written = self.decoder.generate(
                input_ids=start,
                attention_mask=torch.ones_like(start),
                encoder_hidden_states=self._read(states),
                max_new_tokens=MAX_TOKENS,
                num_beams=1,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
            captions += [text.strip() for text in texts]
        return captions

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder of transformers' own files; there whole or not at all."""
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
        """What `save_pretrained` left."""
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
    """A folder of `CaptionModel`, or a folder or Hub id of a caption model of transformers."""
    if (Path(name) / SETTINGS_FILE).is_file():
        return CaptionModel.from_pretrained(name)
    model = AutoModelForImageTextToText.from_pretrained(name, dtype=torch.float32)
    return PublishedCaptions(model, AutoProcessor.from_pretrained(name))


class _Captioned(Dataset):
    """What the frozen tower sees, computed once, and the captions."""

    def __init__(
        self, model: CaptionModel, images: Mapping[str, Any], captions: Sequence[tuple[str, str]]
    ) -> None:
        states = []
        for rows in progress(batches(len(captions), 32), "look at images"):
            some = [load_image(images[name]) for name, _ in captions[rows]]
            states.append(model.see(some).half())
        self._states = torch.cat(states)
        texts = [" " + text for _, text in captions]
        encoded = model.tokenizer(texts, add_special_tokens=False)["input_ids"]
        self._rows = [ids[: MAX_TOKENS - 1] for ids in encoded]
        self._eos = model.tokenizer.eos_token_id

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        labels = torch.tensor([*self._rows[row], self._eos])
        return {"states": self._states[row], "labels": labels}


def _collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, Any]:
    labels = nn.utils.rnn.pad_sequence(
        [item["labels"] for item in items], batch_first=True, padding_value=-100
    )
    return {"states": torch.stack([item["states"] for item in items]).float(), "labels": labels}


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
        image_processor: of that tower.
        tokenizer: of the captions.
        images: id -> image.
        captions: image's id and its caption.
        config: of the training; what is of LoRA is left aside.
        folder: for the Trainer.
        layers, dropout: of the decoder.
    """
    torch.manual_seed(config.seed)
    encoder = CLIPVisionModel(vision.config)
    # GeMKR's tower, less its prefix.
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
    trainer = Trainer(
        model=model,
        args=training_arguments(folder, config, save_strategy="no"),
        train_dataset=_Captioned(model, images, captions),
        data_collator=_collate,
    )
    show_progress(trainer, "train captions")
    trainer.train()
    return model.eval()


__all__ = ["CaptionModel", "PublishedCaptions", "fit_captions", "load_captioner"]
