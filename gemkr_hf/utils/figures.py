"""Figures of matplotlib, which is an optional dependency."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.extras import require_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure with a constrained layout, which no window shows.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_extra("reports", "Plots need", "matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


__all__ = ["new_figure"]
