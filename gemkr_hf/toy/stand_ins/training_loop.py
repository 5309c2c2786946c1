"""The steps of a stand-in's training: told as they go, and taken up again where they stopped."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from gemkr_hf.toy.stand_ins.optimizers import TwoOptimizers
from gemkr_hf.utils.io import atomic_file


def run_steps(
    name: str,
    state_path: Path,
    modules: Mapping[str, torch.nn.Module],
    optimizers: TwoOptimizers,
    losses_of: Callable[[int, np.random.Generator], Iterable[torch.Tensor]],
    figures: Callable[[], dict[str, float]],
    steps: int,
    save_steps: int,
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Train for the steps that ``state_path`` does not have behind it yet.

    Every step draws from a seed of its own: a training that was stopped ends as one that was not.

    Args:
        name: of the stand-in, for the report.
        state_path: file of the state, written every ``save_steps`` steps.
        modules: all that is trained, by name; the gradients of ``"model"`` are clipped to norm 1.
        optimizers: of these modules.
        losses_of: step and generator -> the step's losses, each made when it is asked for and
            carried backwards before the next.
        figures: held-out figures, told whenever the state is saved.
        steps, save_steps, seed: as in the stand-in's settings.
        report: takes each line.
    """
    first = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        for part, module in modules.items():
            module.load_state_dict(state[part])
        optimizers.load_state_dict(state["optimizers"])
        first = state["step"]
        report(f"{name}: going on from step {first}")
    started = time.time()
    _train_mode(modules, True)
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(seed * 1_000_003 + step)
        losses = []
        for loss in losses_of(step, rng):
            loss.backward()
            losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(modules["model"].parameters(), 1.0)
        optimizers.step()
        done = step + 1
        if done % 100 == 0:
            left = (time.time() - started) / (done - first) * (steps - done)
            values = " ".join(f"{value:.3f}" for value in losses)
            report(f"{name}: step {done}/{steps} losses {values}, {left:.0f} s left")
        if done % save_steps == 0:
            _train_mode(modules, False)
            report(f"{name}: {figures()}")
            _train_mode(modules, True)
            state = {part: module.state_dict() for part, module in modules.items()}
            state |= {"optimizers": optimizers.state_dict(), "step": done}
            with atomic_file(state_path) as temporary:
                torch.save(state, temporary)
    _train_mode(modules, False)


def _train_mode(modules: Mapping[str, torch.nn.Module], on: bool) -> None:
    for module in modules.values():
        module.train(on)
