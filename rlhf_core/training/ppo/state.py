"""What PPO carries from one step to the next: one snapshot of it is enough to go on as if never interrupted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.models.divided import is_divided, load_parts, names_of_parts, save_parts
from rlhf_core.models.policy import Policy
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.parallel import ALONE, Ranks
from rlhf_core.training.ppo.losses import adapted_kl_coef

PARTS = "parts"
"""The folder of a checkpoint that several processes wrote, each its parts."""
MOMENTS = "moments."


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
        """Write a checkpoint: safetensors and JSON only. Where weights are divided, each process writes its parts."""
        if is_divided(self.optimizer.parameters):
            save_parts(self.tensors | _moments(self.optimizer.moments), folder / PARTS)
        else:
            self.policy.save(folder)
            self.optimizer.save(folder / "optimizer.safetensors")
        if self.optimizer.ranks.is_first:
            numbers = {"step": self.step, "kl_coef": self.kl_coef, "multipliers": self.multipliers}
            (folder / "ppo.json").write_text(json.dumps(numbers))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that training moves, by name."""
        adapter = self.policy.backbone.adapters.state(self.policy.adapter)
        heads = self.policy.value_heads.state_dict(prefix="value_heads.")
        return {f"policy.{name}": tensor.detach() for name, tensor in adapter.items()} | heads

    @classmethod
    def begin(cls, policy: Policy, config: PpoConfig, checkpoint: Path | None, ranks: Ranks = ALONE) -> PpoState:
        """Make a new state, or load the one that was saved in `checkpoint`, by one process or by several."""
        if checkpoint is not None and not (checkpoint / PARTS).is_dir():
            policy.restore(checkpoint)
        optimizer = Optimizer(
            policy.parameters(),
            config.learning_rate,
            config.steps * config.updates_per_step,
            config.max_grad_norm,
            eps=1e-5,
            warmup=config.warmup_share,
            schedule=config.lr_schedule,
            ranks=ranks,
        )
        if checkpoint is None:
            return cls(policy, optimizer, config.kl_coef)
        saved = json.loads((checkpoint / "ppo.json").read_text())
        state = cls(policy, optimizer, saved["kl_coef"], saved["step"], tuple(saved.get("multipliers", ())))
        if (checkpoint / PARTS).is_dir():
            state._read_parts(checkpoint / PARTS, config)
        else:
            optimizer.load(checkpoint / "optimizer.safetensors")
        return state

    def _read_parts(self, folder: Path, config: PpoConfig) -> None:
        names = [name.removeprefix(MOMENTS) for name in names_of_parts(folder) if name.startswith(MOMENTS)]
        load_parts(self.tensors | _moments(self.optimizer.room_for(names)), folder)
        self.optimizer.update = self.step * config.updates_per_step


def _moments(moments: dict[str, Tensor]) -> dict[str, Tensor]:
    return {MOMENTS + name: tensor for name, tensor in moments.items()}
