"""What PPO carries from one step to the next: one snapshot of it is enough to go on as if never interrupted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.models.policy import Policy
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.ppo.losses import adapted_kl_coef


@dataclass
class PpoState:
    """Policy with critic, optimizer, KL coefficient, step; every random number and cursor comes from (seed, step)."""

    policy: Policy
    optimizer: Optimizer
    kl_coef: float
    step: int = 0
    multipliers: tuple[float, ...] = ()
    """Of the objectives that are held above a floor; empty before they have learned."""

    def advance(self, kl: Tensor, multipliers: tuple[float, ...], config: PpoConfig) -> None:
        """Count the step; where there is a target, adapt the KL coefficient to the step's kl (B,)."""
        self.step += 1
        self.multipliers = multipliers
        # The schedule goes by steps, also where a step's updates ended early.
        self.optimizer.update = self.step * config.updates_per_step
        if config.kl_target is not None:
            mean = kl.mean().item()
            self.kl_coef = adapted_kl_coef(self.kl_coef, mean, config.kl_target, len(kl), config.kl_horizon)

    def save(self, folder: Path) -> None:
        """Write a checkpoint: safetensors and JSON only."""
        self.policy.save(folder)
        self.optimizer.save(folder / "optimizer.safetensors")
        numbers = {"step": self.step, "kl_coef": self.kl_coef, "multipliers": self.multipliers}
        (folder / "ppo.json").write_text(json.dumps(numbers))

    @classmethod
    def begin(cls, policy: Policy, config: PpoConfig, checkpoint: Path | None) -> PpoState:
        """Begin a new state, or go on from the one that was saved in `checkpoint`."""
        if checkpoint is not None:
            policy.restore(checkpoint)
        optimizer = Optimizer(
            policy.parameters(),
            config.learning_rate,
            config.steps * config.updates_per_step,
            config.max_grad_norm,
            eps=1e-5,
            warmup=config.warmup_share,
            schedule=config.lr_schedule,
        )
        if checkpoint is None:
            return cls(policy, optimizer, config.kl_coef)
        optimizer.load(checkpoint / "optimizer.safetensors")
        saved = json.loads((checkpoint / "ppo.json").read_text())
        return cls(policy, optimizer, saved["kl_coef"], saved["step"], tuple(saved.get("multipliers", ())))
