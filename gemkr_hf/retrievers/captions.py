"""A caption model: the picture in words, for the systems that cannot see (paper, "Baselines")."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    CLIPVisionModel,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    VisionEncoderDecoderModel,
)
from transformers.modeling_outputs import BaseModelOutput

from gemkr_hf.checkpoints.saving import whole_folder
from gemkr_hf.processing import load_picture
from gemkr_hf.progress import progress
from gemkr_hf.retrievers.base import batches
from gemkr_hf.training.config import TuningConfig
from gemkr_hf.training.progress import show_progress
from gemkr_hf.training.tuning import training_arguments

MAX_TOKENS = 64
TILE = 0.6
"""Side of a tile, as a share of the picture's: the four overlap in the middle."""


class CaptionModel:
    """Writes a picture in words.

    Args:
        model: a ``VisionEncoderDecoderModel``, or another class of transformers that writes texts
            about ``pixel_values``. One whose configuration says ``tiles`` reads the picture as a
            whole and in its four corners, as models of today do to see small things (LLaVA-NeXT,
            Liu et al. 2024); no detector tells it where to look.
        image_processor: of pictures.
        tokenizer: of captions.
    """

    def __init__(self, model: Any, image_processor: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self._tiles = bool(getattr(model.config, "tiles", False))

    @torch.no_grad()
    def write(self, images: Sequence[Any], batch_size: int = 32) -> list[str]:
        """A caption for each picture, by greedy search."""
        captions: list[str] = []
        for rows in progress(batches(len(images), batch_size), "write captions"):
            pictures = [load_picture(image) for image in images[rows]]
            given: dict[str, Any]
            if self._tiles:
                states = encode_tiles(self.model.encoder, self.image_processor, pictures)
                given = {"encoder_outputs": BaseModelOutput(last_hidden_state=states.float())}
            else:
                pixels = self.image_processor(pictures, return_tensors="pt")["pixel_values"]
                given = {"pixel_values": pixels.to(self.model.device, self.model.dtype)}
            written = self.model.generate(
                **given, max_new_tokens=MAX_TOKENS, num_beams=1, do_sample=False
            )
            captions += [
                text.strip()
                for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)
            ]
        return captions

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder of transformers' own files; there whole or not at all."""
        with whole_folder(Path(folder)) as target:
            self.model.save_pretrained(target)
            self.image_processor.save_pretrained(target)
            self.tokenizer.save_pretrained(target)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "CaptionModel":
        """A folder or Hub id of a caption model of transformers."""
        kind: Any = AutoModelForImageTextToText
        if AutoConfig.from_pretrained(name).model_type == "vision-encoder-decoder":
            kind = VisionEncoderDecoderModel
        return cls(
            kind.from_pretrained(name, dtype=torch.float32),
            AutoImageProcessor.from_pretrained(name),
            AutoTokenizer.from_pretrained(name),
        )


def tiles_of(picture: Image.Image) -> list[Image.Image]:
    """The picture, and its four corners."""
    width, height = picture.size
    across, down = round(TILE * width), round(TILE * height)
    corners = [(x, y) for y in (0, height - down) for x in (0, width - across)]
    return [picture, *(picture.crop((x, y, x + across, y + down)) for x, y in corners)]


@torch.no_grad()
def encode_tiles(
    encoder: Any, image_processor: Any, pictures: Sequence[Image.Image]
) -> torch.Tensor:
    """What the vision tower sees of pictures and their tiles.

    Returns:
        ``(pictures, 5 * patches, d)``: hidden states, each with the code of its tile added.
    """
    tiles = [tiles_of(picture) for picture in pictures]
    pixels = image_processor([tile for of_one in tiles for tile in of_one], return_tensors="pt")
    states = encoder(pixel_values=pixels["pixel_values"].to(encoder.device)).last_hidden_state
    states = states.reshape(len(pictures), len(tiles[0]), *states.shape[1:])
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn((len(tiles[0]), states.shape[-1]), generator=generator)
    return (states + states.std() * codes[:, None].to(states.device)).flatten(1, 2)


class _Captioned(Dataset):
    """What the frozen encoder sees, computed once, in half precision, and the captions."""

    def __init__(self, model: CaptionModel, pictures: Iterator[Any], captions: Sequence[str]):
        states = []
        for rows in progress(batches(len(captions), 64), "encode pictures"):
            some = [load_picture(next(pictures)) for _ in range(rows.stop - rows.start)]
            states.append(encode_tiles(model.model.encoder, model.image_processor, some).half())
        self._states = torch.cat(states)
        encoded = model.tokenizer([" " + text for text in captions], add_special_tokens=False)
        self._rows = [ids[: MAX_TOKENS - 1] for ids in encoded["input_ids"]]
        self._eos = model.tokenizer.eos_token_id

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        labels = torch.tensor([*self._rows[row], self._eos])
        return {"states": self._states[row], "labels": labels}


def _collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, Any]:
    labels = torch.nn.utils.rnn.pad_sequence(
        [item["labels"] for item in items], batch_first=True, padding_value=-100
    )
    states = torch.stack([item["states"] for item in items]).float()
    return {"encoder_outputs": (states,), "labels": labels}


def fit_captions(
    vision: Any,
    image_processor: Any,
    tokenizer: Any,
    pictures: Mapping[str, Any],
    captions: Sequence[tuple[str, str]],
    config: TuningConfig,
    folder: str | Path,
    layers: int = 2,
) -> CaptionModel:
    """Train a small caption model: a frozen CLIP vision tower, and a new GPT-2 that attends to it.

    Args:
        vision: the vision tower.
        image_processor: of that tower.
        tokenizer: of the captions.
        pictures: id -> picture.
        captions: picture's id and its caption.
        config: of the training; what is of LoRA is left aside.
        folder: for the Trainer.
        layers: of the decoder.
    """
    torch.manual_seed(config.seed)
    encoder = CLIPVisionModel(vision.config)
    encoder.load_state_dict(vision.state_dict(), strict=False)
    encoder.requires_grad_(False)
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
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.tiles = True
    for part in (model.config, model.generation_config):
        part.decoder_start_token_id = tokenizer.bos_token_id
        part.pad_token_id = tokenizer.pad_token_id
        part.eos_token_id = tokenizer.eos_token_id
    captioner = CaptionModel(model, image_processor, tokenizer)
    shown = (pictures[name] for name, _ in captions)
    dataset = _Captioned(captioner, shown, [caption for _, caption in captions])
    trainer = Trainer(
        model=model.train(),
        args=training_arguments(folder, config, save_strategy="no"),
        train_dataset=dataset,
        data_collator=_collate,
    )
    show_progress(trainer, "train captions")
    trainer.train()
    model.eval()
    return captioner


__all__ = ["MAX_TOKENS", "CaptionModel", "encode_tiles", "fit_captions", "tiles_of"]
