"""Muon for the matrices of the layers, AdamW for the rest: fewer steps for small transformers."""

import math
from collections.abc import Iterable
from typing import Any

import torch


class TwoOptimizers:
    """Both optimizers with one schedule: linear warm-up, cosine to 2 percent.

    Args:
        layers: modules whose matrices Muon trains.
        models: modules all of whose parameters are trained.
        learning_rate: peak, of both (Muon's updates are scaled to AdamW's size).
        warmup, steps: in optimizer steps.
    """

    def __init__(
        self,
        layers: Iterable[torch.nn.Module],
        models: Iterable[torch.nn.Module],
        learning_rate: float,
        warmup: int,
        steps: int,
    ) -> None:
        matrices = [p for layer in layers for p in layer.parameters() if p.ndim == 2]
        known = {id(p) for p in matrices}
        others = {id(p): p for model in models for p in model.parameters() if id(p) not in known}
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=learning_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(
                list(others.values()), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0
            ),
        ]

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / warmup)
            return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))

        self._schedules: list[torch.optim.lr_scheduler.LRScheduler] = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in self._optimizers
        ]

    def step(self) -> None:
        """One step of both, gradients cleared."""
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

    def state_dict(self) -> list[dict]:
        """State of all parts, for a training that goes on later."""
        return [part.state_dict() for part in self._parts()]

    def load_state_dict(self, states: list[dict]) -> None:
        """Take up the state that :meth:`state_dict` gave."""
        for part, state in zip(self._parts(), states, strict=True):
            part.load_state_dict(state)

    def _parts(self) -> list[Any]:
        return [*self._optimizers, *self._schedules]
