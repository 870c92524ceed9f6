"""What training by epochs carries from one update to the next: with a snapshot of it, a killed one goes on alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf_core.models.divided import alike, whole
from rlhf_core.training.optimizer import Optimizer

WEIGHTS, MOMENTS = "weights.safetensors", "optimizer.safetensors"


@dataclass
class EpochState:
    """The optimizer with what it trains, and the best epoch so far; the order of the rows comes from the seed."""

    optimizer: Optimizer
    best: float = math.inf
    """The lowest mean loss of an epoch on the labels to stop on; infinite where there are none."""
    kept: list[Tensor] = field(default_factory=list)
    """The parameters of that epoch, in the optimizer's order."""

    @property
    def update(self) -> int:
        """How many updates are behind it."""
        return self.optimizer.update

    def save(self, folder: Path) -> None:
        """Write a snapshot: safetensors only. Where weights are divided, every process must call it."""
        now = {f"now.{i}": whole(p.detach()).cpu().contiguous() for i, p in enumerate(self.optimizer.parameters)}
        kept = {f"best.{i}": whole(tensor).cpu().contiguous() for i, tensor in enumerate(self.kept)}
        save_file(now | kept | {"best": torch.tensor(self.best, dtype=torch.float64)}, folder / WEIGHTS)
        self.optimizer.save(folder / MOMENTS)

    def go_back(self) -> None:
        """Give the parameters those of the best epoch, where there is one."""
        with torch.no_grad():
            for parameter, value in zip(self.optimizer.parameters, self.kept, strict=bool(self.kept)):
                parameter.copy_(value)

    @classmethod
    def begin(cls, optimizer: Optimizer, snapshot: Path | None) -> EpochState:
        """Begin a new state, or go on from that of the snapshot, whose weights the optimizer's parameters then have."""
        if snapshot is None:
            return cls(optimizer)
        optimizer.load(snapshot / MOMENTS)
        saved = load_file(snapshot / WEIGHTS)
        kept = []
        with torch.no_grad():
            for i, parameter in enumerate(optimizer.parameters):
                parameter.copy_(alike(saved[f"now.{i}"], parameter))
                if f"best.{i}" in saved:
                    kept.append(alike(saved[f"best.{i}"], parameter))
        return cls(optimizer, float(saved["best"]), kept)


class Resumable(Protocol):
    """A state of training that can be written and gone on from."""

    def save(self, folder: Path) -> None: ...


class EpochSnapshot(Resumable, Protocol):
    """The same of training by epochs."""

    @property
    def update(self) -> int: ...


Keep = Callable[[EpochSnapshot], None]
"""Told after each update; takes a snapshot when it sees fit."""


def keep_nothing(state: EpochSnapshot) -> None:
    """Take no snapshot."""
