"""Progress of long work: what is done, the rate and the time left, on standard error."""

import logging
import warnings
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, **options: Any) -> Iterable[Item]:
    """Iterate with a progress bar that goes when it is done."""
    return tqdm(items, desc=description, leave=False, dynamic_ncols=True, **options)


def progress_bar(total: int | None, description: str, unit: str) -> tqdm:
    """A progress bar to move on by hand, as a context; without a total it tells no time left."""
    return tqdm(
        total=total, desc=description, unit=unit, unit_scale=True, leave=False, dynamic_ncols=True
    )


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


__all__ = ["be_quiet", "progress", "progress_bar"]
