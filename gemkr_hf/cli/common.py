"""What all commands share."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer


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


def be_quiet() -> None:
    """Bars of the libraries below belong to their own commands, not to an answer."""
    import datasets
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # It tells of faster kernels that it did not find, whether they are wanted or not.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


__all__ = ["be_quiet", "log_to_standard_error", "one_sentence_errors"]
