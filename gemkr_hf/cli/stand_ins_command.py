"""``gemkr small-world``: the checkpoints of the toy world."""

from pathlib import Path
from typing import Annotated

import typer

from gemkr_hf.cli.command_errors import log_to_standard_error, one_sentence_errors


@one_sentence_errors
def small_world(
    work: Annotated[
        Path, typer.Option(help="Folder for training states; an interrupted run resumes from it.")
    ] = Path("runs/small-world"),
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the finished checkpoints; by default the library's own."),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            help="Train only this stage: tokenizer, detector, clip or language_model; repeatable."
        ),
    ] = None,
) -> None:
    """Train the toy world's detector, CLIP and language model (up to 90 minutes on 2 cores).

    Example: gemkr small-world --work runs/small-world --output runs/stand-ins
    """
    log_to_standard_error()
    from gemkr_hf.toy.stand_ins.build import CHECKPOINTS, STAGES, build_small_world

    target = build_small_world(work, output or CHECKPOINTS, stages=tuple(stage or STAGES))
    typer.echo(f"Saved the checkpoints in {target}; their measured quality is in figures.json")


__all__ = ["small_world"]
