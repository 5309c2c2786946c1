"""Tokenization of documents, and fingerprints of tokenizers."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gemkr_hf.utils.hub_ids import portable_name


def encode_documents(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Tokenize documents for the index.

    One space is added before each text: its first word then has the same tokens as in the middle of
    a sentence. No special token is added, and special tokens in a text are plain characters: a
    document that contains "</s>" must not end a clue there.

    Args:
        texts: n texts.
        tokenizer: tokenizer of the language model that writes the clues.

    Returns:
        n lists of token ids.
    """
    if len(texts) == 0:
        return []
    encoded = tokenizer(
        [" " + text for text in texts],
        add_special_tokens=False,
        split_special_tokens=True,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        verbose=False,
    )
    return encoded["input_ids"]


def load_tokenizer(name_or_path: str | PathLike[str]) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or the Hub.

    Raises:
        FileNotFoundError: if it is not found.
    """
    try:
        # The tokenizer of a checkpoint with custom code has no custom code.
        return AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"'{name_or_path}' is neither a folder with a tokenizer nor a repository that can be "
            f"downloaded from the Hub ({type(error).__name__})"
        ) from None


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of everything that affects the tokens of a document: 32 hex digits.

    It covers vocabulary, merges, normalization, pre-tokenization and added words. It ignores
    padding, truncation, special tokens and their template: a processor's `<image>` token does not
    change how documents are tokenized. It also ignores settings that are off: later versions of
    `tokenizers` may have more of them.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        parts = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    else:
        state = json.loads(backend.to_str())
        model = dict(state.get("model") or {})
        vocabulary, merges = model.pop("vocab", None), model.pop("merges", None) or []
        parts = {
            "vocabulary": vocabulary,
            # Older versions wrote a pair as one string.
            "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
            "model": _enabled_settings(model),
            "normalizer": _enabled_settings(state.get("normalizer")),
            "pre_tokenizer": _enabled_settings(state.get("pre_tokenizer")),
            "added_tokens": [
                _enabled_settings(token)
                for token in state.get("added_tokens") or []
                if not token.get("special")
            ],
        }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _enabled_settings(settings: Any) -> Any:
    if isinstance(settings, dict):
        inner = {name: _enabled_settings(value) for name, value in settings.items()}
        # 0 is a value: "is False" tells the two apart.
        return {
            name: value
            for name, value in inner.items()
            if value is not None and value is not False and value not in ([], {})
        }
    if isinstance(settings, list):
        return [_enabled_settings(value) for value in settings]
    return settings


@dataclass(frozen=True)
class TokenizerIdentity:
    """Identifies the tokenizer of a knowledge base.

    Attributes:
        name: its Hub id or its folder's name.
        fingerprint: `tokenizer_fingerprint`; tokenizers with the same fingerprint are equivalent.
        vocab_size: token ids are smaller.
        eos_token_id, pad_token_id: end a clue, and pad it.
    """

    name: str
    fingerprint: str
    vocab_size: int
    eos_token_id: int | None
    pad_token_id: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "TokenizerIdentity":
        """Identify a tokenizer."""
        name = portable_name(tokenizer.name_or_path or "") or type(tokenizer).__name__
        eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        return cls(name, tokenizer_fingerprint(tokenizer), len(tokenizer), eos, pad)


__all__ = ["TokenizerIdentity", "encode_documents", "load_tokenizer", "tokenizer_fingerprint"]
