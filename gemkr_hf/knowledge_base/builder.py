"""Build a knowledge base on disk, shard by shard, resumable after any interruption."""

import os
import shutil
import sys
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from gemkr_hf.index.fm_index import FMIndex
from gemkr_hf.index.mapped_safetensors import map_safetensors, write_safetensors
from gemkr_hf.knowledge_base.document_collector import Collector, Part
from gemkr_hf.knowledge_base.document_tables import (
    Documents,
    join_tables,
    number_of,
    read_table,
    with_primary,
    write_table,
)
from gemkr_hf.knowledge_base.storage import move_in, write_header, write_tokenizer
from gemkr_hf.knowledge_base.tokenization import TokenizerIdentity
from gemkr_hf.utils.io import (
    atomic_file,
    check_file,
    file_lock,
    file_record,
    read_json,
    recorded_name,
    remove,
    verified,
    write_json_header,
)
from gemkr_hf.utils.logging import progress_bar

_SETTINGS_FILE = "building.json"


class Builder:
    """Builds one knowledge base.

    Finished shards are kept in a folder beside the target, each with a record of how many
    documents it covers. A builder with the same settings resumes after the last of them; one with
    other settings starts again.

    Args:
        target: folder of the finished knowledge base.
        tokenizer: tokenizer of the language model.
        shard_tokens: maximum number of tokens per shard.
        **index_options: for `FMIndex.build`.
    """

    def __init__(
        self,
        target: Path,
        tokenizer: PreTrainedTokenizerBase,
        shard_tokens: int,
        **index_options: Any,
    ) -> None:
        self._target = target
        self._folder = target.parent / f".{target.name}.building"
        self._tokenizer = tokenizer
        self._identity = TokenizerIdentity.of(tokenizer)
        self._shard_tokens = shard_tokens
        self._index_options = index_options

    def run(self, documents: Documents) -> None:
        """Build the missing shards, then move the knowledge base to its target.

        It raises what `KnowledgeBase.build` documents.
        """
        with file_lock(self._target, timeout=0):
            steps = self._finished_steps()
            self._index_rest(documents, steps)
            if not steps:
                remove(self._folder)
                raise ValueError("A knowledge base needs at least one document, got none")
            self._complete(steps)

    def _index_rest(self, documents: Documents, steps: list[dict[str, Any]]) -> None:
        """Index the documents after those of the finished steps, and append the new steps."""
        collector = Collector(self._tokenizer, self._shard_tokens)
        for step in steps:
            _, keys = map_safetensors(self._folder / step["keys"]["file"])
            collector.register(keys["text_keys"], keys["id_keys"])
        skip = sum(step["num_records"] for step in steps)
        seen = RecordDigest()
        expected = steps[-1]["seen"] if steps else seen.at(0)
        changed = ValueError(
            "The documents of the finished shards have changed since this build was started: "
            f"delete '{self._folder}' to start again"
        )
        with progress_bar(number_of(documents), "Indexing", "doc") as bar:
            if steps:
                bar.write(
                    f"Resuming after document {skip:,}: {len(steps)} shard(s) are finished",
                    file=sys.stderr,
                )

            def on_batch(table: pa.Table) -> None:
                seen.update(table)
                if seen.at(skip) not in (None, expected):
                    raise changed
                bar.update(len(table))

            for part in collector.parts(documents, skip, on_batch):
                if part.num_records:
                    steps.append(self._finish(part, steps, seen, bar))
        if seen.count < skip:
            raise changed

    # -- steps -------------------------------------------------------------------------------------

    def _finished_steps(self) -> list[dict[str, Any]]:
        """Read the records of intact shards, and delete everything else in the folder."""
        settings = {
            "tokenizer": asdict(self._identity),
            "shard_tokens": self._shard_tokens,
            **{name: value for name, value in self._index_options.items() if name != "threads"},
        }
        if _read_record(self._folder / _SETTINGS_FILE) != settings:
            remove(self._folder)
        steps: list[dict[str, Any]] = []
        wanted = {_SETTINGS_FILE}
        with suppress(ValueError, OSError):
            while step := _read_record(self._folder / _step_file(len(steps))):
                records = [*step["index"]["shards"], step["documents"], step["duplicates"]]
                files = {recorded_name(one): one for one in [*records, step["keys"]] if one}
                for name, record in files.items():
                    check_file(self._folder / name, record, None)
                wanted |= {_step_file(len(steps)), *files}
                steps.append(step)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json_header(self._folder / _SETTINGS_FILE, settings)
        for other in self._folder.iterdir():
            if other.is_file() and other.name not in wanted:
                other.unlink()
        return steps

    def _finish(
        self, part: Part, steps: list[dict[str, Any]], seen: "RecordDigest", bar: tqdm
    ) -> dict[str, Any]:
        """Index a part and write its files, last the record that it is finished."""
        folder, number = self._folder, len(steps)
        bar.set_postfix_str(f"sorting shard {number + 1} of {part.num_tokens:,} tokens")
        index = FMIndex.build(
            part.tokens, vocab_size=self._identity.vocab_size, **self._index_options
        )
        none = np.empty((0, 2), np.uint64)
        keys = {
            "text_keys": np.concatenate([none, *part.text_keys]),
            "id_keys": np.concatenate([none, *part.id_keys]),
        }
        keys_file = folder / f"keys-{number:05d}.safetensors"
        with atomic_file(keys_file) as temporary:
            write_safetensors(temporary, keys, {})
        duplicates = join_tables(part.duplicates) if part.duplicates else None
        before = sum(step["num_records"] for step in steps)
        step = {
            "num_records": part.num_records,
            "seen": seen.at(before + part.num_records),
            "index": index.store(folder),
            "documents": write_table(join_tables(part.tables), folder, f"documents-{number:05d}"),
            "duplicates": duplicates
            and write_table(duplicates, folder, f"duplicates-{number:05d}"),
            "keys": {"file": keys_file.name, **file_record(keys_file)},
        }
        write_json_header(folder / _step_file(number), step)
        done = sum(step["index"]["num_tokens"] for step in steps) + part.num_tokens
        bar.set_postfix_str(f"{number + 1} shard(s), {done:,} tokens")
        return step

    def _complete(self, steps: list[dict[str, Any]]) -> None:
        """Assemble all shards beside their files, and move the result to the target.

        An interruption here costs no shard: the next run repeats this step only.
        """
        merged = self._folder / "whole"
        remove(merged)
        merged.mkdir()
        # A part that consists of duplicates has no shard.
        full = [step for step in steps if step["index"]["num_documents"]]
        names = ("num_documents", "num_tokens")
        totals = {name: sum(step["index"][name] for step in steps) for name in names}
        shards = [shard for step in full for shard in step["index"]["shards"]]
        documents = [step["documents"] for step in full]
        for record in [*shards, *documents]:
            source, copy = self._folder / record["file"], merged / record["file"]
            try:
                os.link(source, copy)
            except FileExistsError:
                continue  # of equal content: names contain digests
            except OSError:  # the file system has no hard links
                shutil.copyfile(source, copy)
        duplicates = [
            read_table(self._folder / step["duplicates"]["file"])
            for step in steps
            if step["duplicates"]
        ]
        header = {
            **totals,
            "tokenizer": asdict(self._identity),
            "tokenizer_files": write_tokenizer(self._tokenizer, self._identity.fingerprint, merged),
            "documents": documents,
            "duplicates": (
                write_table(with_primary(join_tables(duplicates)), merged, "duplicates")
                if duplicates
                else None
            ),
            "index": {**steps[0]["index"], **totals, "shards": shards},
        }
        write_header(merged, header)
        move_in(merged, self._target)
        remove(self._folder)


class RecordDigest:
    """Running digest of ids and texts, to detect documents that have changed."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)
        self._marks = {0: self._digest.hexdigest()}
        self.count = 0

    def update(self, table: pa.Table) -> None:
        """Add one batch of records."""
        self._marks = {self.count: self._digest.hexdigest()}
        ids, texts = table.column("id").to_pylist(), table.column("text").to_pylist()
        for identifier, text in zip(ids, texts, strict=True):
            for value in (str(identifier).encode(), text.encode()):
                self._digest.update(len(value).to_bytes(8, "little") + value)
            self.count += 1
            self._marks[self.count] = self._digest.hexdigest()

    def at(self, count: int) -> str | None:
        """Digest of the first ``count`` records; None if they end outside the latest batch."""
        return self._marks.get(count)


def _step_file(number: int) -> str:
    return f"step-{number:05d}.json"


def _read_record(path: Path) -> dict[str, Any] | None:
    """Read a checksummed record; None if it is missing or damaged."""
    try:
        return verified(read_json(path), path)
    except (OSError, ValueError):
        return None


__all__ = ["Builder"]
