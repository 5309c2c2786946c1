"""Two encoders, of queries and of documents, trained so that a query lies nearest to its document.

The query's encoder reads words (DPR), words and objects (LXMERT, in VRR), or words and the whole
picture (ViLT, in ReViz); all are classes of transformers.
"""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    LxmertConfig,
    LxmertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ViltConfig,
    ViltModel,
)

from gemkr_hf.checkpoints.saving import whole_folder
from gemkr_hf.retrievers.base import batches
from gemkr_hf.retrievers.pictures import SeenPictures

SETTINGS_FILE = "two_towers.json"
MAX_LENGTH = 256
"""Tokens of a text; what is longer is cut."""

Tensors = Mapping[str, torch.Tensor]


class WordsEncoder(nn.Module):
    """DPR's encoder of questions; the picture stands in the words, if at all."""

    kind = "words"

    def __init__(self, text: DPRQuestionEncoder) -> None:
        super().__init__()
        self.text = text

    def forward(self, words: Tensors, pictures: Tensors | None = None) -> torch.Tensor:
        return self.text(**words).pooler_output


class ObjectsEncoder(nn.Module):
    """LXMERT: words and objects, each with its box, attend to each other (Tan and Bansal 2019)."""

    kind = "objects"

    def __init__(self, model: LxmertModel) -> None:
        super().__init__()
        self.text = model

    def forward(self, words: Tensors, pictures: Tensors | None = None) -> torch.Tensor:
        assert pictures is not None
        return self.text(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            visual_feats=pictures["object_features"],
            visual_pos=pictures["object_places"],
            visual_attention_mask=pictures["object_mask"].float(),
        ).pooled_output


class PictureEncoder(nn.Module):
    """ViLT: one stream of words and patches of the whole picture (Kim et al. 2021).

    The patches are embedded by a CLIP vision tower in the place of ViLT's linear layer: it is what
    the other systems see with.
    """

    kind = "picture"

    def __init__(self, model: ViltModel, vision: CLIPVisionModel) -> None:
        super().__init__()
        self.text = model
        self.vision = vision
        self.projection = nn.Linear(vision.config.hidden_size, model.config.hidden_size)

    def forward(self, words: Tensors, pictures: Tensors | None = None) -> torch.Tensor:
        assert pictures is not None
        patches = self.vision(pixel_values=pictures["pixel_values"]).last_hidden_state
        embeds = self.projection(patches)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return self.text(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            image_embeds=embeds,
            pixel_mask=mask,
        ).pooler_output


_KINDS = {kind.kind: kind for kind in (WordsEncoder, ObjectsEncoder, PictureEncoder)}


class TwoTowers(nn.Module):
    """An encoder of queries, an encoder of documents, and the tokenizer of both.

    Args:
        query: ``WordsEncoder``, ``ObjectsEncoder`` or ``PictureEncoder``.
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
        """What the queries' encoder reads: ``words``, ``objects`` or ``picture``."""
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
        pictures: Tensors | None = None,
    ) -> dict[str, torch.Tensor]:
        """The contrastive loss of DPR: each query's own document against all others of the batch.

        Args:
            words: ``input_ids`` and ``attention_mask`` of b queries.
            documents: of b documents, the i-th that of query i, and perhaps of further ones that
                answer none.
            excluded: bool ``(b, documents)``, True where another document answers the query too.
            pictures: of the queries.
        """
        queries = self.query(words, pictures)
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
        self, texts: Sequence[str], pictures: SeenPictures | None = None
    ) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of one batch of queries."""
        self.eval()
        words = self.encode_words(texts)
        return self.query(words, tensors_of(pictures, self.kind, self.device)).float().cpu().numpy()

    def save_pretrained(self, folder: str | Path) -> None:
        """A folder of transformers' own files; there whole or not at all."""
        with whole_folder(Path(folder)) as target:
            self.query.text.save_pretrained(target / "query")
            self.document.save_pretrained(target / "document")
            self.tokenizer.save_pretrained(target / "tokenizer")
            if isinstance(self.query, PictureEncoder):
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
            query = PictureEncoder(ViltModel.from_pretrained(folder / "query"), vision)
            query.projection.load_state_dict(load_file(folder / "projection.safetensors"))
        document = DPRContextEncoder.from_pretrained(folder / "document")
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        return cls(query, document, tokenizer)


