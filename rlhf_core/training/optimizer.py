"""One way to take a gradient step: AdamW, warm-up and decay, a clipped norm, a stop at a non-finite loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlhf_core.errors import TrainingFailed
from rlhf_core.models.divided import alike, is_divided, own_part, whole
from rlhf_core.training.parallel import ALONE, Ranks


class Optimizer:
    """AdamW over the given parameters; the learning rate depends on the number of the update only."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        learning_rate: float,
        updates: int,
        max_grad_norm: float = 1.0,
        eps: float = 1e-8,
        warmup: float = 0.05,
        schedule: Literal["linear", "cosine", "constant"] = "linear",
        ranks: Ranks = ALONE,
    ):
        self.parameters, self.ranks = list(parameters), ranks
        self.learning_rate, self.updates, self.max_grad_norm = learning_rate, updates, max_grad_norm
        self.warmup = max(1, math.ceil(warmup * updates)) if warmup else 0
        self.schedule = schedule
        self.update = 0
        self._adam = torch.optim.AdamW(
            self.parameters,
            lr=learning_rate,
            betas=(0.9, 0.999),
            eps=eps,
            weight_decay=0,
            # Its quicker ways take no mix of whole and divided tensors.
            foreach=False if is_divided(self.parameters) else None,
        )

    @property
    def rate(self) -> float:
        """The learning rate of the next update; `linear` and `cosine` reach 0 after the last one."""
        if self.update < self.warmup:
            return self.learning_rate * (self.update + 1) / self.warmup
        left = max(0, self.updates - self.update) / max(1, self.updates - self.warmup)
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)

    def step(self, loss: Tensor, where: str) -> float:
        """Move the parameters down the loss; returns the gradient's norm before the clip."""
        self.discard()
        self.accumulate(loss, where)
        return self.apply(where)

    def accumulate(self, loss: Tensor, where: str) -> None:
        """Add the loss's gradient to what the next `apply` moves along."""
        if not torch.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss.item()} at {where}; try a lower learning_rate")
        loss.backward()

    def apply(self, where: str) -> float:
        """Move the parameters along the gradient that all processes accumulated; returns its norm before the clip."""
        self.ranks.sum_gradients(self.parameters)
        norm = float(self._clip())
        if not math.isfinite(norm):
            raise TrainingFailed(f"the gradient's norm is {norm} at {where}; try a lower learning_rate")
        self._adam.param_groups[0]["lr"] = self.rate
        self._adam.step()
        self.discard()
        self.update += 1
        return norm

    def _clip(self) -> Tensor:
        if not is_divided(self.parameters):
            return nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        divided = [part for gradient in gradients if (part := own_part(gradient)) is not gradient]
        squares = self.ranks.total(torch.stack([part.square().sum() for part in divided]).sum())
        squares = squares + sum(gradient.square().sum() for gradient in gradients if own_part(gradient) is gradient)
        # As PyTorch clips; its own function takes no mix of whole and divided tensors either.
        share = min(1.0, self.max_grad_norm / (float(squares.sqrt()) + 1e-6))
        for gradient in gradients:
            gradient.mul_(share)
        return squares.sqrt()

    def discard(self) -> None:
        """Forget the accumulated gradient."""
        self._adam.zero_grad(set_to_none=True)

    def save(self, file: Path) -> None:
        """Write the moments as safetensors; where they are divided, every process must call it."""
        state = {key: whole(tensor.detach()).cpu().contiguous() for key, tensor in self.moments.items()}
        save_file(state | {"update": torch.tensor(self.update)}, file)

    @property
    def moments(self) -> dict[str, Tensor]:
        """What Adam remembers of each parameter, by the parameter's number and its own name for it."""
        return {
            f"{i}.{key}": tensor
            for i, parameter in enumerate(self.parameters)
            for key, tensor in self._adam.state[parameter].items()
        }

    def room_for(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Make moments of these names, still without what they are, to be filled; they take part from then on."""
        for key in names:
            i, name = key.split(".")
            parameter = self.parameters[int(i)]
            self._adam.state[parameter][name] = torch.tensor(0.0) if name == "step" else torch.zeros_like(parameter)
        return self.moments

    def load(self, file: Path) -> None:
        """Go on from saved moments of the same parameters."""
        state = load_file(file)
        self.update = int(state.pop("update"))
        for key, tensor in state.items():
            i, name = key.split(".")
            parameter = self.parameters[int(i)]
            # Adam keeps its count of steps on the CPU, its moments beside the parameter.
            self._adam.state[parameter][name] = tensor if name == "step" else alike(tensor, parameter)
