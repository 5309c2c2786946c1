"""A knowledge base: documents, the FM-index over their tokens, and the tokenizer's identity."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedTokenizerBase

from gemkr_hf.decoding import FMIndexConstraint
from gemkr_hf.index import storage
from gemkr_hf.index.fm_index import FMIndex
from gemkr_hf.knowledge_base.hub import download_knowledge_base, upload_knowledge_base
from gemkr_hf.knowledge_base.records import read_documents, validated_dataset, write_documents
from gemkr_hf.knowledge_base.tokens import TokenizerIdentity, encode_documents
from gemkr_hf.progress import progress

logger = logging.getLogger(__name__)

HEADER_FILE = "knowledge_base.json"
DOCUMENTS_FILE = "documents.parquet"
FORMAT, FORMAT_VERSION = "gemkr-knowledge-base", 1
_BATCH = 1000


class KnowledgeBase:
    """Documents that clues lead to.

    Make one with `from_documents`, load one with `from_pretrained`. `kb[row]` is a document as a
    dict, `len(kb)` their number, `kb.index` the `FMIndex`, `kb.documents` the `datasets.Dataset`.
    """

    def __init__(
        self, documents: Dataset, index: FMIndex, tokenizer_identity: TokenizerIdentity
    ) -> None:
        self.documents = documents
        self.index = index
        self.tokenizer_identity = tokenizer_identity

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Mapping[str, Any]] | Dataset | IterableDataset,
        tokenizer: PreTrainedTokenizerBase,
        backend: str = "numba",
    ) -> KnowledgeBase:
        """Tokenize and index documents.

        Parameters
        ----------
        documents : iterable of mappings, or a dataset
            Each with an `id` (unique) and a `text`; `title` and further columns are kept.
        tokenizer : of the language model that is to write the clues
        backend : "numba" or "pysdsl", see `FMIndex.build`

        Raises
        ------
        ValueError
            If there is no document, an `id` or `text` is missing, or an `id` occurs twice.
        """
        dataset = validated_dataset(documents)
        identity = TokenizerIdentity.of(tokenizer)
        token_ids = progress(
            _encoded(dataset, tokenizer), "Tokenizing documents", total=len(dataset), unit="doc"
        )
        index = FMIndex.build(token_ids, vocab_size=identity.vocab_size, backend=backend)
        logger.info("Indexed %d documents of %d tokens", len(dataset), index.num_tokens)
        return cls(dataset, index, identity)

    # -- looking things up -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, row: int) -> dict[str, Any]:
        # -1 is what `lookup` says where there is no document: it must not give the last one.
        if not 0 <= row < len(self):
            raise IndexError(f"There is no document {row}: rows go from 0 to {len(self) - 1}")
        return self.documents[int(row)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.documents)

    def __repr__(self) -> str:
        return (
            f"KnowledgeBase(documents={len(self)}, tokens={self.index.num_tokens}, "
            f"tokenizer='{self.tokenizer_identity.name}')"
        )

    @property
    def tokenizer_fingerprint(self) -> str:
        """What `check_tokenizer` compares."""
        return self.tokenizer_identity.fingerprint

    def lookup(self, clues: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """LookupDoc (paper, "Knowledge-guided Constraint Decoding").

        Parameters
        ----------
        clues : batch of n token-id sequences, without end tokens

        Returns
        -------
        int64[n] : the row of the one document that holds the clue, -1 where none or several do.
        """
        return self.index.lookup_doc(clues)

    def constraint(
        self,
        min_length: int = 10,
        max_length: int = 15,
        eos_token_id: int | list[int] | None = None,
        prompt_length: int | None = None,
    ) -> FMIndexConstraint:
        """The constraint for `generate(..., logits_processor=kb.constraint())`.

        Parameters
        ----------
        min_length, max_length : l_min and l_max of the paper, in tokens
        eos_token_id : what ends a clue; by default the end token of the tokenizer
        prompt_length : see `FMIndexConstraint`

        Raises
        ------
        ValueError
            If a length is out of range, or the tokenizer has no end token and none is given.
        """
        identity = self.tokenizer_identity
        if eos_token_id is None:
            eos_token_id = identity.eos_token_id
        if eos_token_id is None:
            raise ValueError(
                f"The tokenizer '{identity.name}' has no end token: name one with eos_token_id"
            )
        return FMIndexConstraint(
            self.index,
            eos_token_id,
            min_length=min_length,
            max_length=max_length,
            pad_token_id=identity.pad_token_id,
            prompt_length=prompt_length,
        )

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise ValueError if `tokenizer` reads documents otherwise than the index's tokenizer."""
        given = TokenizerIdentity.of(tokenizer)
        if given.fingerprint != self.tokenizer_fingerprint:
            raise ValueError(
                f"This knowledge base was made with the tokenizer '{self.tokenizer_identity.name}' "
                f"({self.tokenizer_fingerprint[:8]}), not with '{given.name}' "
                f"({given.fingerprint[:8]}): make it anew with KnowledgeBase.from_documents"
            )

    # -- on disk and on the Hub --------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write the knowledge base as a folder, which appears whole or not at all.

        An older knowledge base in that place is replaced.

        Raises
        ------
        ValueError
            If the folder holds anything else.
        """
        target = Path(save_directory)
        _check_target(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            new, old = Path(name, "new"), Path(name, "old")
            self._write(new)
            if target.exists():
                target.replace(old)
            try:
                new.replace(target)
            except OSError:
                if old.exists():
                    old.replace(target)
                raise

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        self.index.save(folder)
        write_documents(self.documents, folder / DOCUMENTS_FILE)
        files = (DOCUMENTS_FILE, storage.INDEX_FILE, storage.HEADER_FILE)
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "num_documents": len(self),
            "num_tokens": self.index.num_tokens,
            "tokenizer": asdict(self.tokenizer_identity),
            "files": {name: storage.file_record(folder / name) for name in files},
        }
        storage.write_json(folder / HEADER_FILE, header)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        tokenizer: PreTrainedTokenizerBase | None = None,
        backend: str = "numba",
        verify: bool | None = None,
        **hub_kwargs: Any,
    ) -> KnowledgeBase:
        """Load a knowledge base; the index is memory-mapped.

        Parameters
        ----------
        name_or_path : a folder that `save_pretrained` wrote, or the id of a dataset repo on the Hub
        tokenizer : checked with `check_tokenizer` if given
        backend : "numba" or "pysdsl"
        verify : whether to compare all checksums; by default those of files up to 64 MiB
        **hub_kwargs : for `huggingface_hub.snapshot_download` (`revision`, `token`, `cache_dir`...)

        Raises
        ------
        FileNotFoundError
            If there is no knowledge base.
        ValueError
            If it is broken, of another format version, or made with another tokenizer.
        """
        folder = Path(name_or_path)
        if not (folder / HEADER_FILE).is_file():
            folder = download_knowledge_base(name_or_path, HEADER_FILE, **hub_kwargs)
        header = storage.read_json(folder / HEADER_FILE, FORMAT, FORMAT_VERSION, "knowledge base")
        files = header.get("files")
        for name in (DOCUMENTS_FILE, storage.INDEX_FILE, storage.HEADER_FILE):
            record = files.get(name) if isinstance(files, dict) else None
            # The index compares its own file's checksum when it is loaded.
            checked_later = name == storage.INDEX_FILE
            storage.check_file(folder / name, record, False if checked_later else verify)
        try:
            identity = TokenizerIdentity(**header["tokenizer"])
        except (KeyError, TypeError):
            raise ValueError(f"'{folder / HEADER_FILE}' is broken: no tokenizer in it") from None
        index = FMIndex.load(folder, backend=backend, verify=verify)
        documents = read_documents(folder / DOCUMENTS_FILE)
        if not len(documents) == index.num_documents == header.get("num_documents"):
            raise ValueError(
                f"The knowledge base in '{folder}' is mixed from two: {len(documents)} documents "
                f"and an index of {index.num_documents}"
            )
        knowledge_base = cls(documents, index, identity)
        if tokenizer is not None:
            knowledge_base.check_tokenizer(tokenizer)
        return knowledge_base

    def push_to_hub(
        self, repo_id: str, private: bool | None = None, token: str | None = None, **kwargs: Any
    ) -> str:
        """Upload as a dataset repo with a card.

        Parameters
        ----------
        repo_id : "user/name"
        private, token : as everywhere in huggingface_hub
        **kwargs : for `HfApi.upload_folder` (`commit_message`, `revision`, `create_pr`...)

        Returns
        -------
        str : address of the repo
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "knowledge_base")
            self._write(folder)
            facts = {
                "num_documents": len(self),
                "num_tokens": self.index.num_tokens,
                "columns": self.documents.column_names,
                "tokenizer": self.tokenizer_identity,
                "example_id": self.documents[0]["id"],
            }
            return upload_knowledge_base(folder, repo_id, facts, private, token, **kwargs)


def _encoded(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    for batch in dataset.select_columns("text").iter(_BATCH):
        yield from encode_documents(batch["text"], tokenizer)


def _check_target(target: Path) -> None:
    if target.is_file():
        raise ValueError(f"'{target}' is a file: a knowledge base is saved as a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / HEADER_FILE).is_file():
        raise ValueError(
            f"'{target}' holds something that is no knowledge base: name a new or an empty folder"
        )


__all__ = ["KnowledgeBase"]
