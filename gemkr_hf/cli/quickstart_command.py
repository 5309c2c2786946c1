"""``gemkr quickstart``: the whole workflow on the symbols benchmark."""

from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import one_sentence_errors


@one_sentence_errors
def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("runs/quickstart"),
) -> None:
    """Build a knowledge base of symbols, tune a small model, and answer questions about images.

    An interrupted quickstart resumes when the command is repeated.

    Example: gemkr quickstart --output runs/quickstart
    """
    from gemkr_hf.toy.quickstart import run_quickstart

    run_quickstart(output, log=typer.echo)


__all__ = ["quickstart"]
