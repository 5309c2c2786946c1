"""Progress bars, log output, and quiet libraries."""

import logging
import sys
import warnings
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, **options: Any) -> Iterable[Item]:
    """Iterate with a progress bar (count, rate, time left) that disappears at the end."""
    return tqdm(items, desc=description, leave=False, dynamic_ncols=True, **options)


def progress_bar(total: int | None, description: str, unit: str) -> tqdm:
    """Return a progress bar to update by hand, a context manager.

    Args:
        total: Number of items; None if unknown, then no time left is shown.
        description: What is being done.
        unit: What is counted.
    """
    return tqdm(
        total=total, desc=description, unit=unit, unit_scale=True, leave=False, dynamic_ncols=True
    )


def be_quiet() -> None:
    """Silence the progress bars, notices and future warnings of datasets and transformers."""
    import datasets
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # It reports missing optional kernels even where quantization is not used.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def log_to_standard_error() -> None:
    """Print the log of ``gemkr_hf``, and the warnings of other libraries, to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("gemkr_hf").setLevel(logging.INFO)


__all__ = ["be_quiet", "log_to_standard_error", "progress", "progress_bar"]
