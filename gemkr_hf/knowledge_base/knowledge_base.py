"""A knowledge base: documents, the FM-index over their tokens, and the tokenizer's identity."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import takewhile
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
from gemkr_hf.index.index_storage import StoredFile
from gemkr_hf.knowledge_base import storage as files
from gemkr_hf.knowledge_base.best_match import BestMatch
from gemkr_hf.knowledge_base.builder import Builder, with_primary
from gemkr_hf.knowledge_base.document_collector import Collector
from gemkr_hf.knowledge_base.document_tables import (
    PRIMARY,
    ROW,
    Documents,
    join_tables,
    number_of,
    read_dataset,
    read_table,
    rows_among,
    write_table,
)
from gemkr_hf.knowledge_base.hub_repository import KnowledgeBaseCard, locate, plan_knowledge_base
from gemkr_hf.knowledge_base.shard_selection import Selection
from gemkr_hf.knowledge_base.storage import HEADER_FILE
from gemkr_hf.knowledge_base.tokenization import (
    TokenizerIdentity,
    encode_documents,
    load_tokenizer,
    tokenizer_fingerprint,
)
from gemkr_hf.utils.logging import progress, progress_bar
from gemkr_hf.utils.text import first_sentence

logger = logging.getLogger(__name__)

CONSTRAINED = ("clue", "document", "first_sentence")
"""What a constraint can let a model write (paper, Table 4)."""

MAX_WHOLE_LENGTH = 256


class KnowledgeBase:
    """Documents that clues lead to.

    Make one with `from_documents` (in memory) or `build` (on disk, of any size, stoppable), load
    one with `from_pretrained`. `kb[row]` is a document as a dict, `len(kb)` their number,
    `kb.index` the `FMIndex`.

    Records of the same text (to the tokenizer) are one document with several ids: `kb[row]` has the
    first, `kb.ids(row)` all of them.

    `add`, `remove` and `compact` give a new knowledge base that shares what has not changed;
    `save_pretrained` then writes only what is new.
    """

    def __init__(
        self,
        documents: Dataset | None,
        index: FMIndex,
        tokenizer_identity: TokenizerIdentity,
        duplicates: pa.Table | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self._records = documents
        self.index = index
        self.tokenizer_identity = tokenizer_identity
        self._duplicates = duplicates
        self._tokenizer = tokenizer
        # The folder that holds just this.
        self._folder: Path | None = None
        # Where on disk the first documents are, and the tokenizer: what need not be written again.
        self._stored: list[StoredFile] = []
        self._stored_tokenizer: tuple[Path, dict[str, Any]] | None = None
        self._rows: dict[Any, int] | None = None
        self._first_sentences: FMIndex | None = None
        self._best_match: tuple[NDArray[np.int64], BestMatch] | None = None
        self._primaries: dict[int, dict[str, Any]] = _primaries(duplicates)

    @classmethod
    def from_documents(
        cls,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase,
        backend: str = "numba",
        shard_tokens: int = SHARD_TOKENS,
        threads: int | None = None,
    ) -> KnowledgeBase:
        """Tokenize and index documents, in memory.

        Args:
            documents: iterable of mappings, or a dataset. Each with an `id` (unique) and a `text`;
                `title` and further columns are kept.
            tokenizer: of the language model that is to write the clues.
            backend, shard_tokens, threads: see `FMIndex.build`.

        Raises:
            ValueError: if there is no document, an `id` or `text` is missing, or an `id` occurs
                twice.
        """
        check_options(backend, shard_tokens=shard_tokens, threads=threads)
        identity = TokenizerIdentity.of(tokenizer)
        collector = Collector(tokenizer, shard_tokens)
        index: FMIndex | None = None
        tables, duplicates = [], []
        with progress_bar(number_of(documents), "Indexing", "doc") as bar:
            for part in collector.parts(documents, on_batch=lambda table: bar.update(len(table))):
                tables += part.tables
                duplicates += part.duplicates
                if index is None:
                    index = FMIndex.build(
                        part.tokens, identity.vocab_size, backend,
                        shard_tokens=shard_tokens, threads=threads,
                    )  # fmt: skip
                else:
                    index = index.add(part.tokens, shard_tokens)
        if index is None or index.num_documents == 0:
            raise ValueError("A knowledge base needs at least one document, got none")
        dataset = Dataset(join_tables(tables))
        repeated = with_primary(join_tables(duplicates)) if duplicates else None
        logger.info("Indexed %d documents of %d tokens", len(dataset), index.num_tokens)
        return cls(dataset, index, identity, repeated, tokenizer)

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
        """Tokenize and index documents of any number, on disk.

        Stopped at any moment, even by a power cut, the next call with the same documents and
        settings goes on behind the last finished shard. The knowledge base appears in its place
        when it is whole; until then an older one there stays as it is.

        Besides its documents (an iterable is read once, in order), this takes about 40 bytes of
        memory for each token of one shard, 100 bytes for each document, and 100 MB.

        Args:
            documents, tokenizer: see `from_documents`.
            output: the folder to be.
            shard_tokens: at most so many tokens make a shard, and at least one document.
            threads: cores to use; by default all that this process may use.
            **index_options: `backend`, `sample_rate` and `list_threshold` of `FMIndex.build`.

        Returns:
            KnowledgeBase, memory-mapped.

        Raises:
            ValueError: see `from_documents`; or the output is something else, or the documents of
                the finished shards have changed.
        """
        target = Path(output).resolve()
        files.check_target(target)
        check_options(shard_tokens=shard_tokens, threads=threads, **index_options)
        target.parent.mkdir(parents=True, exist_ok=True)
        Builder(target, tokenizer, shard_tokens, threads=threads, **index_options).run(documents)
        return cls.from_pretrained(target, tokenizer, verify=False, threads=threads)

    # -- looking things up -------------------------------------------------------------------------

    @property
    def _documents(self) -> Dataset:
        if self._records is None:
            raise ValueError(
                "This knowledge base was loaded without its documents: load it with documents=True"
            )
        return self._records

    @property
    def has_documents(self) -> bool:
        """Whether it can show documents; one that was loaded without them only tells rows."""
        return self._records is not None

    def __len__(self) -> int:
        return self.index.num_documents

    def __getitem__(self, row: int) -> dict[str, Any]:
        # -1 is what `lookup` says where there is no document: it must not give the last one.
        self.index.check_row(row)
        return self._primaries.get(int(row)) or self._documents[int(row)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        removed = set(self.index.removed.tolist())
        for row, document in enumerate(self._documents):
            if row not in removed:
                yield self._primaries.get(row) or document

    def __repr__(self) -> str:
        return (
            f"KnowledgeBase(documents={len(self)}, tokens={self.index.num_tokens}, "
            f"tokenizer='{self.tokenizer_identity.name}')"
        )

    @property
    def documents(self) -> Dataset:
        """The documents as a `datasets.Dataset`, one a row; without the removed ones, so that after
        `remove` its rows are no longer those of `kb[row]` (until `compact`)."""
        return self._live_documents()

    @property
    def column_names(self) -> list[str]:
        return self._documents.column_names

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that indexed the documents.

        Raises:
            FileNotFoundError: if the knowledge base came without one.
        """
        if self._tokenizer is None:
            if self._stored_tokenizer is None or not self._stored_tokenizer[1]:
                raise FileNotFoundError("This knowledge base came without its tokenizer")
            folder, records = self._stored_tokenizer
            self._tokenizer = load_tokenizer(folder / Path(next(iter(records))).parent)
        return self._tokenizer

    @property
    def tokenizer_fingerprint(self) -> str:
        """What `check_tokenizer` compares."""
        return self.tokenizer_identity.fingerprint

    def ids(self, row: int) -> list[Any]:
        """All ids of a document, the one of `kb[row]` first."""
        first = self[row]["id"]
        if self._duplicates is None:
            return [first]
        own = self._duplicates.filter(pc.equal(self._duplicates.column(ROW), int(row)))
        return [first, *(other for other in own.column("id").to_pylist() if other != first)]

    def further_ids(self) -> dict[str, str]:
        """Further id -> first id, as texts, of the documents that have several."""
        if self._duplicates is None:
            return {}
        ids, rows = (self._duplicates.column(name).to_pylist() for name in ("id", ROW))
        several = sorted(set(rows))
        first = dict(zip(several, self._documents.select(several)["id"], strict=True))
        first |= {row: document["id"] for row, document in self._primaries.items()}
        found = ((str(name), str(first[row])) for name, row in zip(ids, rows, strict=True))
        return {name: other for name, other in found if name != other}

    def row_of(self, identifier: Any) -> int:
        """The row of the document with this id.

        Raises:
            KeyError: if there is none.
        """
        rows = self.row_ids()
        if identifier not in rows:
            raise KeyError(f"There is no document with the id {identifier!r}")
        return rows[identifier]

    def rows_of(self, identifiers: Sequence[Any]) -> NDArray[np.int64]:
        """The rows of many documents, in one pass over all ids.

        Args:
            identifiers: n ids, compared as texts: 7 is "7".

        Returns:
            int64[n]: -1 where there is no such document.
        """
        names = [str(identifier) for identifier in identifiers]
        wanted = {name: place for place, name in enumerate(dict.fromkeys(names))}
        values = pa.array(list(wanted), type=pa.string())
        rows = np.full(len(wanted), -1, dtype=np.int64)
        gone = np.array(sorted({*self._primaries, *self.index.removed.tolist()}), dtype=np.int64)
        first = 0
        for table in self._documents.select_columns("id").with_format("arrow").iter(100_000):
            places = pc.index_in(table.column("id").cast(pa.string()), value_set=values)
            found = places.is_valid().to_numpy()
            own = np.flatnonzero(found) + first
            kept = ~np.isin(own, gone)
            rows[places.drop_null().to_numpy()[kept]] = own[kept]
            first += len(table)
        if self._duplicates is not None:
            for name, row in zip(
                self._duplicates.column("id").to_pylist(),
                self._duplicates.column(ROW).to_pylist(),
                strict=True,
            ):
                if str(name) in wanted:
                    rows[wanted[str(name)]] = row
        return rows[[wanted[name] for name in names]] if names else np.empty(0, dtype=np.int64)

    def row_ids(self) -> dict[Any, int]:
        """Every id with the row of its document."""
        if self._rows is None:
            gone = {*self._primaries, *self.index.removed.tolist()}
            rows = {
                first: row for row, first in enumerate(self._documents["id"]) if row not in gone
            }
            if self._duplicates is not None:
                repeated = (self._duplicates.column(name).to_pylist() for name in ("id", ROW))
                rows |= zip(*repeated, strict=True)
            self._rows = rows
        return self._rows

    def encode(self, words: str) -> list[int]:
        """Tokens of words as they stand within documents."""
        return encode_documents([words], self.tokenizer)[0]

    def lookup(self, clues: Iterable[ArrayLike]) -> NDArray[np.int64]:
        """LookupDoc (paper, "Knowledge-guided Constraint Decoding").

        Args:
            clues: batch of n token-id sequences, without end tokens.

        Returns:
            int64[n]: the row of the one document that holds the clue, -1 where none or several do.
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
        """The constraint for `generate(..., logits_processor=kb.constraint())`.

        Args:
            min_length, max_length: l_min and l_max of the paper, in tokens; a clue may be shorter
                at the end of its document. `GeMKRRetriever` takes them from
                `model.config.decoding`. By default `max_length` is 15, and 256 for documents and
                first sentences, whose `min_length` does not count.
            eos_token_id: what ends a clue; by default the end token of the tokenizer.
            strategy: what is written (paper, Table 4): "clue", any passage until one document alone
                holds it; "document", from its first token to its last; "first_sentence", all of
                that.
            prompt_length, ambiguity_penalty, renormalize, keep_ambiguous: see `FMIndexConstraint`.

        Raises:
            ValueError: if a length or the strategy is none, or the tokenizer has no end token and
                none is given.
        """
        if strategy not in CONSTRAINED:
            raise ValueError(f"strategy is one of {', '.join(CONSTRAINED)}, not '{strategy}'")
        identity = self.tokenizer_identity
        if eos_token_id is None:
            eos_token_id = identity.eos_token_id
        if eos_token_id is None:
            raise ValueError(
                f"The tokenizer '{identity.name}' has no end token: name one with eos_token_id"
            )
        whole = strategy != "clue"
        if max_length is None:
            max_length = MAX_WHOLE_LENGTH if whole else max(15, min_length)
        constraint = FMIndexConstraint(
            self.first_sentences if strategy == "first_sentence" else self.index,
            eos_token_id,
            min_length=1 if whole else min_length,
            max_length=max_length,
            pad_token_id=identity.pad_token_id,
            prompt_length=prompt_length,
            whole=whole,
            ambiguity_penalty=ambiguity_penalty,
            renormalize=renormalize,
            keep_ambiguous=keep_ambiguous,
        )
        constraint.tokenizer_fingerprint = self.tokenizer_fingerprint
        return constraint

    @property
    def first_sentences(self) -> FMIndex:
        """An index of the documents' first sentences, with the rows of their documents.

        Made when it is first asked for, in memory: about three seconds for 100,000 documents.
        """
        if self._first_sentences is None:
            tokenizer, number = self.tokenizer, self.index.num_rows
            removed = set(self.index.removed.tolist())
            rows: list[list[int]] = []
            for start in progress(range(0, number, 4096), "first sentences"):
                texts = self._documents[start : start + 4096]["text"]
                rows += [
                    [] if start + place in removed else tokens
                    for place, tokens in enumerate(
                        encode_documents([first_sentence(text) for text in texts], tokenizer)
                    )
                ]
            self._first_sentences = self.index.rebuild(rows)
        return self._first_sentences

    def best_match(self, texts: Sequence[str], k: int = 1) -> list[list[int]]:
        """The rows of the documents that match texts best by BM25, for texts that are no clues.

        Args:
            texts: what a model wrote without constraints, n of them.
            k: documents for each; fewer come back where there are fewer.

        Returns:
            n lists of rows, best first; empty for a text that shares no word with any document.
        """
        if self._best_match is None:
            live = np.setdiff1d(np.arange(self.index.num_rows), self.index.removed)
            self._best_match = live, BestMatch(self._documents.select(live)["text"])
        if len(texts) == 0:
            return []
        live, match = self._best_match
        rows, scores = match(texts, k)
        return [live[row[score > 0]].tolist() for row, score in zip(rows, scores, strict=True)]

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise ValueError if `tokenizer` reads documents otherwise than the index's tokenizer."""
        given = TokenizerIdentity.of(tokenizer)
        if given.fingerprint == self.tokenizer_fingerprint:
            return
        # Another version of the tokenizers library may tell of a tokenizer in other words.
        kept = self._tokenizer is not None or (self._stored_tokenizer or (None, {}))[1]
        if kept and tokenizer_fingerprint(self.tokenizer) == given.fingerprint:
            return
        raise ValueError(
            f"This knowledge base was made with the tokenizer '{self.tokenizer_identity.name}' "
            f"({self.tokenizer_fingerprint[:8]}), not with '{given.name}' "
            f"({given.fingerprint[:8]}): make it anew with KnowledgeBase.from_documents"
        )

    # -- documents that come and go ----------------------------------------------------------------

    def add(
        self,
        documents: Documents,
        tokenizer: PreTrainedTokenizerBase | None = None,
        shard_tokens: int = SHARD_TOKENS,
    ) -> KnowledgeBase:
        """A knowledge base with more documents, in shards of their own.

        A record of a text that is there already becomes a further id of its document.

        Args:
            documents: see `from_documents`, of the columns that are there.
            tokenizer: by default the knowledge base's own.
            shard_tokens: see `FMIndex.build`.

        Raises:
            ValueError: if an id is taken, a column is unknown, or another tokenizer is given.
        """
        tokenizer = self.tokenizer if tokenizer is None else tokenizer
        self.check_tokenizer(tokenizer)
        rows = self.index.num_rows
        schema = self._documents.features.arrow_schema
        collector = Collector(tokenizer, shard_tokens, rows, self.index.find_documents, schema)
        collector.know_ids(list(self.row_ids()))
        index, tables, duplicates = self.index, [], []
        with progress_bar(number_of(documents), "Indexing", "doc") as bar:
            for part in collector.parts(documents, on_batch=lambda table: bar.update(len(table))):
                index = index.add(part.tokens, shard_tokens)
                tables += part.tables
                duplicates += part.duplicates
        dataset = self._documents
        if any(len(table) for table in tables):
            dataset = concatenate_datasets([dataset, Dataset(join_tables(tables))])
        repeated = self._duplicates
        if duplicates:
            new = with_primary(join_tables(duplicates))
            repeated = new if repeated is None else join_tables([repeated, new])
        return self._changed(dataset, index, repeated)

    def remove(self, ids: Iterable[Any]) -> KnowledgeBase:
        """A knowledge base without the records of these ids.

        A document whose last id goes is no longer found, and what only it and one other held is now
        distinctive. The other documents keep their rows. `compact` gives the space back.

        Raises:
            KeyError: if there is no document with an id.
        """
        gone = set(ids)
        dead = {self.row_of(identifier) for identifier in gone}
        repeated = self._duplicates
        if repeated is not None:
            kept = [identifier not in gone for identifier in repeated.column("id").to_pylist()]
            repeated = repeated.filter(pa.array(kept, pa.bool_()))
            others = repeated.column(ROW).to_pylist()
            primary = repeated.column(PRIMARY).to_pylist()
            for row in list(dead):
                if self[row]["id"] not in gone:
                    dead.discard(row)
                elif row in others:
                    # The first id goes, and there is another one: it stands for the document now.
                    primary[others.index(row)] = True
                    dead.discard(row)
            place = repeated.column_names.index(PRIMARY)
            repeated = repeated.set_column(place, PRIMARY, pa.array(primary, pa.bool_()))
        return self._changed(self._documents, self.index.remove(dead), repeated)

    def compact(self, shard_tokens: int = SHARD_TOKENS) -> KnowledgeBase:
        """The same documents indexed anew: as few shards as can be, and nothing of removed ones.

        Documents get new rows, in the old order. Their tokens are read from the index; no tokenizer
        is needed.
        """
        live = np.setdiff1d(np.arange(self.index.num_rows), self.index.removed)
        tokens = progress(self.index.extract_all(), "Indexing anew", total=len(live), unit="doc")
        index = self.index.rebuild(tokens, shard_tokens)
        repeated = self._duplicates
        if repeated is not None:
            primary = repeated.column(PRIMARY)
            repeated = repeated.filter(pc.invert(primary))
            rows = np.searchsorted(live, repeated.column(ROW).to_numpy())
            repeated = repeated.set_column(0, ROW, pa.array(rows, pa.int64()))
        other = KnowledgeBase(
            self._live_documents(), index, self.tokenizer_identity, repeated, self._tokenizer
        )
        other._stored_tokenizer = self._stored_tokenizer
        return other

    def _changed(
        self, documents: Dataset | None, index: FMIndex, duplicates: pa.Table | None
    ) -> KnowledgeBase:
        if duplicates is not None and len(duplicates) == 0:
            duplicates = None
        other = KnowledgeBase(
            documents, index, self.tokenizer_identity, duplicates, self._tokenizer
        )
        other._stored = list(self._stored)
        other._stored_tokenizer = self._stored_tokenizer
        return other

    def _live_documents(self) -> Dataset:
        """The documents that are not removed, each with its first id."""
        dataset = self._documents
        if self._primaries:
            table = pa.Table.from_pylist(
                [self._primaries.get(row) or document for row, document in enumerate(dataset)],
                schema=dataset.features.arrow_schema,
            )
            dataset = Dataset(table)
        if len(self.index.removed):
            dataset = dataset.select(
                np.setdiff1d(np.arange(self.index.num_rows), self.index.removed)
            )
        return dataset

    # -- on disk and on the Hub --------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write the knowledge base as a folder, which appears whole or not at all.

        An older knowledge base in that place is replaced, in one step, when all of the new one is
        written; files that both have are not written again.

        Raises:
            ValueError: if the folder holds anything else.
        """
        target = Path(save_directory).resolve()
        files.check_target(target)
        if (target / HEADER_FILE).is_file():
            self._write(target)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            new = Path(name, "new")
            new.mkdir()
            self._write(new)
            files.move_in(new, target)
            self._moved(new, target)

    def _write(self, folder: Path) -> None:
        documents = self._documents
        parts = [stored.put(folder) for stored in takewhile(StoredFile.exists, self._stored)]
        rows = sum(part["num_rows"] for part in parts)
        # A file for each shard, so that a shard can be had with its documents and no others.
        for last in self.index.first_rows[1:].tolist():
            if last > rows or not parts:
                arrow = documents.select(range(rows, last)).with_format("arrow")[:]
                parts.append(write_table(arrow, folder, f"documents-{len(parts):05d}"))
                rows = last
        duplicates = None
        if self._duplicates is not None:
            duplicates = write_table(self._duplicates, folder, "duplicates")
        source, tokenizer_files = self._stored_tokenizer or (folder, {})
        if tokenizer_files and all((source / name).is_file() for name in tokenizer_files):
            files.copy_tokenizer(source, tokenizer_files, folder)
        elif self._tokenizer is not None:
            tokenizer_files = files.write_tokenizer(
                self._tokenizer, self.tokenizer_fingerprint, folder
            )
        header = {
            "num_documents": len(self),
            "num_tokens": self.index.num_tokens,
            "tokenizer": asdict(self.tokenizer_identity),
            "tokenizer_files": tokenizer_files,
            "documents": parts,
            "duplicates": duplicates,
            "index": self.index.store(folder),
        }
        files.write_header(folder, header)
        self._stored = [StoredFile(folder, part) for part in parts]
        self._stored_tokenizer = folder, tokenizer_files
        self._folder = folder

    def _moved(self, old: Path, new: Path) -> None:
        """The folder that was written has got another name."""
        self._folder = new
        for stored in self._stored:
            stored.moved(old, new)
        if self._stored_tokenizer is not None and self._stored_tokenizer[0] == old:
            self._stored_tokenizer = new, self._stored_tokenizer[1]
        self.index.moved(old, new)

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

        Of one on the Hub only the files that are needed are downloaded; they are mapped where they
        lie in the cache.

        Args:
            name_or_path: a folder that `save_pretrained` wrote, or the id of a dataset repo on the
                Hub.
            tokenizer: checked with `check_tokenizer` if given.
            backend: "numba" or "pysdsl".
            verify: whether to compare all checksums; by default those of files up to 64 MiB.
            threads: cores that a query may use; by default all that this process may use.
            documents: False for the index alone: constraints and `lookup` work, `kb[row]` does not.
            shards: numbers of the shards wanted, counted from 0; all by default. What is
                distinctive is so among their documents, whose rows are counted anew.
            **hub_kwargs: for `huggingface_hub.snapshot_download` (`revision`, `token`,
                `cache_dir`...).

        Raises:
            FileNotFoundError: if there is no knowledge base, or it lacks a file.
            ValueError: if it is broken, of another format version, made with another tokenizer, or
                has no such shard.
        """
        folder, selection = locate(name_or_path, documents, shards, **hub_kwargs)
        try:
            return cls._load(folder, selection, tokenizer, backend, verify, threads)
        except ValueError as error:
            if folder == Path(name_or_path):
                raise
            raise ValueError(
                f"{error} ('{name_or_path}' as it lies in the cache; force_download=True has it "
                "anew)"
            ) from None

    @classmethod
    def _load(
        cls,
        folder: Path,
        selection: Selection,
        tokenizer: PreTrainedTokenizerBase | None,
        backend: str,
        verify: bool | None,
        threads: int | None,
    ) -> KnowledgeBase:
        header, in_parts = selection.header, selection.in_parts
        try:
            identity = TokenizerIdentity(**header["tokenizer"])
        except (KeyError, TypeError):
            raise ValueError(f"'{folder / HEADER_FILE}' is broken: no tokenizer in it") from None
        files.check_files(folder, header, verify)
        counts = {} if selection.kept is None else files.counts(header["index"]["shards"])
        index = FMIndex.from_record(folder, {**header["index"], **counts}, backend, verify, threads)
        dataset = None
        if header["documents"]:
            parts = [read_dataset(folder / part["file"]) for part in header["documents"]]
            dataset = parts[0] if len(parts) == 1 else concatenate_datasets(parts)
            if in_parts is not None:
                dataset = dataset.select(in_parts)
            number = header.get("num_documents") if selection.kept is None else len(index)
            if len(dataset) != index.num_rows or number != len(index):
                raise ValueError(
                    f"The knowledge base in '{folder}' is mixed from two: {len(dataset)} documents "
                    f"and an index of {index.num_rows}"
                )
        duplicates = None
        if header.get("duplicates"):
            duplicates = read_table(folder / header["duplicates"]["file"])
            if selection.kept is not None:
                duplicates = rows_among(duplicates, selection.kept)
        knowledge_base = cls(dataset, index, identity, duplicates)
        if in_parts is None:
            knowledge_base._stored = [StoredFile(folder, part) for part in header["documents"]]
        knowledge_base._stored_tokenizer = folder, header.get("tokenizer_files", {})
        if selection.kept is None and dataset is not None:
            knowledge_base._folder = folder
        if tokenizer is not None:
            knowledge_base.check_tokenizer(tokenizer)
            knowledge_base._tokenizer = tokenizer
        return knowledge_base

    def verify(self, sample: int = 1000) -> None:
        """Check everything: checksums of all files that the knowledge base was loaded from or saved
        to, whether the index can be what it says, and that it holds these documents.

        Args:
            sample: of so many documents, evenly spread, the text is tokenized again and compared
                with the index, where the knowledge base has its tokenizer.

        Raises:
            FileNotFoundError, ValueError: if something is wrong, with the first thing that is.
        """
        if self._folder is not None:
            files.check_files(self._folder, files.read_header(self._folder), True)
        self.index.verify()
        if self._records is None:
            return
        if self._tokenizer is None and not (self._stored_tokenizer and self._stored_tokenizer[1]):
            return
        live = np.setdiff1d(np.arange(self.index.num_rows), self.index.removed)
        rows = live[:: max(1, len(live) // sample)].tolist()
        texts = [self._documents[row]["text"] for row in rows]
        for row, tokens in zip(rows, encode_documents(texts, self.tokenizer), strict=True):
            if self.index.extract(row).tolist() != tokens:
                raise ValueError(
                    f"Document {row} (id {self[row]['id']!r}) is not what the index holds: the "
                    "documents or the tokenizer were exchanged"
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

        Stopped, the repository is as it was, and the same call again sends only what is not there.
        Shards that are there already are not sent again.

        Args:
            repo_id: "user/name".
            private, token, revision, commit_message, create_pr: as everywhere in huggingface_hub.
            **card: of `KnowledgeBaseCard`: `license`, `language`, `source`, `model`.

        Returns:
            str: address of the repo, or of the pull request.

        Raises:
            ValueError, PermissionError, ConnectionError: see `gemkr_hf.hub.uploader`.
        """
        settings = KnowledgeBaseCard(**card)
        with tempfile.TemporaryDirectory() as name:
            folder = self._folder
            if folder is None or not (folder / HEADER_FILE).is_file():
                folder = Path(name, "knowledge_base")
                folder.mkdir()
                self._changed(self._documents, self.index, self._duplicates)._write(folder)
            plan = plan_knowledge_base(folder, repo_id, settings)
            done = upload(plan, private, revision, token, commit_message, create_pr)
        return done.url


def _primaries(duplicates: pa.Table | None) -> dict[int, dict[str, Any]]:
    """Records that stand for their documents since the first one's id was removed, by row."""
    if duplicates is None:
        return {}
    records = duplicates.filter(duplicates.column(PRIMARY)).to_pylist()
    return {
        record[ROW]: {name: value for name, value in record.items() if name not in (ROW, PRIMARY)}
        for record in records
    }


__all__ = ["KnowledgeBase"]
