"""``gemkr index``: build, inspect and change knowledge bases."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gemkr_hf.cli.command_errors import one_sentence_errors
from gemkr_hf.utils.text import count

if TYPE_CHECKING:
    from gemkr_hf.knowledge_base import KnowledgeBase


class _BuildByDefault(TyperGroup):
    """``gemkr index FILE`` is ``gemkr index build FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["build", *args]
        return super().parse_args(ctx, args)


index = typer.Typer(
    cls=_BuildByDefault,
    no_args_is_help=True,
    help="Build, inspect and change knowledge bases (documents and their FM-index).\n"
    "\nExample: gemkr index documents.jsonl --tokenizer runs/quickstart/model --output runs/kb",
)

Folder = Annotated[str, typer.Argument(help="Folder or Hub id of a knowledge base.")]
Local = Annotated[Path, typer.Argument(help="Folder of a knowledge base.")]
Source = Annotated[
    str,
    typer.Argument(
        help="JSONL, CSV, TSV (also .gz) or Parquet file, folder of a saved dataset, or id of a "
        "dataset on the Hub."
    ),
]
IdColumn = Annotated[
    str, typer.Option(help="Column of the document ids; '' numbers the documents.")
]
TextColumn = Annotated[str, typer.Option(help="Column of the document texts.")]
Split = Annotated[str, typer.Option(help="Split of a dataset.")]
Config = Annotated[str | None, typer.Option(help="Configuration of a dataset.")]


def _load(name: str | Path) -> "KnowledgeBase":
    from gemkr_hf.knowledge_base import KnowledgeBase

    return KnowledgeBase.from_pretrained(name)


def _load_local(folder: Path) -> "KnowledgeBase":
    from gemkr_hf.knowledge_base.storage import HEADER_FILE

    if not (folder / HEADER_FILE).is_file():
        raise FileNotFoundError(f"No knowledge base found in '{folder}'")
    return _load(folder)


