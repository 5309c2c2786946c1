"""The training loop of the stand-ins; an interrupted training resumes."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gemkr_hf.utils.config import Settings
from gemkr_hf.utils.io import atomic_file

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LoopSettings(Settings):
    """Settings of a training loop.

    Attributes:
        steps: Number of optimizer steps.
        learning_rate: Peak of both optimizers; a linear warm-up precedes it, and a cosine down to
            2 percent follows.
        warmup: Number of warm-up steps.
        seed: Seed of the weights and of all training data.
        save_steps: Number of steps between two saved states.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    seed: int = 0
    save_steps: int = 500

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        warm = min(1.0, (step + 1) / self.warmup)
        cosine = 1 + math.cos(math.pi * min(1.0, step / self.steps))
        return self.learning_rate * (warm * (0.02 + 0.98 * 0.5 * cosine))


def train_steps(
    name: str,
    settings: LoopSettings,
    state_file: Path,
    modules: Mapping[str, torch.nn.Module],
    layers: Iterable[torch.nn.Module],
    losses: Callable[[int, np.random.Generator], Iterable[torch.Tensor]],
    evaluate: Callable[[], dict[str, float]],
    log: Log,
) -> None:
    """Train from the last saved state, or from the start, to the last step.

    Each step has its own seed, so an interrupted training ends with the same weights.

    Args:
        name: Name of the stand-in in the log.
        settings: Settings of the loop.
        state_file: File of the state.
        modules: All trained modules by name; the gradients of ``"model"`` are clipped to norm 1.
        layers: Transformer layers within these modules.
        losses: Given a step and its generator, yields the losses of the step; the backward pass of
            one is done before the next is computed.
        evaluate: Returns metrics on held-out data, which are logged whenever the state is saved.
        log: Receives each line of the log.
    """

    def set_training(training: bool) -> None:
        for module in modules.values():
            module.train(training)

    optimizers = _optimizers(modules.values(), layers)
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        for part, module in modules.items():
            module.load_state_dict(state[part])
        for optimizer, optimizer_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        first = state["step"]
        log(f"{name}: resuming from step {first}")
    started = time.time()
    set_training(True)
    for step in range(first, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        torch.manual_seed(settings.seed * 1_000_003 + step)
        values = []
        for loss in losses(step, rng):
            loss.backward()
            values.append(loss.item())
        torch.nn.utils.clip_grad_norm_(modules["model"].parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(step)
            optimizer.step()
            optimizer.zero_grad()
        done = step + 1
        if done % 100 == 0:
            left = (time.time() - started) / (done - first) * (settings.steps - done)
            text = " ".join(f"{value:.3f}" for value in values)
            log(f"{name}: step {done}/{settings.steps}, losses {text}, {left:.0f} s left")
        if done % settings.save_steps == 0:
            set_training(False)
            log(f"{name}: {evaluate()}")
            set_training(True)
            state = {part: module.state_dict() for part, module in modules.items()}
            state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            with atomic_file(state_file) as temporary:
                torch.save({**state, "step": done}, temporary)
    set_training(False)


def _optimizers(
    modules: Iterable[torch.nn.Module], layers: Iterable[torch.nn.Module]
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for all other parameters.

    Small transformers need fewer steps with Muon; its updates are scaled to the size of AdamW's.
    """
    matrices = {id(p): p for layer in layers for p in layer.parameters() if p.ndim == 2}
    others = {id(p): p for module in modules for p in module.parameters() if id(p) not in matrices}
    return [
        torch.optim.Muon([*matrices.values()], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([*others.values()], betas=(0.9, 0.98), weight_decay=0.0),
    ]
