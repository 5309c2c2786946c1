"""What all commands share."""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from gemkr_hf.utils.logging import be_quiet


def one_sentence_errors(command: Callable[..., None]) -> Callable[..., None]:
    """A user's mistake is told in its one sentence, without a traceback, and exits with 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, OSError) as error:
            if os.environ.get("GEMKR_DEBUG"):
                raise
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None

    return run


def log_to_standard_error() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("gemkr_hf").setLevel(logging.INFO)


__all__ = ["be_quiet", "log_to_standard_error", "one_sentence_errors"]