@index.command()
@one_sentence_errors
def build(
    source: Source,
    tokenizer: Annotated[
        str, typer.Option(help="Folder or Hub id of the language model's tokenizer.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the new knowledge base.")],
    id_column: IdColumn = "id",
    text_column: TextColumn = "text",
    split: Split = "train",
    config: Config = None,
    shard_tokens: Annotated[
        int | None,
        typer.Option(help="Maximum tokens per shard; building takes about 40 bytes for each."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing knowledge base.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(help="Number of CPU cores; all by default.")
    ] = None,
    list_threshold: Annotated[
        int | None,
        typer.Option(
            help="Store the successors of prefixes that occur more often than this; lower is "
            "faster and larger."
        ),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(help="Suffix-array sampling rate; lower is faster and larger."),
    ] = None,
) -> None:
    """Build a knowledge base. An interrupted build resumes when the command is repeated.

    Example: gemkr index build documents.csv --id-column no --text-column words
    --tokenizer runs/quickstart/model --output runs/kb
    """
    from gemkr_hf.knowledge_base import KnowledgeBase, load_tokenizer
    from gemkr_hf.knowledge_base.document_sources import open_documents
    from gemkr_hf.knowledge_base.inspection import empty_texts
    from gemkr_hf.knowledge_base.storage import HEADER_FILE, check_target

    check_target(output)
    if (output / HEADER_FILE).exists() and not overwrite:
        raise ValueError(
            f"'{output}' already contains a knowledge base: choose another folder, add documents "
            "with 'gemkr index add', or replace it with --overwrite"
        )
    documents = open_documents(source, id_column or None, text_column, split, config)
    started = time.perf_counter()
    options: dict[str, Any] = {
        "shard_tokens": shard_tokens,
        "list_threshold": list_threshold,
        "sample_rate": sample_rate,
    }
    options = {name: value for name, value in options.items() if value is not None}
    knowledge_base = KnowledgeBase.build(
        documents, load_tokenizer(tokenizer), output, threads=threads, **options
    )
    seconds = time.perf_counter() - started
    fm_index = knowledge_base.index
    empty = empty_texts(knowledge_base)
    more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
    note = "Warning: empty text, which no clue can retrieve: document"
    typer.echo(
        f"{count(len(knowledge_base), 'document')}, {count(fm_index.num_tokens, 'token')}, "
        f"{count(fm_index.num_shards, 'shard')}, "
        f"{fm_index.nbytes / max(1, fm_index.num_tokens):.2f} bytes per token; {seconds:.1f} s\n"
        + (f"{note} '{empty[0]}'{more}\n" if empty else "")
        + f"Saved the knowledge base in {output}. Inspect it with:\n"
        f"  gemkr index inspect {output}\n"
        f'  gemkr index query {output} "some words"'
    )


@index.command()
@one_sentence_errors
def inspect(
    knowledge_base: Folder,
    plot: Annotated[
        Path | None, typer.Option(help="Also save a plot of the lengths to this file.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Number of random positions at which clues are measured.")
    ] = 5000,
) -> None:
    """Show counts, sizes, the longest and shortest documents, and how long clues must be.

    Example: gemkr index inspect runs/quickstart/knowledge_base --plot lengths.png
    """
    from gemkr_hf.knowledge_base import inspection
    from gemkr_hf.utils.extras import require_extra

    if plot is not None:
        require_extra("reports", "--plot needs", "matplotlib")
    loaded = _load(knowledge_base)
    clues = inspection.clue_lengths(loaded, sample)
    typer.echo(inspection.describe(loaded, clues))
    if plot is not None:
        inspection.plot(loaded, clues, plot)
        typer.echo(f"plot        {plot}")


@index.command()
@one_sentence_errors
def query(
    knowledge_base: Folder,
    text: Annotated[str, typer.Argument(help="Text to look up, as written in the documents.")],
    limit: Annotated[
        int, typer.Option(min=1, help="Number of occurrences and of next tokens to show.")
    ] = 10,
) -> None:
    """Show how often a text occurs, where, and which tokens follow it.

    Example: gemkr index query runs/quickstart/knowledge_base "a sign of"
    """
    from gemkr_hf.knowledge_base import inspection

    loaded = _load(knowledge_base)
    typer.echo(inspection.describe_query(loaded, inspection.query(loaded, text, limit), limit))


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
    """Add documents in a new shard.

    Example: gemkr index add runs/kb more.jsonl
    """
    from gemkr_hf.knowledge_base.document_sources import open_documents

    documents = open_documents(source, id_column or None, text_column, split, config)
    before = _load_local(knowledge_base)
    after = before.add(documents)
    after.save_pretrained(knowledge_base)
    typer.echo(
        f"Added {count(len(after) - len(before), 'document')} with "
        f"{count(len(after.row_ids()) - len(before.row_ids()), 'id')}. Now: "
        f"{count(len(after), 'document')}, {count(after.index.num_shards, 'shard')}"
    )


@index.command()
@one_sentence_errors
def remove(
    knowledge_base: Local,
    ids: Annotated[list[str], typer.Argument(help="Document ids.")],
) -> None:
    """Remove documents by id.

    Example: gemkr index remove runs/kb anchor gear
    """
    before = _load_local(knowledge_base)
    known = {str(identifier): identifier for identifier in before.row_ids()}
    unknown = [identifier for identifier in ids if identifier not in known]
    if unknown:
        raise ValueError(f"No document with the id '{unknown[0]}'")
    after = before.remove(known[identifier] for identifier in ids)
    after.save_pretrained(knowledge_base)
    typer.echo(
        f"Removed {count(len(before) - len(after), 'document')}. "
        f"Now: {count(len(after), 'document')}"
    )


@index.command()
@one_sentence_errors
def compact(knowledge_base: Local) -> None:
    """Rebuild the index without the removed documents, in as few shards as possible.

    Example: gemkr index compact runs/kb
    """
    before = _load_local(knowledge_base)
    size = before.index.nbytes
    after = before.compact()
    after.save_pretrained(knowledge_base)
    typer.echo(
        f"{count(len(after), 'document')}, {count(after.index.num_shards, 'shard')}; index size "
        f"{size:,} -> {after.index.nbytes:,} bytes"
    )


@index.command()
@one_sentence_errors
def verify(knowledge_base: Folder) -> None:
    """Verify every file's checksum, and that the index matches the documents.

    Example: gemkr index verify runs/quickstart/knowledge_base
    """
    loaded = _load(knowledge_base)
    loaded.verify()
    shards = count(loaded.index.num_shards, "shard")
    typer.echo(f"{count(len(loaded), 'document')}, {shards}: no errors found")


__all__ = ["index"]
