"""Demonstrations replayed while PPO learns, so that what fine-tuning taught is kept (PPO-ptx, Ouyang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.ppo_config import PpoConfig
from rlhf_core.records import Demonstration, uniform_draw
from rlhf_core.training.rollout import in_passes


class Replay(NamedTuple):
    """Which demonstrations an update sees depends on the seed and its number only."""

    backbone: Backbone
    demonstrations: Sequence[Demonstration]
    size: int
    seed: int

    @classmethod
    def begin(
        cls, backbone: Backbone, demonstrations: Sequence[Demonstration], config: PpoConfig, seed: int
    ) -> Replay | None:
        """None where the configuration gives the demonstrations no weight."""
        if not config.ptx_coef:
            return None
        if not demonstrations:
            raise InvalidInput(
                f"ptx_coef is {config.ptx_coef:g} and there are no demonstrations; allowed: 0", "ppo.ptx_coef"
            )
        return cls(backbone, demonstrations, config.ptx_batch_size, seed)

    def at(self, weights: Mapping[str, float]) -> Replay:
        """The replay under a step's weights, as `shown` has it."""
        rows = [row.model_copy(update={"response": shown(row, weights, self.seed)}) for row in self.demonstrations]
        return self._replace(demonstrations=rows)

    def batch(self, update: int) -> Batch:
        """The demonstrations of one update, by shuffled passes over all of them."""
        rows = in_passes(self.demonstrations, self.size, self.seed, update, "demonstrations")
        prompts = [self.backbone.render(row.prompt.messages) for row in rows]
        return make_batch(self.backbone, prompts, [self.backbone.encode_response(row.response) for row in rows])


def shown(row: Demonstration, weights: Mapping[str, float], seed: int) -> str:
    """The response; but where the objectives that a revision serves weigh less than the constitution has them weigh,
    so many fewer revisions are shown, and in their place the answers that they revise.

    A fixed draw decides which, so that every revision of a lower weight is also one of a higher.
    """
    if not row.serves:
        return row.response
    part = sum(weights.get(name, 0.0) for name in row.serves) / sum(weights.values())
    return row.response if uniform_draw(f"replay{seed}{row.prompt.id}") * row.share < part else row.before
