"""Text replayed while PPO learns, so that general skill is kept (PPO-ptx, Ouyang et al. 2022, equation 2).

It must hold no answer that the rewards ask for, and never depends on the weights: what moves the policy is the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.records.samples import Demonstration
from rlhf_core.training.ppo.rollout import in_passes


class Replay(NamedTuple):
    """The rows to replay, in an order that depends only on the seed and the number of the update."""

    backbone: Backbone
    rows: Sequence[Demonstration]
    size: int
    seed: int
    coef: float
    """Weight of the rows' loss in an update."""

    @classmethod
    def begin(cls, backbone: Backbone, rows: Sequence[Demonstration], config: PpoConfig, seed: int) -> Replay | None:
        """Make the replay of a run; None where the configuration gives it no weight."""
        if not config.ptx_coef:
            return None
        if not rows:
            raise InvalidInput(
                f"ptx_coef is {config.ptx_coef:g} and there is nothing to replay; allowed: 0", "ppo.ptx_coef"
            )
        return cls(backbone, rows, config.ptx_batch_size, seed, config.ptx_coef)

    def batch(self, update: int) -> Batch:
        """Return the rows of one update, by shuffled passes over all rows."""
        chosen = in_passes(self.rows, self.size, self.seed, update, "demonstrations")
        prompts = [self.backbone.render(row.prompt.messages) for row in chosen]
        responses = [self.backbone.encode_response(row.response, row.ended) for row in chosen]
        return make_batch(self.backbone, prompts, responses)
