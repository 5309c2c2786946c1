"""Training: arguments, clue sampling, datasets, trainer, preferences, runs."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.extras import require_extra
from gemkr_hf.utils.lazy_exports import lazy_exports

require_extra("train", "Training needs")

if TYPE_CHECKING:
    from gemkr_hf.training.training_run import run_training

__getattr__ = lazy_exports(
    __name__,
    {
        "training_run": ["run_training"],
    },
)

__all__ = ["run_training"]
