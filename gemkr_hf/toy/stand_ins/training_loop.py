"""The training loop of the stand-ins; an interrupted training resumes."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from gemkr_hf.toy.stand_ins.optimizers import MuonAndAdamW
from gemkr_hf.utils.io import atomic_file

Log = Callable[[str], None]


class StepSettings(Protocol):
    """What the loop reads from the settings of a stand-in."""

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""

    @property
    def save_steps(self) -> int:
        """Number of steps between two saved states."""

    @property
    def seed(self) -> int:
        """Seed of all random draws."""


def train_steps(
    name: str,
    settings: StepSettings,
    state_file: Path,
    modules: Mapping[str, torch.nn.Module],
    optimizers: MuonAndAdamW,
    losses: Callable[[int, np.random.Generator], Iterable[torch.Tensor]],
    evaluate: Callable[[], dict[str, float]],
    log: Log,
) -> None:
    """Train from the last saved state, or from the start, to the last step.

    Each step has its own seed, so an interrupted training ends with the same weights.

    Args:
        name: Name of the stand-in in the log.
        settings: Number of steps, and how often the state is saved.
        state_file: File of the state.
        modules: All trained modules by name; the gradients of ``"model"`` are clipped to norm 1.
        optimizers: Optimizers of these modules.
        losses: Given a step and its generator, yields the losses of the step; the backward pass of
            one is done before the next is computed.
        evaluate: Returns metrics on held-out data, which are logged whenever the state is saved.
        log: Receives each line of the log.
    """
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        for part, module in modules.items():
            module.load_state_dict(state[part])
        optimizers.load_state_dict(state["optimizers"])
        first = state["step"]
        log(f"{name}: resuming from step {first}")
    started = time.time()
    _set_training(modules, True)
    for step in range(first, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        torch.manual_seed(settings.seed * 1_000_003 + step)
        values = []
        for loss in losses(step, rng):
            loss.backward()
            values.append(loss.item())
        torch.nn.utils.clip_grad_norm_(modules["model"].parameters(), 1.0)
        optimizers.step()
        done = step + 1
        if done % 100 == 0:
            left = (time.time() - started) / (done - first) * (settings.steps - done)
            text = " ".join(f"{value:.3f}" for value in values)
            log(f"{name}: step {done}/{settings.steps}, losses {text}, {left:.0f} s left")
        if done % settings.save_steps == 0:
            _set_training(modules, False)
            log(f"{name}: {evaluate()}")
            _set_training(modules, True)
            state = {part: module.state_dict() for part, module in modules.items()}
            state |= {"optimizers": optimizers.state_dict(), "step": done}
            with atomic_file(state_file) as temporary:
                torch.save(state, temporary)
    _set_training(modules, False)


def _set_training(modules: Mapping[str, torch.nn.Module], training: bool) -> None:
    for module in modules.values():
        module.train(training)


__all__ = ["Log", "train_steps"]
