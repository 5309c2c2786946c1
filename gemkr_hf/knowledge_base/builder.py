"""Building a knowledge base on disk, shard by shard: it can be stopped at any moment."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from gemkr_hf.index.fm_index import FMIndex
from gemkr_hf.index.index_storage import stored_files
from gemkr_hf.index.mapped_safetensors import map_safetensors, write_safetensors
from gemkr_hf.knowledge_base.document_collector import Collector, Part
from gemkr_hf.knowledge_base.document_tables import (
    PRIMARY,
    Documents,
    join_tables,
    number_of,
    read_table,
    write_table,
)
from gemkr_hf.knowledge_base.storage import move_in, write_header, write_tokenizer
from gemkr_hf.knowledge_base.tokenization import TokenizerIdentity
from gemkr_hf.utils.io import (
    atomic_file,
    check_file,
    file_record,
    verified,
    write_json_header,
)
from gemkr_hf.utils.logging import progress_bar

_SETTINGS_FILE = "building.json"


class Builder:
    """One knowledge base in the making.

    Finished shards stand in a folder beside the target, each with a record of where in the
    documents it ends. A builder of the same settings goes on behind the last of them; one of
    others begins anew.

    Args:
        target: where the knowledge base is to be.
        tokenizer: of the language model.
        shard_tokens: see above.
        index_options: for `FMIndex.build`.
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
        """Build what is not there yet, and put the whole in its place.

        Raises:
            ValueError: if something is no document, an id occurs twice, there is no document at
                all, or the documents before the last finished shard are not what they were.
        """
        collector = Collector(self._tokenizer, self._shard_tokens)
        steps = self._finished_steps()
        skip = sum(step["num_records"] for step in steps)
        for step in steps:
            _, keys = map_safetensors(self._folder / step["keys"]["file"])
            collector.know(keys["text_keys"], keys["id_keys"])
        seen = _Seen(skip, steps[-1]["seen"] if steps else "")
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar(number_of(documents), "Indexing", "doc"))
            if steps:
                bar.write(
                    f"Going on behind document {skip:,}: {len(steps)} shard(s) are finished",
                    file=sys.stderr,
                )

            def on_batch(table: pa.Table) -> None:
                seen.update(table)
                if seen.differ:
                    raise self._changed()
                bar.update(len(table))

            for part in collector.parts(documents, skip, on_batch):
                if part.num_records:
                    steps.append(self._finish(part, steps, seen, bar))
        if seen.count < skip:
            raise self._changed()
        if not steps:
            shutil.rmtree(self._folder)
            raise ValueError("A knowledge base needs at least one document, got none")
        self._complete(steps)

    def _changed(self) -> ValueError:
        return ValueError(
            "The documents of the finished shards have changed since this knowledge base was "
            f"begun: delete '{self._folder}' to begin anew"
        )

    # -- steps -------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {
            "tokenizer": asdict(self._identity),
            "shard_tokens": self._shard_tokens,
            **{name: value for name, value in self._index_options.items() if name != "threads"},
        }

    def _finished_steps(self) -> list[dict[str, Any]]:
        """Records of the shards that are there; everything else in the folder is deleted."""
        path = self._folder / _SETTINGS_FILE
        steps: list[dict[str, Any]] = []
        if _read_record(path) == self._settings():
            for step in _read_steps(self._folder):
                try:
                    for name, record in _files_of(step):
                        check_file(self._folder / name, record, None)
                except (ValueError, OSError):
                    break
                steps.append(step)
        elif self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json_header(path, self._settings())
        wanted = {name for step in steps for name, _ in _files_of(step)}
        wanted |= {_SETTINGS_FILE, *(_step_file(number) for number in range(len(steps)))}
        for other in self._folder.iterdir():
            if other.is_file() and other.name not in wanted:
                other.unlink()
        return steps

    def _finish(
        self, part: Part, steps: list[dict[str, Any]], seen: "_Seen", bar: tqdm
    ) -> dict[str, Any]:
        """Index a part, write it, and say that it is finished."""
        number = len(steps)
        bar.set_postfix_str(f"sorting shard {number + 1} of {part.num_tokens:,} tokens")
        index = FMIndex.build(
            part.tokens, vocab_size=self._identity.vocab_size, **self._index_options
        )
        record = index.store(self._folder)
        keys = {
            "text_keys": np.concatenate([np.empty((0, 2), np.uint64), *part.text_keys]),
            "id_keys": np.concatenate([np.empty((0, 2), np.uint64), *part.id_keys]),
        }
        keys_file = f"keys-{number:05d}.safetensors"
        with atomic_file(self._folder / keys_file) as temporary:
            write_safetensors(temporary, keys, {})
        documents = join_tables(part.tables)
        duplicates = join_tables(part.duplicates) if part.duplicates else None
        before = sum(step["num_records"] for step in steps)
        step = {
            "num_records": part.num_records,
            "seen": seen.at(before + part.num_records),
            "index": record,
            "documents": write_table(documents, self._folder, f"documents-{number:05d}"),
            "duplicates": (
                None
                if duplicates is None
                else write_table(duplicates, self._folder, f"duplicates-{number:05d}")
            ),
            "keys": {"file": keys_file, **file_record(self._folder / keys_file)},
        }
        write_json_header(self._folder / _step_file(number), step)
        done = sum(step["index"]["num_tokens"] for step in steps) + part.num_tokens
        bar.set_postfix_str(f"{number + 1} shard(s), {done:,} tokens")
        return step

    def _complete(self, steps: list[dict[str, Any]]) -> None:
        """All shards are there: make one knowledge base of them, beside them, and move it to its
        place. Stopped meanwhile, the next call does no more than this again."""
        whole = self._folder / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        # A part of repetitions alone made no shard.
        full = [step for step in steps if step["index"]["num_documents"]]
        index = dict(steps[0]["index"])
        for name in ("num_documents", "num_tokens"):
            index[name] = sum(step["index"][name] for step in steps)
        index["shards"] = [shard for step in full for shard in step["index"]["shards"]]
        documents = [step["documents"] for step in full]
        for record in [*index["shards"], *documents]:
            _link(self._folder / record["file"], whole / record["file"])
        repeated = [
            read_table(self._folder / step["duplicates"]["file"])
            for step in steps
            if step["duplicates"]
        ]
        duplicates = None
        if repeated:
            duplicates = write_table(with_primary(join_tables(repeated)), whole, "duplicates")
        header = {
            "num_documents": index["num_documents"],
            "num_tokens": index["num_tokens"],
            "tokenizer": asdict(self._identity),
            "tokenizer_files": write_tokenizer(self._tokenizer, self._identity.fingerprint, whole),
            "documents": documents,
            "duplicates": duplicates,
            "index": index,
        }
        write_header(whole, header)
        move_in(whole, self._target)
        shutil.rmtree(self._folder)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such names."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class _Seen:
    """Digest of the records that have gone by, so that a build does not go on with others.

    count : records so far
    differ : whether the first ``skip`` of them are not those expected.
    """

    def __init__(self, skip: int, expected: str) -> None:
        self._digest = blake2b(digest_size=16)
        self._marks: dict[int, str] = {}
        self._skip, self._expected = skip, expected
        self.count, self.differ = 0, False

    def update(self, table: pa.Table) -> None:
        """One batch; `at` then knows each of its records, and the last one before it."""
        self._marks = {self.count: self._digest.hexdigest()}
        ids, texts = table.column("id").to_pylist(), table.column("text").to_pylist()
        for identifier, text in zip(ids, texts, strict=True):
            for value in (str(identifier).encode(), text.encode()):
                self._digest.update(len(value).to_bytes(8, "little") + value)
            self.count += 1
            self._marks[self.count] = self._digest.hexdigest()
        if self._skip in self._marks and self._skip > 0:
            self.differ = self._marks[self._skip] != self._expected

    def at(self, count: int) -> str:
        """Digest of the first ``count`` records."""
        return self._marks[count]


def with_primary(duplicates: pa.Table) -> pa.Table:
    """Further ids' table: none of them stands for its document yet."""
    return duplicates.append_column(PRIMARY, pa.array([False] * len(duplicates), pa.bool_()))


def _step_file(number: int) -> str:
    return f"step-{number:05d}.json"


def _read_steps(folder: Path) -> Iterator[dict[str, Any]]:
    number = 0
    while (step := _read_record(folder / _step_file(number))) is not None:
        yield step
        number += 1


def _read_record(path: Path) -> dict[str, Any] | None:
    """What was written there; None where nothing was, or it is damaged."""
    try:
        return verified(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, ValueError):
        return None


def _files_of(step: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files of a finished shard with their records."""
    by_name = {shard["file"]: shard for shard in step["index"]["shards"]}
    for name in stored_files(step["index"]["shards"]):
        yield name, by_name[name]
    for kind in ("documents", "duplicates"):
        if step[kind]:
            yield step[kind]["file"], step[kind]
    yield step["keys"]["file"], step["keys"]


__all__ = ["Builder", "with_primary"]
