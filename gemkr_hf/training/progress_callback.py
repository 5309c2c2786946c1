"""The line that tells how far a training is."""

from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from gemkr_hf.utils.logging import progress_bar


class TrainingProgress(TrainerCallback):
    """One line: steps, rate and time left, loss, and the last validation's R@5."""

    def __init__(self, description: str = "tune") -> None:
        self._description = description
        self._bar: Any = None
        self._shown: dict[str, str] = {}

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
        if self._bar is None or not logs:
            return
        for name, shown in (
            ("loss", "loss"),
            ("eval_loss", "held out"),
            ("eval_R@5", "R@5"),
            ("eval_P@1", "P@1"),
            ("rewards/accuracies", "preferred"),
        ):
            if name in logs:
                self._shown[shown] = f"{logs[name]:.3f}"
        self._bar.set_postfix(self._shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def show_progress(trainer: Trainer, description: str) -> None:
    """Show one line in the place of what the Trainer prints by itself."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(TrainingProgress(description))


__all__ = ["TrainingProgress", "show_progress"]
