"""``gemkr index``: knowledge bases."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gemkr_hf.cli.command_errors import be_quiet, one_sentence_errors

if TYPE_CHECKING:
    from gemkr_hf.knowledge_base import KnowledgeBase
    from gemkr_hf.knowledge_base.document_sources import DocumentDataset, DocumentFile


class _BuildByDefault(TyperGroup):
    """``gemkr index FILE`` is ``gemkr index build FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["build", *args]
        return super().parse_args(ctx, args)


index = typer.Typer(
    cls=_BuildByDefault,
    no_args_is_help=True,
    help="Make, inspect and change knowledge bases: documents with an FM-index over their tokens.\n"
    "\nExample: gemkr index documents.jsonl --tokenizer runs/quickstart/model --output runs/kb",
)

Folder = Annotated[str, typer.Argument(help="Folder or Hub id of a knowledge base.")]
Local = Annotated[Path, typer.Argument(help="Folder of a knowledge base.")]
Source = Annotated[
    str,
    typer.Argument(
        help="JSONL, CSV, TSV (also .gz) or Parquet file, a saved data set's folder, or a data set "
        "on the Hub."
    ),
]
IdColumn = Annotated[
    str, typer.Option(help="Column of the documents' ids; '' numbers the documents.")
]
TextColumn = Annotated[str, typer.Option(help="Column of the documents' texts.")]
Split = Annotated[str, typer.Option(help="Split of a data set.")]
Config = Annotated[str | None, typer.Option(help="Configuration of a data set.")]


def _documents(
    source: str, id_column: str, text_column: str, split: str, config: str | None
) -> "DocumentFile | DocumentDataset":
    from gemkr_hf.knowledge_base.document_sources import open_documents

    return open_documents(source, id_column or None, text_column, split, config)


def _load(name: str | Path) -> "KnowledgeBase":
    from gemkr_hf.knowledge_base import KnowledgeBase

    return KnowledgeBase.from_pretrained(name)


def _load_local(folder: Path) -> "KnowledgeBase":
    from gemkr_hf.knowledge_base.storage import HEADER_FILE

    if not (folder / HEADER_FILE).is_file():
        raise FileNotFoundError(f"There is no knowledge base in the folder '{folder}'")
    return _load(folder)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _said_of_empty_texts(knowledge_base: "KnowledgeBase") -> str:
    from gemkr_hf.knowledge_base.inspection import empty_texts

    ids = empty_texts(knowledge_base)
    if not ids:
        return ""
    more = f" and of {len(ids) - 1:,} more" if len(ids) > 1 else ""
    return f"Note: the text of document '{ids[0]}'{more} is empty: no clue leads to it\n"


