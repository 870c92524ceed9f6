"""How the policy sounds while it trains, beside the reference policy: noted when it drifts, ended when it must."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.errors import TrainingFailed
from rlhf_core.evaluation.monitors import Monitors, drifts, monitor
from rlhf_core.records import Sample
from rlhf_core.stages.context import Context


class Watch:
    """The monitors of one PPO run. The reference policy's replies are those that the NormPack was made from."""

    def __init__(self, ctx: Context):
        self._ctx = ctx
        self._replies = ctx.store.samples(ctx.need("norm_pack").run_id, stage="norm_pack")
        self._reference = monitor(self._replies)
        self._noted: set[str] = set()

    def listen(self, samples: Sequence[Sample]) -> Monitors:
        return monitor(samples, self._replies)

    def judge(self, heard: Monitors, step: int) -> None:
        """Note each monitor that passes a limit, once.

        Raises: TrainingFailed when one passes a limit that ends the run.
        """
        for drift in drifts(heard, self._ctx.config.monitors, self._reference):
            if drift.level == "stop":
                raise TrainingFailed(f"PPO ended at step {step}, as monitors.stop asks: {drift}")
            if drift.monitor not in self._noted:
                self._noted.add(drift.monitor)
                self._ctx.note(f"PPO step {step}: {drift}")
