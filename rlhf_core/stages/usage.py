"""What a stage spends on endpoints: told with its steps and added up from them, so that a resumed run counts all."""

from __future__ import annotations

from rlhf_core.interfaces import Feedback
from rlhf_core.records.base import Stage
from rlhf_core.records.feedback import Usage
from rlhf_core.records.runs import StageResult
from rlhf_core.stages.context import Context
from rlhf_core.stages.told_steps import told_steps

PREFIX = "endpoint."
COST = f"{PREFIX}cost"


class Spending:
    """One stage's use of endpoints: `step` goes into each progress report, `close` into the stage's result."""

    def __init__(self, ctx: Context, stage: Stage, feedback: Feedback):
        self._ctx, self._stage, self._feedback = ctx, stage, feedback
        self._told = Usage()

    def step(self) -> dict[str, float]:
        """Return what was spent since the last step, by name; nothing where no endpoint is asked."""
        now = self._feedback.usage
        new, self._told = now.plus(self._told, -1), now
        return {f"{PREFIX}{name}": value for name, value in new if value}

    def close(self, result: StageResult) -> StageResult:
        """Add to the result all that the stage spent, before an interruption too."""
        total = self._reported().plus(self._feedback.usage.plus(self._told, -1))
        if not total.requests:
            return result
        spent = {f"{PREFIX}{name}": value for name, value in total if name != "cost"}
        return result.model_copy(
            update={"counts": result.counts | spent, "numbers": result.numbers | {COST: total.cost}}
        )

    def _reported(self) -> Usage:
        total = Usage()
        for step in told_steps(self._ctx.store, self._ctx.run.id):
            if step.stage == self._stage:
                total = total.plus(_usage(step.values))
        return total


def spent(result: StageResult) -> Usage | None:
    """Return what a finished stage spent; None where it asked no endpoint."""
    values = {**result.counts, **result.numbers}
    return _usage(values) if f"{PREFIX}requests" in values else None


def _usage(values: dict[str, float]) -> Usage:
    return Usage.model_validate(
        {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    )