@index.command()
@one_sentence_errors
def build(
    source: Source,
    tokenizer: Annotated[
        str, typer.Option(help="Folder or Hub id of the language model's tokenizer.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the knowledge base to be.")],
    id_column: IdColumn = "id",
    text_column: TextColumn = "text",
    split: Split = "train",
    config: Config = None,
    shard_tokens: Annotated[
        int | None,
        typer.Option(help="Most tokens of a shard: about 40 bytes of memory for each."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a knowledge base that is there.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Cores to use; all by default.")] = None,
    list_threshold: Annotated[
        int | None,
        typer.Option(help="Store what follows prefixes more frequent than this: size for speed."),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Keep every so-manieth token's position: size for speed.")
    ] = None,
) -> None:
    """Make a knowledge base. A stopped one goes on where it was.

    Example: gemkr index documents.csv --id-column no --text-column words
    --tokenizer runs/quickstart/model --output runs/kb
    """
    be_quiet()
    from gemkr_hf.knowledge_base import KnowledgeBase, load_tokenizer
    from gemkr_hf.knowledge_base.storage import HEADER_FILE, check_target

    check_target(output)
    if (output / HEADER_FILE).exists() and not overwrite:
        raise ValueError(
            f"There is a knowledge base in '{output}' already: name another folder, add to it with "
            "'gemkr index add', or replace it with --overwrite"
        )
    documents = _documents(source, id_column, text_column, split, config)
    started = time.perf_counter()
    options = {
        "shard_tokens": shard_tokens,
        "list_threshold": list_threshold,
        "sample_rate": sample_rate,
    }
    given = {name: value for name, value in options.items() if value is not None}
    knowledge_base = KnowledgeBase.build(
        documents, load_tokenizer(tokenizer), output, threads=threads, **given
    )
    seconds = time.perf_counter() - started
    made = knowledge_base.index
    typer.echo(
        f"{_number(len(knowledge_base), 'document')}, {made.num_tokens:,} tokens, "
        f"{_number(made.num_shards, 'shard')}, {made.nbytes / max(1, made.num_tokens):.2f} "
        f"bytes a token; {seconds:.1f} s\n"
        + _said_of_empty_texts(knowledge_base)
        + f"The knowledge base is in {output}; look at it:\n"
        f"  gemkr index inspect {output}\n"
        f'  gemkr index query {output} "some words"'
    )


@index.command()
@one_sentence_errors
def inspect(
    knowledge_base: Folder,
    plot: Annotated[Path | None, typer.Option(help="Also write an image of the lengths.")] = None,
    sample: Annotated[int, typer.Option(help="Places at which clues are begun.")] = 5000,
) -> None:
    """Counts, size, longest and shortest documents, and how long a clue must be.

    Example: gemkr index inspect runs/quickstart/knowledge_base --plot lengths.png
    """
    be_quiet()
    from gemkr_hf.knowledge_base import inspection

    if sample < 1:
        raise ValueError(f"--sample must be at least 1, got {sample}")
    loaded = _load(knowledge_base)
    clues = inspection.clue_lengths(loaded, sample)
    typer.echo(inspection.describe(loaded, clues))
    if plot is not None:
        inspection.plot(loaded, clues, plot)
        typer.echo(f"image     {plot}")


@index.command()
@one_sentence_errors
def query(
    knowledge_base: Folder,
    words: Annotated[str, typer.Argument(help="Words that documents may hold.")],
    limit: Annotated[int, typer.Option(help="Most documents and following tokens shown.")] = 10,
) -> None:
    """What follows some words, how often they occur, and where.

    Example: gemkr index query runs/quickstart/knowledge_base "a sign of"
    """
    be_quiet()
    from gemkr_hf.knowledge_base import inspection

    if limit < 1:
        raise ValueError(f"--limit must be at least 1, got {limit}")
    loaded = _load(knowledge_base)
    found = inspection.query(loaded, words, limit)
    typer.echo(inspection.describe_query(loaded, found, limit))


@index.command()
@one_sentence_errors
def add(
    knowledge_base: Local,
    source: Source,
    id_column: IdColumn = "id",
    text_column: TextColumn = "text",
    split: Split = "train",
    config: Config = None,
) -> None:
    """Add documents, in a shard of their own.

    Example: gemkr index add runs/kb more.jsonl
    """
    be_quiet()
    documents = _documents(source, id_column, text_column, split, config)
    before = _load_local(knowledge_base)
    after = before.add(documents)
    after.save_pretrained(knowledge_base)
    typer.echo(
        f"{_number(len(after) - len(before), 'document')} more, with "
        f"{_number(len(after.row_ids()) - len(before.row_ids()), 'id')}: "
        f"{_number(len(after), 'document')}, {_number(after.index.num_shards, 'shard')}"
    )


@index.command()
@one_sentence_errors
def remove(
    knowledge_base: Local,
    ids: Annotated[list[str], typer.Argument(help="Ids of documents.")],
) -> None:
    """Remove documents by their ids.

    Example: gemkr index remove runs/kb anchor gear
    """
    be_quiet()
    before = _load_local(knowledge_base)
    known = {str(identifier): identifier for identifier in before.row_ids()}
    unknown = [identifier for identifier in ids if identifier not in known]
    if unknown:
        raise ValueError(f"There is no document with the id '{unknown[0]}'")
    after = before.remove(known[identifier] for identifier in ids)
    after.save_pretrained(knowledge_base)
    typer.echo(
        f"{_number(len(before) - len(after), 'document')} fewer: {_number(len(after), 'document')}"
    )


@index.command()
@one_sentence_errors
def compact(knowledge_base: Local) -> None:
    """Index anew what is left after adding and removing.

    Example: gemkr index compact runs/kb
    """
    be_quiet()
    before = _load_local(knowledge_base)
    size = before.index.nbytes
    after = before.compact()
    after.save_pretrained(knowledge_base)
    typer.echo(
        f"{_number(len(after), 'document')}, {_number(after.index.num_shards, 'shard')}; the index "
        f"had {size:,} bytes and has {after.index.nbytes:,}"
    )


@index.command()
@one_sentence_errors
def verify(knowledge_base: Folder) -> None:
    """Check every file, and that index and documents belong together.

    Example: gemkr index verify runs/quickstart/knowledge_base
    """
    be_quiet()
    loaded = _load(knowledge_base)
    loaded.verify()
    shards = _number(loaded.index.num_shards, "shard")
    typer.echo(f"{_number(len(loaded), 'document')}, {shards}: all sound")


__all__ = ["index"]
