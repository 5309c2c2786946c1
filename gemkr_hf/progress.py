"""Progress of long work: what is done, the rate and the time left, on standard error."""

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


__all__ = ["progress", "progress_bar"]
