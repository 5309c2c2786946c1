"""Two encoders, of queries and of documents, trained so that a query lies next to its document."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    DPRContextEncoder,
    DPRQuestionEncoder,
    LxmertModel,
    PreTrainedTokenizerBase,
    ViltModel,
)

from gemkr_hf.baselines.image_inputs import SeenImages
from gemkr_hf.baselines.query_encoders import (
    ImageEncoder,
    ObjectsEncoder,
    Tensors,
    WordsEncoder,
    tensors_of,
)
from gemkr_hf.retrieval.protocol import batches
from gemkr_hf.utils.io import atomic_folder

SETTINGS_FILE = "two_towers.json"
MAX_LENGTH = 256
"""Tokens of a text; what is longer is cut."""


class TwoTowers(nn.Module):
    """An encoder of queries, an encoder of documents, and the tokenizer of both.

    Args:
        query: ``WordsEncoder``, ``ObjectsEncoder`` or ``ImageEncoder``.
        document: DPR's encoder of passages.
        tokenizer: pads on the right; a text's first token stands for all of it.
    """

    def __init__(
        self, query: nn.Module, document: DPRContextEncoder, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        self.query: Any = query
        self.document = document
        self.tokenizer = tokenizer

    @property
    def kind(self) -> str:
        """What the queries' encoder reads: ``words``, ``objects`` or ``image``."""
        return str(self.query.kind)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(
        self,
        words: Tensors,
        documents: Tensors,
        excluded: torch.Tensor,
        images: Tensors | None = None,
    ) -> dict[str, torch.Tensor]:
        """The contrastive loss of DPR: each query's own document against all others of the batch.

        Args:
            words: ``input_ids`` and ``attention_mask`` of b queries.
            documents: of b documents, the i-th that of query i, and perhaps of further ones that
                answer none.
            excluded: bool ``(b, documents)``, True where another document answers the query too.
            images: of the queries.
        """
        queries = self.query(words, images)
        found = self.document(**documents).pooler_output
        # Scaled, so that the loss starts small; no order changes.
        scores = (queries @ found.T).float() / math.sqrt(queries.shape[-1])
        scores = scores.masked_fill(excluded, -1e4)
        labels = torch.arange(len(queries), device=scores.device)
        return {"loss": nn.functional.cross_entropy(scores, labels)}

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask, int64 ``(n, length)``, on the CPU."""
        encoded = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=MAX_LENGTH,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    def encode_words(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask, int64 ``(n, length)``, where the weights are."""
        return {name: ids.to(self.device) for name, ids in self.tokenize(texts).items()}

    @torch.no_grad()
    def encode_documents(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of documents."""
        self.eval()
        parts = [
            self.document(**self.encode_words(texts[rows])).pooler_output.float().cpu().numpy()
            for rows in batches(len(texts), batch_size)
        ]
        return np.concatenate(parts)

    @torch.no_grad()
    def encode_queries(
        self, texts: Sequence[str], images: SeenImages | None = None
    ) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of one batch of queries."""
        self.eval()
        words = self.encode_words(texts)
        return self.query(words, tensors_of(images, self.kind, self.device)).float().cpu().numpy()

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder of transformers' own files; there whole or not at all."""
        with atomic_folder(folder) as target:
            self.query.text.save_pretrained(target / "query")
            self.document.save_pretrained(target / "document")
            self.tokenizer.save_pretrained(target / "tokenizer")
            if isinstance(self.query, ImageEncoder):
                self.query.vision.save_pretrained(target / "vision")
                save_file(self.query.projection.state_dict(), target / "projection.safetensors")
            (target / SETTINGS_FILE).write_text(json.dumps({"kind": self.kind}), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TwoTowers":
        """What `save_pretrained` left.

        Raises:
            FileNotFoundError: the folder holds no two encoders.
        """
        folder = Path(folder)
        if not (folder / SETTINGS_FILE).is_file():
            raise FileNotFoundError(f"There are no encoders in '{folder}': no {SETTINGS_FILE}")
        kind = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))["kind"]
        query: nn.Module
        if kind == "words":
            query = WordsEncoder(DPRQuestionEncoder.from_pretrained(folder / "query"))
        elif kind == "objects":
            query = ObjectsEncoder(LxmertModel.from_pretrained(folder / "query"))
        else:
            vision = CLIPVisionModel.from_pretrained(folder / "vision", dtype=torch.float32)
            query = ImageEncoder(ViltModel.from_pretrained(folder / "query"), vision)
            query.projection.load_state_dict(load_file(folder / "projection.safetensors"))
        document = DPRContextEncoder.from_pretrained(folder / "document")
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        return cls(query, document, tokenizer)


__all__ = ["MAX_LENGTH", "SETTINGS_FILE", "TwoTowers"]
