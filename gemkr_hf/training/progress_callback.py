"""One progress line for the HF Trainer."""

from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from gemkr_hf.utils.logging import progress_bar

_SHOWN = {
    "loss": "loss",
    "eval_loss": "validation loss",
    "eval_R@5": "R@5",
    "eval_P@1": "P@1",
    "rewards/accuracies": "preferred",
}
"""Name in the Trainer's log -> name in the progress line."""


class TrainingProgress(TrainerCallback):
    """Shows steps, rate, remaining time, loss and the last validation in one line."""

    def __init__(self, description: str = "tune") -> None:
        self._description = description
        self._bar: Any = None
        self._values: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._bar = progress_bar(state.max_steps, self._description, "step")
            self._bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kw: Any
    ) -> None:
        if self._bar is not None and logs:
            self._values |= {
                label: f"{logs[name]:.3f}" for name, label in _SHOWN.items() if name in logs
            }
            self._bar.set_postfix(self._values)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def show_progress(trainer: Trainer, description: str) -> None:
    """Show one line instead of what the Trainer prints."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(TrainingProgress(description))


__all__ = ["TrainingProgress", "show_progress"]