def tensors_of(
    pictures: SeenPictures | None, kind: str, device: torch.device
) -> dict[str, torch.Tensor] | None:
    """What an encoder of this kind reads of the pictures."""
    if kind == "words" or pictures is None:
        return None
    names = (
        ("pixel_values",)
        if kind == "picture"
        else ("object_features", "object_places", "object_mask")
    )
    return {name: getattr(pictures, name).to(device) for name in names}


def encoder_tokenizer(tokenizer: Any) -> Any:
    """A language model's tokenizer as encoders need it: padded on the right, and a first token that
    stands for the text."""
    changed = copy.deepcopy(tokenizer)
    changed.padding_side = "right"
    if changed.cls_token_id is None:
        last = changed.eos_token
        first = changed.bos_token or last  # Qwen2 has no begin token
        ids = {token: changed.convert_tokens_to_ids(token) for token in (first, last)}
        changed.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{first} $A {last}", special_tokens=list(ids.items())
        )
    return changed


def new_towers(
    kind: str,
    tokenizer: Any,
    embeddings: torch.Tensor,
    vision: Any = None,
    layers: int = 2,
    seed: int = 0,
    attention: str | None = None,
) -> TwoTowers:
    """Small encoders with new weights, their word embeddings those of a language model.

    Args:
        kind: ``words``, ``objects`` or ``picture``.
        tokenizer: the language model's.
        embeddings: float ``(vocabulary, d)``; d is the encoders' width.
        vision: the CLIP vision tower, for pictures and for the width of objects.
        layers: of each encoder.
        seed: of the new weights.
        attention: ``eager`` or ``sdpa``; transformers' choice where None.
    """
    torch.manual_seed(seed)
    width = embeddings.shape[1]
    size: dict[str, Any] = {
        "vocab_size": len(embeddings),
        "hidden_size": width,
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": 2 * width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    positions: dict[str, Any] = {
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
    }
    document = DPRContextEncoder(DPRConfig(**size, **positions, num_hidden_layers=layers))
    # transformers' own deviation for embeddings, which the layers behind expect.
    scaled = embeddings.float() * (0.02 / embeddings.float().std())
    query: Any
    if kind == "words":
        query = WordsEncoder(
            DPRQuestionEncoder(DPRConfig(**size, **positions, num_hidden_layers=layers))
        )
        words = query.text.question_encoder.bert_model.embeddings
    elif kind == "objects":
        query = ObjectsEncoder(
            LxmertModel(
                LxmertConfig(
                    **size,
                    **positions,
                    l_layers=layers,
                    r_layers=1,
                    x_layers=layers,
                    visual_feat_dim=vision.config.hidden_size,
                )
            )
        )
        words = query.text.embeddings
    else:
        # A tower of its own, which is trained with it; without prefix, a CLIP as any other.
        tower = CLIPVisionModel(vision.config)
        tower.load_state_dict(vision.state_dict(), strict=False)
        query = PictureEncoder(
            ViltModel(
                ViltConfig(**size, num_hidden_layers=2 * layers, max_position_embeddings=512)
            ),
            tower,
        )
        words = query.text.embeddings.text_embeddings
    with torch.no_grad():
        for table in (words, document.ctx_encoder.bert_model.embeddings):
            table.word_embeddings.weight.copy_(scaled)
    for part in (query, document):
        _begin_with_words(part)
        for module in part.modules():
            if attention is not None and isinstance(module, PreTrainedModel):
                module.set_attn_implementation(attention)
    return TwoTowers(query, document, encoder_tokenizer(tokenizer))


@torch.no_grad()
def _begin_with_words(model: nn.Module) -> None:
    """Start where the first token gathers all others: values and outputs of the attention are the
    identity, its weights nearly even. Queries and documents with the same words lie close from the
    start, as they do for encoders that were pretrained; from weights drawn at random the names in a
    text were not noticed in 900 steps.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features == module.out_features:
            into = name.endswith(".value") or name.endswith("pooler.dense")
            if into or ("att" in name and name.endswith("output.dense")):
                module.weight.copy_(torch.eye(module.in_features))


__all__ = [
    "MAX_LENGTH",
    "ObjectsEncoder",
    "PictureEncoder",
    "TwoTowers",
    "WordsEncoder",
    "encoder_tokenizer",
    "new_towers",
    "tensors_of",
]
