"""One run's way to combine its objectives: what each is paid, what it counts, and multipliers that learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlhf_core.config.scalarization import DialConfig, check_dial
from rlhf_core.errors import InvalidInput
from rlhf_core.records.models import NormPack
from rlhf_core.training.ppo.credit import no_credit
from rlhf_core.training.ppo.rollout import Rollout
from rlhf_core.training.ppo.scalarization import (
    constrained_coefficients,
    learned_multipliers,
    linear_coefficients,
    log_sigmoid_scores,
    worst_case_scores,
)

Q85 = 3
"""Where a NormPack's quantiles hold that of 85 %."""


class Combination:
    """Of K objectives in the NormPack's order. `multipliers` (K,) is all that changes; 0 where there is no floor."""

    def __init__(
        self,
        pack: NormPack,
        config: DialConfig,
        device: torch.device | str = "cpu",
        multipliers: Sequence[float] = (),
    ):
        """`multipliers` are those of a checkpoint, where it holds any."""
        self.objectives, self.config, self._device = pack.objectives, config, device
        self._correlation = torch.tensor(pack.correlation)
        anchors = [(row[Q85] - mean) / sd for row, mean, sd in zip(pack.quantiles, pack.mean, pack.sd, strict=True)]
        self._anchor = torch.tensor(anchors, device=device)
        self._floor = torch.tensor([config.floors.get(name, 0.0) for name in pack.objectives], device=device)
        held = config.combine == "constrained"
        start = [config.multiplier if held and name in config.floors else 0.0 for name in pack.objectives]
        self.multipliers = torch.tensor(list(multipliers) or start)

    def coefficients(self, weights: Mapping[str, float]) -> Tensor:
        """Return (K+1,): the coefficient of each objective's stream, and 1 for the stream of the KL penalty.

        InvalidInput when the weights are not those of the objectives, or make no direction.
        """
        if set(weights) != set(self.objectives):
            raise InvalidInput(
                f"weights are given for {', '.join(weights) or 'nothing'}; "
                f"the objectives: {', '.join(self.objectives)}",
                "weights",
            )
        check_dial(self.config, weights, self.objectives)
        chosen = torch.tensor([float(weights[name]) for name in self.objectives])
        try:
            linear = linear_coefficients(chosen, self._correlation)
        except ValueError as error:
            raise InvalidInput(str(error), "weights") from error
        if self.config.combine == "worst_case":
            linear = (chosen > 0).float()
        elif self.config.combine == "constrained":
            linear = constrained_coefficients(linear, self.multipliers)
        return torch.cat([linear, torch.ones(1)]).to(self._device)

    def pay(self, rollout: Rollout, coefficients: Tensor) -> Rollout:
        """Fill in what each stream of the rollout is paid; single lines are paid only where z itself is paid."""
        paid = self.scores(rollout.z, coefficients)
        by_line = self.config.combine in ("linear", "constrained")
        credit = rollout.credit if by_line else no_credit(len(paid), rollout.batch.mask)
        return rollout._replace(paid=paid, credit=credit)

    def scores(self, z: Tensor, coefficients: Tensor) -> Tensor:
        """Return (K, B): what each objective's stream is paid for z (K, B)."""
        if self.config.combine == "log_sigmoid":
            return log_sigmoid_scores(z, self._anchor, self.config.temperature)
        if self.config.combine == "worst_case":
            return worst_case_scores(z - self._floor[:, None], coefficients[:-1] > 0, self.config.temperature)
        return z

    def learn(self, z: Tensor) -> tuple[float, ...]:
        """Move the multipliers by a step's z (K, B) and return them, for a checkpoint; empty where there are none."""
        if self.config.combine != "constrained":
            return ()
        shortfall = (self._floor - z.mean(1)).cpu()
        rate, most = self.config.multiplier_rate, self.config.multiplier_max
        self.multipliers = learned_multipliers(self.multipliers, shortfall, rate, most)
        return tuple(self.multipliers.tolist())
