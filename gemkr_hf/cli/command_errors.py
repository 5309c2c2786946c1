"""Error messages of all commands."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from gemkr_hf.utils.logging import be_quiet, log_to_standard_error


def one_sentence_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print a user's mistake as one sentence instead of a traceback, and exit with code 2.

    The environment variable ``GEMKR_DEBUG`` brings the traceback back. Notices of other libraries
    are silenced.
    """

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        be_quiet()
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as head, has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (ValueError, OSError, ImportError) as error:
            unexpected = isinstance(error, ImportError) and "pip install" not in str(error)
            if unexpected or os.environ.get("GEMKR_DEBUG"):
                raise
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None

    return run


__all__ = ["log_to_standard_error", "one_sentence_errors"]
