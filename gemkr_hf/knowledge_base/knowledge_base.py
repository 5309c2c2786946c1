"""The knowledge base: documents, the FM-index over their tokens, and their tokenizer's identity."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedTokenizerBase

from gemkr_hf.decoding import FMIndexConstraint
from gemkr_hf.hub import upload
from gemkr_hf.index.fm_index import SHARD_TOKENS, FMIndex, check_options
from gemkr_hf.knowledge_base import saving
from gemkr_hf.knowledge_base.best_match import BestMatch
from gemkr_hf.knowledge_base.builder import Builder
from gemkr_hf.knowledge_base.document_collector import Collector
from gemkr_hf.knowledge_base.document_records import Records
from gemkr_hf.knowledge_base.document_tables import (
    PRIMARY,
    Documents,
    duplicates_of_rows,
    join_tables,
    number_of,
    with_primary,
)
from gemkr_hf.knowledge_base.hub_repository import KnowledgeBaseCard, locate, plan_knowledge_base
from gemkr_hf.knowledge_base.storage import (
    HEADER_FILE,
    check_files,
    check_target,
    read_header,
)
from gemkr_hf.knowledge_base.tokenization import (
    TokenizerIdentity,
    encode_documents,
    load_tokenizer,
    tokenizer_fingerprint,
)
from gemkr_hf.utils.deprecation import renamed_arguments
from gemkr_hf.utils.logging import progress, progress_bar
from gemkr_hf.utils.text import first_sentence

logger = logging.getLogger(__name__)

CONSTRAINT_STRATEGIES = ("clue", "document", "first_sentence")
"""What `KnowledgeBase.constraint` lets a model write (paper, Table 4)."""

_MAX_WHOLE_LENGTH = 256


class KnowledgeBase(Records):
    """Documents, and the FM-index that finds the document of a clue.

    Create one with `from_documents` (in memory) or `build` (on disk, of any size, resumable), or
    load one with `from_pretrained`. `kb[row]` is a document as a dict, `len(kb)` the number of
    documents.

    Records with the same tokens are one document with several ids: `kb[row]` has the first id,
    `kb.ids(row)` all of them.

    `add`, `remove` and `compact` return a new knowledge base that shares what has not changed;
    `save_pretrained` then writes only what is new.

    Attributes:
        index: the `FMIndex`.
        tokenizer_identity: name and fingerprint of the tokenizer.
        saved: files that already hold parts of it.
    """

    def __init__(
        self,
        documents: Dataset | None,
        index: FMIndex,
        tokenizer_identity: TokenizerIdentity,
        duplicates: pa.Table | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        saved: saving.SavedFiles | None = None,
    ) -> None:
        super().__init__(documents, duplicates, index.removed)
        self.index = index
        self.tokenizer_identity = tokenizer_identity
        self.saved = saved or saving.SavedFiles()
        self._tokenizer = tokenizer

    @classmethod
    def from_documents(
        cls,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase,
        backend: str = "numba",
        shard_tokens: int = SHARD_TOKENS,
        threads: int | None = None,
    ) -> KnowledgeBase:
        """Tokenize and index documents in memory.

        Args:
            documents: iterable of mappings, or a dataset. Each has an `id` (unique) and a `text`;
                `title` and further columns are kept.
            tokenizer: tokenizer of the language model that will write the clues.
            backend: see `FMIndex.build`.
            shard_tokens: see `FMIndex.build`.
            threads: see `FMIndex.build`.

        Raises:
            ValueError: if there are no documents, an `id` or `text` is missing, or an `id` occurs
                twice.
        """
        check_options(backend, shard_tokens=shard_tokens, threads=threads)
        identity = TokenizerIdentity.of(tokenizer)
        index = FMIndex.build([], identity.vocab_size, backend, threads=threads)
        collector = Collector(tokenizer, shard_tokens)
        index, tables, duplicates = _index_more(index, collector, documents, shard_tokens)
        if index.num_documents == 0:
            raise ValueError("A knowledge base needs at least one document, got none")
        dataset = Dataset(join_tables(tables))
        logger.info("Indexed %d documents of %d tokens", len(dataset), index.num_tokens)
        return cls(dataset, index, identity, duplicates, tokenizer)

    @classmethod
    def build(
        cls,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase,
        output: str | PathLike[str],
        shard_tokens: int = SHARD_TOKENS,
        threads: int | None = None,
        **index_options: Any,
    ) -> KnowledgeBase:
        """Tokenize and index any number of documents on disk.

        Interrupted builds resume automatically: the next call with the same documents and settings
        continues after the last finished shard. The knowledge base appears in its folder when it
        is complete; until then an older one there stays as it is.

        Besides the documents (an iterable is read once, in order), this takes about 40 bytes of
        memory per token of one shard, 100 bytes per document, and 100 MB.

        Args:
            documents: see `from_documents`.
            tokenizer: see `from_documents`.
            output: folder of the knowledge base.
            shard_tokens: maximum number of tokens per shard (a shard has at least one document).
            threads: CPU cores to use; by default all that this process may use.
            **index_options: `backend`, `sample_rate` and `list_threshold` of `FMIndex.build`.

        Returns:
            KnowledgeBase, memory-mapped.

        Raises:
            ValueError: as `from_documents`; or the output folder holds something else, or the
                documents of the finished shards have changed.
            BlockingIOError: if another process is building it.
        """
        target = Path(output).resolve()
        check_target(target)
        check_options(shard_tokens=shard_tokens, threads=threads, **index_options)
        Builder(target, tokenizer, shard_tokens, threads=threads, **index_options).run(documents)
        return cls.from_pretrained(target, tokenizer, verify=False, threads=threads)

    # -- documents ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.index.num_documents

    def __getitem__(self, row: int) -> dict[str, Any]:
        # `lookup` returns -1 where there is no document: it must not give the last one.
        self.index.check_row(row)
        return super().__getitem__(int(row))

    def __repr__(self) -> str:
        return (
            f"KnowledgeBase(documents={len(self)}, tokens={self.index.num_tokens}, "
            f"tokenizer='{self.tokenizer_identity.name}')"
        )

    @property
    def column_names(self) -> list[str]:
        """Columns of the documents."""
        return self.dataset.column_names

    def row_of(self, identifier: Any) -> int:
        """Row of the document with this id.

        Raises:
            KeyError: if the id is unknown.
        """
        rows = self.row_ids()
        if identifier not in rows:
            raise KeyError(f"No document with the id {identifier!r}")
        return rows[identifier]

    def documents_of(self, identifiers: Iterable[Any]) -> dict[str, dict[str, Any]]:
        """Documents by their ids, in one pass over all ids.

        Args:
            identifiers: compared as strings.

        Returns:
            id -> document, in the order of ``identifiers``, without unknown ids.
        """
        names = list(dict.fromkeys(str(identifier) for identifier in identifiers))
        rows = zip(names, self.rows_of(names).tolist(), strict=True)
        return {name: dict(self[row]) for name, row in rows if row >= 0}

    def best_match(self, texts: Sequence[str], k: int = 1) -> list[list[int]]:
        """Rows of the best documents by BM25, for texts that are not clues.

        Args:
            texts: n texts that a model wrote without a constraint.
            k: maximum number of documents for each.

        Returns:
            n lists of rows, best first; empty for a text that shares no word with any document.
        """
        live, search = self._live_search
        if len(texts) == 0:
            return []
        rows, scores = search(texts, k)
        return [live[row[score > 0]].tolist() for row, score in zip(rows, scores, strict=True)]

    @cached_property
    def _live_search(self) -> tuple[NDArray[np.int64], BestMatch]:
        live = self.live_rows()
        return live, BestMatch(self.dataset.select(live)["text"])

    # -- tokenizer ---------------------------------------------------------------------------------

    @property
    def has_tokenizer(self) -> bool:
        """Whether `tokenizer` is available."""
        return self._tokenizer is not None or bool(self.saved.tokenizer_files)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that indexed the documents.

        Raises:
            FileNotFoundError: if the knowledge base was saved without it.
        """
        if self._tokenizer is None:
            if self.saved.tokenizer_folder is None or not self.saved.tokenizer_files:
                raise FileNotFoundError("This knowledge base was saved without its tokenizer")
            file = self.saved.tokenizer_folder / next(iter(self.saved.tokenizer_files))
            self._tokenizer = load_tokenizer(file.parent)
        return self._tokenizer

    @property
    def tokenizer_fingerprint(self) -> str:
        """What `check_tokenizer` compares."""
        return self.tokenizer_identity.fingerprint

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Check that a tokenizer tokenizes documents as the index's tokenizer does.

        Raises:
            ValueError: if it does not.
        """
        given = TokenizerIdentity.of(tokenizer)
        if given.fingerprint == self.tokenizer_fingerprint:
            return
        # Another version of the tokenizers library may serialize the same tokenizer differently.
        if self.has_tokenizer and tokenizer_fingerprint(self.tokenizer) == given.fingerprint:
            return
        raise ValueError(
            f"This knowledge base was built with the tokenizer '{self.tokenizer_identity.name}' "
            f"({self.tokenizer_fingerprint[:8]}), not with '{given.name}' "
            f"({given.fingerprint[:8]}): rebuild it with KnowledgeBase.from_documents"
        )

    @renamed_arguments({"words": "text"})
    def encode(self, text: str) -> list[int]:
        """Token ids of a text as it occurs within documents."""
        return encode_documents([text], self.tokenizer)[0]

    # -- clues -------------------------------------------------------------------------------------

    def lookup(self, clues: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """LookupDoc (paper, "Knowledge-guided Constraint Decoding").

        Args:
            clues: batch of n token-id sequences, without end tokens.

        Returns:
            int64[n]: row of the only document that contains the clue; -1 if none or several do.
        """
        return self.index.lookup_doc(clues)

    def constraint(
        self,
        min_length: int = 10,
        max_length: int | None = None,
        eos_token_id: int | list[int] | None = None,
        prompt_length: int | None = None,
        strategy: str = "clue",
        ambiguity_penalty: float = 0.0,
        renormalize: bool = False,
        keep_ambiguous: bool = False,
    ) -> FMIndexConstraint:
        """Return the constraint for `generate(..., logits_processor=kb.constraint())`.

        Args:
            min_length: l_min of the paper, in tokens; a clue may be shorter at the end of its
                document. `GeMKRRetriever` takes both lengths from `model.config.decoding`.
            max_length: l_max of the paper, in tokens: by default 15, and 256 for documents and
                first sentences, which ignore `min_length`.
            eos_token_id: what ends a clue; by default the tokenizer's end token.
            prompt_length: see `FMIndexConstraint`.
            strategy: what the model writes (paper, Table 4): "clue", any passage until only one
                document contains it; "document", a whole document; "first_sentence", a document's
                whole first sentence.
            ambiguity_penalty: see `FMIndexConstraint`.
            renormalize: see `FMIndexConstraint`.
            keep_ambiguous: see `FMIndexConstraint`.

        Raises:
            ValueError: if a length or the strategy is invalid, or the tokenizer has no end token
                and `eos_token_id` is not given.
        """
        if strategy not in CONSTRAINT_STRATEGIES:
            raise ValueError(
                f"strategy must be one of {', '.join(CONSTRAINT_STRATEGIES)}, got '{strategy}'"
            )
        identity = self.tokenizer_identity
        if eos_token_id is None:
            eos_token_id = identity.eos_token_id
        if eos_token_id is None:
            raise ValueError(f"The tokenizer '{identity.name}' has no end token: pass eos_token_id")
        whole_documents = strategy != "clue"
        if max_length is None:
            max_length = _MAX_WHOLE_LENGTH if whole_documents else max(15, min_length)
        constraint = FMIndexConstraint(
            self.first_sentences if strategy == "first_sentence" else self.index,
            eos_token_id,
            min_length=1 if whole_documents else min_length,
            max_length=max_length,
            pad_token_id=identity.pad_token_id,
            prompt_length=prompt_length,
            whole_documents=whole_documents,
            ambiguity_penalty=ambiguity_penalty,
            renormalize=renormalize,
            keep_ambiguous=keep_ambiguous,
        )
        constraint.tokenizer_fingerprint = self.tokenizer_fingerprint
        return constraint

    @cached_property
    def first_sentences(self) -> FMIndex:
        """An index of the documents' first sentences, with the same rows.

        Built in memory on first use: about three seconds for 100,000 documents.
        """
        removed = set(self.index.removed.tolist())
        sentences: list[list[int]] = []
        for start in progress(range(0, self.index.num_rows, 4096), "first sentences"):
            texts = self.dataset[start : start + 4096]["text"]
            encoded = encode_documents([first_sentence(text) for text in texts], self.tokenizer)
            sentences += [
                [] if row in removed else tokens for row, tokens in enumerate(encoded, start)
            ]
        return self.index.rebuild(sentences)

    # -- changes -----------------------------------------------------------------------------------

    def add(
        self,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase | None = None,
        shard_tokens: int = SHARD_TOKENS,
    ) -> KnowledgeBase:
        """Return a knowledge base with more documents, in shards of their own.

        A record whose text exists already becomes a further id of its document.

        Args:
            documents: see `from_documents`, with the existing columns.
            tokenizer: by default the knowledge base's own.
            shard_tokens: see `FMIndex.build`.

        Raises:
            ValueError: if an id exists already, a column is unknown, or the tokenizer is another.
        """
        tokenizer = self.tokenizer if tokenizer is None else tokenizer
        self.check_tokenizer(tokenizer)
        dataset, duplicates = self.dataset, self.duplicates
        collector = Collector(
            tokenizer, shard_tokens, self.index.num_rows, self.index.find_documents,
            dataset.features.arrow_schema,
        )  # fmt: skip
        collector.register_ids(list(self.row_ids()))
        index, tables, new = _index_more(self.index, collector, documents, shard_tokens)
        if any(len(table) for table in tables):
            dataset = concatenate_datasets([dataset, Dataset(join_tables(tables))])
        if duplicates is not None and new is not None:
            new = join_tables([duplicates, new])
        return self._changed(dataset, index, duplicates if new is None else new)

    def remove(self, ids: Iterable[Any]) -> KnowledgeBase:
        """Return a knowledge base without the records with these ids.

        A document whose last id is removed is no longer found, and what occurs only in it and in
        one other document becomes distinctive. Other documents keep their rows. `compact` frees
        the space.

        Raises:
            KeyError: if an id is unknown.
        """
        identifiers = set(ids)
        for identifier in identifiers:
            self.row_of(identifier)
        rows, duplicates = self.without(identifiers)
        return self._changed(self.dataset, self.index.remove(rows), duplicates)

    def compact(self, shard_tokens: int = SHARD_TOKENS) -> KnowledgeBase:
        """Rebuild the index with as few shards as possible and without removed documents.

        Documents get new rows, in the old order. Tokens are read from the index; no tokenizer is
        needed.
        """
        live, duplicates = self.live_rows(), self.duplicates
        tokens = progress(self.index.extract_all(), "Rebuilding", total=len(live), unit="doc")
        index = self.index.rebuild(tokens, shard_tokens)
        if duplicates is not None:
            further = duplicates.filter(pc.invert(duplicates.column(PRIMARY)))
            duplicates = duplicates_of_rows(further, live)
        other = self._changed(self.documents, index, duplicates)
        other.saved = replace(other.saved, documents=())
        return other

    def _changed(
        self, documents: Dataset | None, index: FMIndex, duplicates: pa.Table | None
    ) -> KnowledgeBase:
        return KnowledgeBase(
            documents, index, self.tokenizer_identity, duplicates, self._tokenizer,
            replace(self.saved, folder=None),
        )  # fmt: skip

    # -- saving and loading ------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Save the knowledge base to a folder, atomically.

        An older knowledge base there is replaced when the new one is complete; files that both
        have are not written again.

        Raises:
            ValueError: if the folder holds anything else.
        """
        self.saved = saving.save(self, Path(save_directory).resolve())

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        tokenizer: PreTrainedTokenizerBase | None = None,
        backend: str = "numba",
        verify: bool | None = None,
        threads: int | None = None,
        documents: bool = True,
        shards: Sequence[int] | None = None,
        **hub_kwargs: Any,
    ) -> KnowledgeBase:
        """Load a knowledge base, or a part of it; the index is memory-mapped.

        From the Hub, only the files that are needed are downloaded; they are mapped in the cache.

        Args:
            name_or_path: a folder that `save_pretrained` wrote, or the id of a dataset repo on the
                Hub.
            tokenizer: checked with `check_tokenizer` if given.
            backend: "numba" or "pysdsl".
            verify: whether to compare all checksums; by default those of files up to 64 MiB.
            threads: CPU cores that a query may use; by default all that this process may use.
            documents: False for the index alone: constraints and `lookup` work, `kb[row]` does not.
            shards: numbers of the shards to load, from 0; by default all. Distinctiveness and rows
                then refer to their documents only.
            **hub_kwargs: for `huggingface_hub.snapshot_download` (`revision`, `token`,
                `cache_dir`...).

        Raises:
            FileNotFoundError: if the knowledge base or a file of it is not found.
            ValueError: if it is broken, of another format version, built with another tokenizer,
                or has no such shard.
        """
        folder, selection = locate(name_or_path, documents, shards, **hub_kwargs)
        try:
            knowledge_base = saving.load(cls, folder, selection, backend, verify, threads)
        except ValueError as error:
            if folder == Path(name_or_path):
                raise
            raise ValueError(
                f"{error} (cached files of '{name_or_path}': download them again with "
                "force_download=True)"
            ) from None
        if tokenizer is not None:
            knowledge_base.check_tokenizer(tokenizer)
            knowledge_base._tokenizer = tokenizer
        return knowledge_base

    def verify(self, sample: int = 1000) -> None:
        """Check the checksums of all files, the index, and that it holds these documents.

        Args:
            sample: number of documents, evenly spread, whose text is tokenized again and compared
                with the index (if the knowledge base has its tokenizer).

        Raises:
            FileNotFoundError, ValueError: for the first error found.
        """
        if self.saved.folder is not None:
            check_files(self.saved.folder, read_header(self.saved.folder), True)
        self.index.verify()
        if not (self.has_documents and self.has_tokenizer):
            return
        live = self.live_rows()
        rows = live[:: max(1, len(live) // sample)].tolist()
        texts = [self.dataset[row]["text"] for row in rows]
        for row, tokens in zip(rows, encode_documents(texts, self.tokenizer), strict=True):
            if self.index.extract(row).tolist() != tokens:
                raise ValueError(
                    f"The text of document {row} (id {self[row]['id']!r}) differs from the "
                    "index: the documents or the tokenizer were replaced"
                )

    def push_to_hub(
        self,
        repo_id: str,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        **card: Any,
    ) -> str:
        """Upload as a dataset repo with a card, in one commit.

        An interrupted upload leaves the repo as it was; the next call sends only what is missing.

        Args:
            repo_id: "user/name".
            private: make the repo private, as in huggingface_hub; it must not be public already.
            token: Hugging Face token; the saved one by default.
            revision: branch to commit to; it is created if needed.
            commit_message: title of the commit.
            create_pr: open a pull request instead of committing to the branch.
            **card: arguments of `KnowledgeBaseCard`: `license`, `language`, `source`, `model`.

        Returns:
            URL of the repo, or of the pull request.

        Raises:
            ValueError, PermissionError, ConnectionError: see `gemkr_hf.hub.uploader`.
        """
        settings = KnowledgeBaseCard(**card)
        with tempfile.TemporaryDirectory() as name:
            folder = self.saved.folder
            if folder is None or not (folder / HEADER_FILE).is_file():
                folder = Path(name)
                saving.write_files(self, folder)
            plan = plan_knowledge_base(folder, repo_id, settings)
            done = upload(plan, private, revision, token, commit_message, create_pr)
        return done.url


def _index_more(
    index: FMIndex, collector: Collector, documents: Documents, shard_tokens: int
) -> tuple[FMIndex, list[pa.Table], pa.Table | None]:
    """Add documents to an index: the new index, tables of the documents, and of duplicates."""
    tables: list[pa.Table] = []
    duplicates: list[pa.Table] = []
    with progress_bar(number_of(documents), "Indexing", "doc") as bar:
        for part in collector.parts(documents, on_batch=lambda table: bar.update(len(table))):
            index = index.add(part.tokens, shard_tokens)
            tables += part.tables
            duplicates += part.duplicates
    return index, tables, with_primary(join_tables(duplicates)) if duplicates else None


__all__ = ["CONSTRAINT_STRATEGIES", "KnowledgeBase"]
