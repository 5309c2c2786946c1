"""How documents become tokens, and how a tokenizer is recognised."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gemkr_hf.utils.hub_ids import portable_name


def encode_documents(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of documents, as the index holds them and clues are cut from them.

    One space is put before the text: its first word then has the same tokens as in the middle of a
    sentence. No special token is added, and one that is spelled out in a text is plain characters:
    a document that says "</s>" must not let a clue end there.

    Args:
        texts: sequence of str, n of them.
        tokenizer: of the language model that writes the clues.

    Returns:
        list of n lists of int.
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
    """A tokenizer from a folder or the Hub.

    Raises:
        FileNotFoundError: if there is none.
    """
    try:
        # A checkpoint with code of its own still has a tokenizer without any.
        return AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"'{name_or_path}' is neither a folder with a tokenizer nor a repository on the Hub "
            f"that can be reached ({type(error).__name__})"
        ) from None


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of all that decides which tokens a document has: hex, 32 digits.

    Vocabulary, merges, normalisation, pre-tokenization and added words are part of it. Padding,
    truncation, special tokens and the template that sets them are not: a tokenizer to which a
    processor adds its `<image>` token still reads documents alike. Neither are settings that are
    off: a later version of `tokenizers` may know more of them.
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
            # Pairs were written as one text once.
            "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
            "model": _settings_that_are_on(model),
            "normalizer": _settings_that_are_on(state.get("normalizer")),
            "pre_tokenizer": _settings_that_are_on(state.get("pre_tokenizer")),
            "added_tokens": [
                _settings_that_are_on(token)
                for token in state.get("added_tokens") or []
                if not token.get("special")
            ],
        }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _settings_that_are_on(settings: Any) -> Any:
    if isinstance(settings, dict):
        inner = {name: _settings_that_are_on(value) for name, value in settings.items()}
        # 0 is a value: "is False" tells the two apart.
        return {
            name: value
            for name, value in inner.items()
            if value is not None and value is not False and value not in ([], {})
        }
    if isinstance(settings, list):
        return [_settings_that_are_on(value) for value in settings]
    return settings


@dataclass(frozen=True)
class TokenizerIdentity:
    """The tokenizer a knowledge base was made with.

    name : its Hub id or its folder's name.
    fingerprint : `tokenizer_fingerprint`, what decides whether another tokenizer is the same.
    vocab_size : ids are smaller than this.
    eos_token_id, pad_token_id : what ends a clue and what fills up behind it.
    """

    name: str
    fingerprint: str
    vocab_size: int
    eos_token_id: int | None
    pad_token_id: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "TokenizerIdentity":
        name = portable_name(tokenizer.name_or_path or "") or type(tokenizer).__name__
        eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        return cls(name, tokenizer_fingerprint(tokenizer), len(tokenizer), eos, pad)


__all__ = ["TokenizerIdentity", "encode_documents", "load_tokenizer", "tokenizer_fingerprint"]
