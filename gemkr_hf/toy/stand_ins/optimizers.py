"""Muon for the matrices of the transformer layers, AdamW for all other parameters."""

import math
from collections.abc import Iterable
from typing import Any

import torch


class MuonAndAdamW:
    """Both optimizers with one schedule: linear warm-up, then a cosine down to 2 percent.

    Small transformers need fewer steps with Muon than with AdamW alone.

    Args:
        layers: Modules whose matrices Muon trains.
        models: Modules all of whose parameters are trained.
        learning_rate: Peak of both; Muon's updates are scaled to the size of AdamW's.
        warmup: Number of warm-up steps.
        steps: Number of all steps.
    """

    def __init__(
        self,
        layers: Iterable[torch.nn.Module],
        models: Iterable[torch.nn.Module],
        learning_rate: float,
        warmup: int,
        steps: int,
    ) -> None:
        matrices = {id(p): p for layer in layers for p in layer.parameters() if p.ndim == 2}
        others = {id(p): p for model in models for p in model.parameters() if id(p) not in matrices}
        self._optimizers = [
            torch.optim.Muon(
                list(matrices.values()),
                lr=learning_rate,
                weight_decay=0.02,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(
                list(others.values()), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0
            ),
        ]

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / warmup)
            return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))

        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in self._optimizers
        ]
        self._parts: list[Any] = [*self._optimizers, *self._schedules]

    def step(self) -> None:
        """Update all parameters and clear their gradients."""
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of both optimizers and of their schedules."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)
