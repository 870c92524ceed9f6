"""What a stage spends: told with its steps and added up from them, so that a run that is taken up again counts all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rlhf_core.constitution.constitution import Principle
from rlhf_core.evaluation.panel_summary import COSTS
from rlhf_core.interfaces import Feedback, PanelJudge
from rlhf_core.records.base import Stage
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Sample
from rlhf_core.stages.context import Context
from rlhf_core.stages.told_steps import told_steps

PREFIX = "endpoint."
COST = f"{PREFIX}cost"


class Spending:
    """One stage's use of endpoints: `step` goes into each progress report, `close` into the stage's result."""

    def __init__(self, ctx: Context, stage: Stage, *asked: Feedback):
        self._ctx, self._stage, self._asked = ctx, stage, asked
        self._told = Usage()

    def step(self) -> dict[str, float]:
        """Return what was spent since the last step, by name; nothing where no endpoint is asked."""
        now = self._now()
        new, self._told = now.plus(self._told, -1), now
        return {f"{PREFIX}{name}": value for name, value in new if value}

    def close(self, result: StageResult) -> StageResult:
        """Add to the result all that the stage spent, before an interruption too."""
        total = _usage(_reported(self._ctx, self._stage, PREFIX)).plus(self._now().plus(self._told, -1))
        if not total.requests:
            return result
        spent = {f"{PREFIX}{name}": value for name, value in total if name != "cost"}
        return result.model_copy(
            update={"counts": result.counts | spent, "numbers": result.numbers | {COST: total.cost}}
        )

    def _now(self) -> Usage:
        total = Usage()
        for feedback in self._asked:
            total = total.plus(feedback.usage)
        return total


class JudgeCosts:
    """What each judge of a panel takes while a run labels: votes, seconds, and tokens where an endpoint counts them."""

    def __init__(self, ctx: Context, panel: Sequence[PanelJudge]):
        """`self.panel` are the same judges, who are to be asked in place of these."""
        self._ctx = ctx
        self._timed = {one.name: _Timed(one.feedback) for one in panel}
        self.panel = [one._replace(feedback=self._timed[one.name]) for one in panel]
        self._told: dict[str, float] = {}

    def step(self) -> dict[str, float]:
        """Return what was taken since the last step, by name; nothing without a panel."""
        now = self._now()
        new, self._told = {name: value - self._told.get(name, 0) for name, value in now.items()}, now
        return {name: value for name, value in new.items() if value}

    def close(self, result: StageResult) -> StageResult:
        """Add to the result's numbers all that the judges took, before an interruption too."""
        if not self._timed:
            return result
        total, rest = _reported(self._ctx, "label", COSTS), self.step()
        summed = {name: total.get(name, 0) + rest.get(name, 0) for name in sorted({*total, *rest})}
        return result.model_copy(update={"numbers": result.numbers | summed})

    def _now(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, judge in self._timed.items():
            tokens = judge.usage.prompt_tokens + judge.usage.completion_tokens
            taken = {"votes": judge.votes, "seconds": judge.seconds, "tokens": tokens, "cost": judge.usage.cost}
            found |= {f"{COSTS}{name}.{what}": value for what, value in taken.items()}
        return found


class _Timed:
    """interfaces.Feedback that counts its votes, and the seconds that they take."""

    def __init__(self, feedback: Feedback):
        self._feedback = feedback
        self.name, self.template_hash = feedback.name, feedback.template_hash
        self.votes, self.seconds = 0, 0.0

    @property
    def usage(self) -> Usage:
        return self._feedback.usage

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        return self._feedback.critique(items)

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        return self._feedback.revise(items)

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        started = time.monotonic()
        votes = self._feedback.compare(questions)
        self.seconds += time.monotonic() - started
        self.votes += len(votes)
        return votes


def _reported(ctx: Context, stage: str, prefix: str) -> dict[str, float]:
    """Add up what the stage's steps told under names that begin so."""
    total: dict[str, float] = {}
    for step in told_steps(ctx.store, ctx.run.id):
        for name, value in step.values.items() if step.stage == stage else ():
            if name.startswith(prefix):
                total[name] = total.get(name, 0) + value
    return total


def spent(result: StageResult) -> Usage | None:
    """Return what a finished stage spent; None where it asked no endpoint."""
    values = {**result.counts, **result.numbers}
    return _usage(values) if f"{PREFIX}requests" in values else None


def _usage(values: dict[str, float]) -> Usage:
    return Usage.model_validate(
        {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    )
