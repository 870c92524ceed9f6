"""Demonstrations replayed while PPO learns, so that what fine-tuning taught is kept (PPO-ptx, Ouyang et al. 2022).

They were approved under the constitution's own weights. The farther a run's weights are from these, the less they bind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.ppo_config import PpoConfig
from rlhf_core.records import Demonstration, uniform_draw
from rlhf_core.training.rollout import in_passes


class Replay(NamedTuple):
    """Which demonstrations an update sees depends on the seed, its number and its step's weights only."""

    backbone: Backbone
    demonstrations: Sequence[Demonstration]
    size: int
    seed: int
    coef: float
    """Weight of the demonstrations' loss in an update."""
    usual: Mapping[str, float]
    """The weights under which the demonstrations were approved; none where every weight suits them."""

    @classmethod
    def begin(
        cls,
        backbone: Backbone,
        demonstrations: Sequence[Demonstration],
        config: PpoConfig,
        seed: int,
        usual: Mapping[str, float] = MappingProxyType({}),
    ) -> Replay | None:
        """None where the configuration gives the demonstrations no weight."""
        if not config.ptx_coef:
            return None
        if not demonstrations:
            raise InvalidInput(
                f"ptx_coef is {config.ptx_coef:g} and there are no demonstrations; allowed: 0", "ppo.ptx_coef"
            )
        return cls(backbone, demonstrations, config.ptx_batch_size, seed, config.ptx_coef, usual)

    def at(self, weights: Mapping[str, float]) -> Replay:
        """The replay under a step's weights: as `shown` has it, at a price that falls with the overlap's square.

        With less of a fall the demonstrations hold help where it is, though the weights no longer ask for it.
        """
        if not any(self.usual.values()):
            return self
        asked, usual = parts(weights), parts(self.usual)
        rows = [row.model_copy(update={"response": shown(row, asked, usual, self.seed)}) for row in self.demonstrations]
        overlap = sum(min(asked.get(name, 0.0), part) for name, part in usual.items())
        return self._replace(demonstrations=rows, coef=self.coef * overlap**2)

    def batch(self, update: int) -> Batch:
        """The demonstrations of one update, by shuffled passes over all of them."""
        rows = in_passes(self.demonstrations, self.size, self.seed, update, "demonstrations")
        prompts = [self.backbone.render(row.prompt.messages) for row in rows]
        return make_batch(self.backbone, prompts, [self.backbone.encode_response(row.response) for row in rows])


def parts(weights: Mapping[str, float]) -> dict[str, float]:
    """Each objective's part of all weights."""
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def shown(row: Demonstration, asked: Mapping[str, float], usual: Mapping[str, float], seed: int) -> str:
    """The response; but where the objectives that a revision serves have less than their usual part of the weights,
    so many fewer revisions are shown, and in their place the answers that they revise.

    A fixed draw decides which, so that every revision of a lower weight is also one of a higher.
    """
    if not row.serves:
        return row.response
    has, had = (sum(weights.get(name, 0.0) for name in row.serves) for weights in (asked, usual))
    return row.response if uniform_draw(f"replay{seed}{row.prompt.id}") * had < has else row.before
